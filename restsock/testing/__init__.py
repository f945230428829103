"""Peers in memory and wires that break: for the tests of programs that use restsock.

- `sync_pair`, `aio_pair`, `trio_pair`: a client and a server of each API, connected without a port,
  with a `network` that fails on demand. The fixture `restsock_pair` of pytest makes them, too.
- `connected_pair`: two handshaken connections over an in-memory wire, each with an app or without.
- `FaultyStream`: any trio stream with faults on demand, in either direction (`Wire`).
- `FaultyProxy`: the same faults for real sockets, between processes.

On trio everything here waits by trio's clock alone: under `trio.testing.MockClock` a minute of
silence, delay or backoff takes no time.
"""

from restsock.testing._endpoints import EndpointPair, PairFactory, aio_pair, sync_pair, trio_pair
from restsock.testing._faults import Faults
from restsock.testing._network import AioNetwork, Network, SyncNetwork
from restsock.testing._pair import Pair, connected_pair
from restsock.testing._proxy import FaultyProxy, Link
from restsock.testing._stream import FaultyStream
from restsock.testing._wire import CutKind, Wire

__all__ = [
    "AioNetwork",
    "CutKind",
    "EndpointPair",
    "Faults",
    "FaultyProxy",
    "FaultyStream",
    "Link",
    "Network",
    "Pair",
    "PairFactory",
    "SyncNetwork",
    "Wire",
    "aio_pair",
    "connected_pair",
    "sync_pair",
    "trio_pair",
]
