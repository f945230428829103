"""`Route`: requests to a peer by its name, over its current connection."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import TYPE_CHECKING

from restsock.connection import Exchange
from restsock.endpoint import AdaptedRequester

if TYPE_CHECKING:
    import trio

    from restsock._limit_log import LimitLog
    from restsock._options import Options
    from restsock.connection import Connection, Instruments

    from ._registry import Connections

__all__ = ["Route"]

# Names that are valid as a Host.
_HOST = re.compile(r"[0-9A-Za-z._~-]{1,255}")


class Route(AdaptedRequester):
    """Sends requests to the peer of one name. Made by `Server.route`; may be kept and shared.

    It outlives the peer's connections. While the peer is away, a request waits for it, up to its
    connect timeout (`Timeouts.connect` by default). Then it fails with `PeerNotFound` (no peer of
    that name was ever connected) or `PeerUnavailable` (it was, and is gone). Both are safe to
    retry.

    Attributes:
        name: The peer's name.
        limit_log: The limit log of the server.
    """

    def __init__(
        self,
        name: str,
        *,
        token: trio.lowlevel.TrioToken,
        options: Options,
        instrument: Instruments | None = None,
        limit_log: LimitLog,
        submit: Callable[[str, Exchange], None],
        connections: Connections,
    ) -> None:
        self.name = name
        self.token = token
        self.options = options
        self.instrument = instrument
        self.limit_log = limit_log
        self._submit = submit
        self._connections = connections

    @property
    def authority(self) -> str:
        """The default Host of requests: the peer's name, if that is a valid host."""
        return self.name if _HOST.fullmatch(self.name) else super().authority

    @property
    def connection(self) -> Connection | None:
        """The peer's current connection, or `None`. Of several, the newest."""
        return self._connections.by_name(self.name)

    def pick(self) -> Connection | None:
        """As `Requester.pick`; of several, the least busy connection."""
        return self._connections.pick(self.name)

    def submit(self, exchange: Exchange) -> None:
        """Submits an exchange to the peer's connection, or queues it for one. On the loop."""
        exchange.resubmit = self.submit
        self._submit(self.name, exchange)

    def __repr__(self) -> str:
        return f"<Route to {self.name!r}>"
