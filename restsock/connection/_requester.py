"""Requester: what sends requests. A connection, a client, a route by name."""

from __future__ import annotations

from abc import abstractmethod
from typing import TYPE_CHECKING

import trio

from restsock._options import Limits, Options, Timeouts
from restsock.protocol import RequestHead

from ._async_exchange import AsyncExchange
from ._exchange import Exchange
from ._loops import check_trio
from ._requests import AsyncRequests

if TYPE_CHECKING:
    from ._exchange import Carrier
    from ._instruments import Instruments
    from ._interfaces import Submitter, TaskExchange

__all__ = ["Requester"]


class Requester(AsyncRequests):
    """The calling side, for the trio loop. Threads come in through `ThreadExchange`.

    Attributes:
        token: Of the loop that it belongs to.
        options: Limits and time-outs.
        instrument: Is told of what happens; `None` without one.
    """

    __slots__ = ()

    token: trio.lowlevel.TrioToken
    options: Options
    instrument: Instruments | None = None

    @property
    def limits(self) -> Limits:
        """The limits of this side."""
        return self.options.limits

    @property
    def timeouts(self) -> Timeouts:
        """The time-outs of this side."""
        return self.options.timeouts

    @property
    def authority(self) -> str:
        """The Host of requests that name none."""
        return "restsock"

    @property
    def connection(self) -> Carrier | None:
        """What there is now; `None` when there is nothing. For any thread."""
        return None

    def pick(self) -> Carrier | None:
        """The connection that a request should go to; `None` when it has to wait for one.

        For any thread. It may take no requests, or have no stream free: `submit()` looks again.
        """
        return self.connection

    @abstractmethod
    def submit(self, exchange: Exchange) -> None:
        """Takes an exchange over. Called on the loop; returns at once.

        It is started now, or as soon as there is a connection with a free stream, or it fails. One
        that the peer provably did not start is submitted again (`Exchange.resubmit`).
        """

    def _submitter(self) -> Submitter:
        return self

    def _open_exchange(self, head: RequestHead, *, body: bytes = b"", end: bool) -> TaskExchange:
        check_trio("this", "restsock.aio")
        return AsyncExchange.open(self, head, body=body, end=end)
