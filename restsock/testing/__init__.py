"""Peers in memory and wires that break: for the tests of programs that use restsock.

- `connected_pair`: two handshaken connections over an in-memory wire, each with an app or without.
- `FaultyStream`: any trio stream with faults on demand, in either direction (`Wire`).
- `FaultyProxy`: the same faults for real sockets, between processes.

Everything here waits by trio's clock alone: under `trio.testing.MockClock` a minute of silence,
delay or backoff takes no time.
"""

from restsock.testing._pair import Pair, connected_pair
from restsock.testing._proxy import FaultyProxy, Link
from restsock.testing._stream import FaultyStream
from restsock.testing._wire import CutKind, Wire

__all__ = ["CutKind", "FaultyProxy", "FaultyStream", "Link", "Pair", "Wire", "connected_pair"]
