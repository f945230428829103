"""Peers in memory and networks that fail: for the tests of programs that use restsock.

- `sync_pair`, `aio_pair`, `trio_pair`: a client and a server of each API, connected without a port,
  with a `network` that fails on demand. The pytest fixture `restsock_pair` makes them, too.
- `connected_pair`: both ends of a connection in memory, each with or without an app.
- `FaultyStream`: any trio stream with faults on demand, in either direction (`Wire`).
- `FaultyProxy`: the same faults for real sockets, between processes.

On trio, everything here uses only trio's clock: with `trio.testing.MockClock`, a minute of silence,
delay or backoff takes no time.
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
