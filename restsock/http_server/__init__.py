"""Clients of plain HTTP, each as a connection whose requests are exchanges like any others."""

from __future__ import annotations

from ._connection import NEXT_REQUEST, HTTPConnection
from ._instruments import HTTPInstruments
from ._raw_exchange import RawExchange, accept_raw
from ._refusal import turn_away

__all__ = [
    "NEXT_REQUEST",
    "HTTPConnection",
    "HTTPInstruments",
    "RawExchange",
    "accept_raw",
    "turn_away",
]
