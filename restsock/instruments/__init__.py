"""Instruments, for the argument `instrument` of `connect` and `listen`.

- `Instrument`: the base class for your own instruments.
- `restsock.instruments.prometheus`: metrics, with prometheus-client (`restsock[prometheus]`).
- `restsock.instruments.opentelemetry`: traces, and metrics of messages, with opentelemetry-api
  (`restsock[opentelemetry]`).

They are separate modules, so that each can be used without the other's library. To use several
instruments, pass a list.
"""

from __future__ import annotations

from restsock.connection import OUTCOMES, Direction, Instrument, InstrumentLike

__all__ = ["OUTCOMES", "Direction", "Instrument", "InstrumentLike"]
