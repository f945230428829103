"""Exchanges that wait for a connection, while there is none.

Used on the loop only, by both the dialing and the listening side. The requester decides how long an
exchange waits: to give up, it resets the exchange, and `Exchange.explain` makes the error.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from restsock._exceptions import RestsockError
    from restsock.connection import Connection, Exchange

__all__ = ["PendingRequests"]

# With fewer than these, it is not worth looking for exchanges that were reset.
_FEW = 64


class PendingRequests:
    """Exchanges in order of arrival; each waits until there is a connection or it is reset."""

    def __init__(self) -> None:
        self._waiting: dict[str, list[Exchange]] = {}
        self._count = 0
        self._sweep_at = _FEW
        self._refusal: Callable[[], RestsockError] | None = None

    def __len__(self) -> int:
        """How many exchanges wait."""
        self._sweep()
        return self._count

    def add(self, key: str, exchange: Exchange, explain: Callable[[], RestsockError]) -> None:
        """Adds an exchange.

        Args:
            key: What it waits for.
            exchange: The exchange, which was not submitted to any connection yet.
            explain: Makes the error for a requester that stops waiting.
        """
        if exchange.closed:
            return
        if self._refusal is not None:
            exchange.fail(self._refusal())
            return
        exchange.explain = explain
        self._waiting.setdefault(key, []).append(exchange)
        self._count += 1
        if self._count >= self._sweep_at:
            self._sweep()

    def offer_all(self, key: str, connection: Connection) -> None:
        """Offers a connection all that wait for this key, oldest first. Others keep waiting."""
        waiting = self._waiting.pop(key, [])
        self._count -= len(waiting)
        for exchange in waiting:
            explain, exchange.explain = exchange.explain, None
            if not connection.offer(exchange):
                assert explain is not None
                self.add(key, exchange, explain)

    def close(self, explain: Callable[[], RestsockError]) -> None:
        """Fails all that wait, and all that are added later. A second call has no effect."""
        if self._refusal is not None:
            return
        self._refusal = explain
        waiting, self._waiting = self._waiting, {}
        self._count = 0
        for exchanges in waiting.values():
            for exchange in exchanges:
                exchange.fail(explain())

    def _sweep(self) -> None:
        """Drops those that were reset, in batches large enough to be worth the work."""
        for key, exchanges in list(self._waiting.items()):
            exchanges[:] = [exchange for exchange in exchanges if not exchange.closed]
            if not exchanges:
                del self._waiting[key]
        self._count = sum(map(len, self._waiting.values()))
        self._sweep_at = max(_FEW, 2 * self._count)
