"""The counters of a client or a server: all its connections of one kind together."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from restsock.connection import Counters, Statistics

if TYPE_CHECKING:
    from restsock.connection import Connection, Instruments, Side

__all__ = ["EndpointCounters"]


class EndpointCounters:
    """Counts connections and keeps the counters of those that have ended. On the loop.

    Args:
        side: Which end of the connections this is.
        instrument: Is told of the connections, if given.

    Attributes:
        begun: How many connections there have been.
        failed: How many attempts to connect have failed.
    """

    def __init__(self, side: Side, instrument: Instruments | None) -> None:
        self.begun = 0
        self.failed = 0
        self._side = side
        self._instrument = instrument
        self._past = Counters()

    def begin(self, connection: Connection) -> None:
        """Notes a connection that is about to run."""
        self.begun += 1
        connection.observe(self._instrument)

    def end(self, connection: Connection) -> None:
        """Notes a connection that has ended: what it has counted is kept."""
        connection.count_into(self._past)

    def fail(self) -> None:
        """Counts an attempt to connect that failed."""
        self.failed += 1
        if self._instrument is not None:
            self._instrument.handshake_failed(self._side)

    def statistics(self, living: Iterable[Connection]) -> Statistics:
        """The sum over all connections there have been.

        Args:
            living: The connections for which `end` was not called yet.
        """
        counters = self._past.copy()
        for connection in living:
            connection.count_into(counters)
        return counters.statistics()
