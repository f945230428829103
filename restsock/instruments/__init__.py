"""Instruments: what to hand to `connect` or `listen` as `instrument`.

- `Instrument`: the base, to write one of your own.
- `restsock.instruments.prometheus`: metrics, with prometheus-client (`restsock[prometheus]`).
- `restsock.instruments.opentelemetry`: traces, and metrics of messages, with opentelemetry-api
  (`restsock[opentelemetry]`).

Each of the two is a module of its own, so that either can be used without the other's library.
Several instruments are given as a list.
"""

from __future__ import annotations

from restsock.connection import OUTCOMES, Direction, Instrument, InstrumentLike

__all__ = ["OUTCOMES", "Direction", "Instrument", "InstrumentLike"]
