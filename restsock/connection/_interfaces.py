"""Whom an exchange meets on its way: what submits it, and what serves it."""

from __future__ import annotations

from contextlib import AbstractAsyncContextManager
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from restsock._options import Limits

    from ._exchange import Exchange
    from ._instruments import Instruments

__all__ = ["Handler", "Submitter"]


class Handler(Protocol):
    """What serves the requests of a peer: an app behind one of the three interfaces.

    One with a queue may also have `load() -> Load`, for health and statistics.
    """

    def handle(self, exchange: Exchange) -> None:
        """Takes over a request whose head has come: sets `exchange.observer`. Must not block."""

    def running(self) -> AbstractAsyncContextManager[None]:
        """Starts the app (its lifespan, its workers) and ends it; requests come in between only."""


class Submitter(Protocol):
    """What an exchange is handed to, to be sent: see `Requester`."""

    @property
    def instrument(self) -> Instruments | None: ...

    @property
    def limits(self) -> Limits: ...

    def submit(self, exchange: Exchange) -> None: ...
