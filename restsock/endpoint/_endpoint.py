"""`Endpoint`: what a client and a server have, whichever way their connections come about."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from restsock._buffered import Buffered
from restsock._limit_log import LimitLog
from restsock._options import Options
from restsock.connection import instruments_of, load_of

from ._counters import EndpointCounters
from ._lifecycle import Lifecycle
from ._pending_requests import PendingRequests
from ._socket_options import check_socket_options

if TYPE_CHECKING:
    import logging
    from types import TracebackType

    from restsock.connection import (
        Handler,
        Health,
        HealthReport,
        InstrumentLike,
        Instruments,
        Side,
    )

__all__ = ["Endpoint"]


class Endpoint:
    """What a client and a server have in common.

    Args:
        side: Which end of its connections this is.
        logger: Of what peers bring about.
        handler: Serves the requests of the peers; without it they are refused.
        options: Limits, timeouts and heartbeat of each connection.
        instrument: Is told what happens.

    Raises:
        ValueError: This system has no such socket option.
    """

    def __init__(
        self,
        side: Side,
        logger: logging.Logger,
        *,
        handler: Handler | None,
        options: Options | None,
        instrument: InstrumentLike | None,
    ) -> None:
        self.options = Options() if options is None else options
        check_socket_options(self.options.sockets)
        self.limit_log = LimitLog(logger)
        self.instrument: Instruments | None = instruments_of(instrument)
        self._handler = handler
        self._life = Lifecycle("client" if side == "dialer" else "server")
        self._counters = EndpointCounters(side, self.instrument, self.limit_log)
        self._buffered = Buffered(self.options.limits.buffered_total)
        self._pending = PendingRequests()

    @property
    def _queued(self) -> int | None:
        """Requests that wait for a thread of the app; `None` where it has no such queue."""
        load = load_of(self._handler)
        return None if load is None else load.waiting

    def _complete(self, report: HealthReport, missing: str) -> Health:
        """Adds what is worth a word about either end; `missing` is what requests wait for."""
        if len(self._pending):
            report.warning(f"{len(self._pending)} requests wait for {missing}")
        report.load(load_of(self._handler))
        report.limits(self.limit_log.last_hit, time.monotonic())
        return report.health()

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> bool | None:
        return await self._life.leave(exc_type, exc, traceback)
