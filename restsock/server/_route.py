"""`Route`: requests to a peer by its name, whichever connection it has at the moment."""

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

# Names that can be a Host as they are.
_HOST = re.compile(r"[0-9A-Za-z._~-]{1,255}")


class Route(AdaptedRequester):
    """Sends requests to the peer of one name. Made by `Server.route`; may be kept and shared.

    It outlives the peer's connections: a request made while the peer is away waits for it, up to
    its connect timeout (`Timeouts.connect` by default), then fails with `PeerNotFound` (no peer of
    that name was ever seen) or `PeerUnavailable` (it was, and is gone). Both are safe to retry.

    Attributes:
        name: The peer's name.
        limit_log: Of the server.
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
        """The Host of requests that name none: the peer's name, where it can stand there."""
        return self.name if _HOST.fullmatch(self.name) else super().authority

    @property
    def connection(self) -> Connection | None:
        """The peer's present connection, or `None`. Of several, the newest."""
        return self._connections.by_name(self.name)

    def pick(self) -> Connection | None:
        """As `Requester.pick`; of several the one that has least to do."""
        return self._connections.pick(self.name)

    def submit(self, exchange: Exchange) -> None:
        """Hands an exchange to the peer's connection, or lets it wait for one. On the loop."""
        exchange.resubmit = self.submit
        self._submit(self.name, exchange)

    def __repr__(self) -> str:
        return f"<Route to {self.name!r}>"
