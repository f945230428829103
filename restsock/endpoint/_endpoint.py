"""`Endpoint`: what a client and a server have, whichever way their connections come about."""

from __future__ import annotations

import logging
import time

from restsock._buffered import Buffered
from restsock._limit_log import LimitLog
from restsock._options import Options
from restsock.connection import (
    Handler,
    Health,
    HealthReport,
    InstrumentLike,
    Side,
    instruments_of,
    load_of,
)

from ._counters import EndpointCounters
from ._lifecycle import Lifecycle
from ._pending_requests import PendingRequests
from ._socket_options import check_socket_options

__all__ = ["Endpoint"]


class Endpoint:
    """What a client and a server have in common, and hand to the objects that they consist of.

    Raises:
        ValueError: This system has no such socket option.
    """

    def __init__(
        self,
        side: Side,
        logger: logging.Logger,
        handler: Handler | None,
        options: Options | None,
        instrument: InstrumentLike | None,
    ) -> None:
        self.handler = handler
        self.options = Options() if options is None else options
        check_socket_options(self.options.sockets)
        self.instrument = instruments_of(instrument)
        self.limit_log = LimitLog(logger)
        self.life = Lifecycle("client" if side == "dialer" else "server")
        self.counters = EndpointCounters(side, self.instrument, self.limit_log)
        self.buffered = Buffered(self.options.limits.buffered_total)
        self.pending = PendingRequests()

    @property
    def queued(self) -> int | None:
        """Requests that wait for a thread of the app; `None` where it has no such queue."""
        load = load_of(self.handler)
        return None if load is None else load.waiting

    def complete(self, report: HealthReport, missing: str) -> Health:
        """Adds what is worth a word about either end; `missing` is what requests wait for."""
        if len(self.pending):
            report.warning(f"{len(self.pending)} requests wait for {missing}")
        report.load(load_of(self.handler))
        report.limits(self.limit_log.last_hit, time.monotonic())
        return report.health()
