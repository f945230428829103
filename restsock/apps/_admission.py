"""Limits how many calls of an app a peer may have running."""

from __future__ import annotations

from typing import TYPE_CHECKING, Generic, Protocol, TypeVar

import trio

from restsock.protocol import ResetCode

if TYPE_CHECKING:
    from restsock.connection import Carrier, Exchange

__all__ = ["Admission", "Admitted", "refuse"]


class Admitted(Protocol):
    """A call that was admitted."""

    @property
    def complete(self) -> bool:
        """Whether its response is complete."""


_Call = TypeVar("_Call", bound=Admitted)


class Admission(Generic[_Call]):
    """Counts the calls of each connection whose response is not complete.

    A call of the app can outlive its stream, so the limit on open streams does not limit the calls:
    a peer that repeatedly opens and resets streams could have any number of them running. So each
    connection may also have only `Limits.max_streams` calls whose response is not complete.

    Attributes:
        active: All admitted calls that have not ended.
    """

    def __init__(self) -> None:
        self.active: set[_Call] = set()
        self._calls: dict[Carrier, set[_Call]] = {}
        self._idle = trio.Event()

    def enter(self, exchange: Exchange, call: _Call) -> bool:
        """Admits a call or refuses the request; returns whether it was admitted."""
        connection = exchange.connection
        assert connection is not None
        calls = self._calls.setdefault(connection, set())
        if len(calls) >= connection.limits.max_streams:
            # What an app does after its response is not the peer's fault.
            calls -= {other for other in calls if other.complete}
            if len(calls) >= connection.limits.max_streams:
                connection.limit_log.note_about(
                    connection,
                    "max_streams",
                    "%d requests are over, and their calls still run: refused",
                    len(calls),
                )
                refuse(exchange, "too many requests still running")
                return False
        calls.add(call)
        self.active.add(call)
        return True

    def leave(self, exchange: Exchange, call: _Call) -> None:
        """Notes that a call has ended."""
        connection = exchange.connection
        assert connection is not None
        calls = self._calls.get(connection, set())  # if complete, it may have been dropped
        calls.discard(call)
        if not calls:
            self._calls.pop(connection, None)
        self.active.discard(call)
        if not self.active:
            self._idle.set()

    async def wait_idle(self, seconds: float) -> None:
        """Waits until all calls have ended, for at most this many seconds."""
        with trio.move_on_after(seconds):
            while self.active:
                self._idle = trio.Event()
                await self._idle.wait()


def refuse(exchange: Exchange, reason: str) -> None:
    """Tells the peer that its request was not started."""
    exchange.reset(ResetCode.REFUSED, reason)
