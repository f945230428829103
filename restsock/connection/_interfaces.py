"""Whom an exchange meets on its way: what submits it, and what serves it."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from typing import TYPE_CHECKING, Protocol, cast

if TYPE_CHECKING:
    from restsock._exceptions import RestsockError
    from restsock._options import Limits, Options, Timeouts
    from restsock.protocol import Headers, ResetCode, ResponseHead

    from ._exchange import Exchange
    from ._instruments import Instruments

__all__ = [
    "BodySource",
    "Drains",
    "Handler",
    "RawBytes",
    "Submitter",
    "TaskExchange",
    "drains_of",
]


class Handler(Protocol):
    """What serves the requests of a peer: an app with one of the three interfaces.

    One with a queue may also have `load() -> Load`, for health and statistics. One whose exchanges
    last, and that can end them in good order, may also be a `Drains`.
    """

    def handle(self, exchange: Exchange) -> None:
        """Takes over a request whose head has come: sets `exchange.observer`. Must not block."""

    def running(self) -> AbstractAsyncContextManager[None]:
        """Starts the app (its lifespan, its workers) and ends it; requests come in between only."""


class Drains(Protocol):
    """A handler that ends what it serves when its client or server closes."""

    def drain_soon(self, grace: float, code: int, reason: str) -> None:
        """Begins nothing more, and has what there is end within so many seconds.

        Whatever has not ended then is closed with this code and reason.
        """

    async def wait_drained(self) -> None:
        """Waits until all has ended."""


def drains_of(handler: object) -> Drains | None:
    """The same handler, if it can do that."""
    return cast("Drains", handler) if hasattr(handler, "drain_soon") else None


class Submitter(Protocol):
    """What an exchange is handed to, to be sent: see `Requester`."""

    @property
    def instrument(self) -> Instruments | None: ...

    @property
    def options(self) -> Options: ...

    @property
    def limits(self) -> Limits: ...

    @property
    def timeouts(self) -> Timeouts: ...

    @property
    def authority(self) -> str: ...

    def submit(self, exchange: Exchange) -> None: ...


class BodySource(Protocol):
    """Where the body of a message comes from, in pieces."""

    @property
    def trailers(self) -> Headers: ...

    async def receive_data(self) -> bytes: ...


class RawBytes(Protocol):
    """Raw bytes both ways, as after an upgrade: a `TaskExchange`, or a stream that was dialed."""

    @property
    def write_paused(self) -> bool:
        """Whether more waits to be sent than should."""

    async def receive_data(self) -> bytes:
        """Waits for bytes; `b""` at the end. Raises what they have failed with."""

    async def feed(self, take: Callable[[bytes], bool]) -> bool:
        """Hands bytes on as they come, until `take` returns that it wants no more for now.

        Returns:
            Whether more may come: not at the end. Raises what they have failed with.
        """

    async def send_data(self, data: bytes) -> bool:
        """Sends bytes, and waits while too many wait to leave; tells whether more are wanted."""

    def send_nowait(self, data: bytes) -> None:
        """Sends bytes. Look at `write_paused` before sending more."""

    def send_end(self) -> None:
        """No more bytes will follow this way."""

    def close(self) -> None:
        """Breaks them off, unless both ways are complete. Harmless when repeated."""


class TaskExchange(Protocol):
    """One request and its response, driven by tasks: see `AsyncExchange`.

    That one is for tasks of the connection's own loop; `restsock.threads` has the same for those of
    another one.
    """

    exchange: Exchange

    @property
    def started(self) -> bool: ...

    @property
    def stopped(self) -> bool: ...

    @property
    def trailers(self) -> Headers: ...

    @property
    def error(self) -> RestsockError | None: ...

    @property
    def write_paused(self) -> bool: ...

    def check(self) -> None: ...

    async def wait_started(self, timeout: float | None) -> None: ...

    async def receive_head(self) -> ResponseHead: ...

    async def receive_data(self) -> bytes: ...

    async def feed(self, take: Callable[[bytes], bool]) -> bool: ...

    def receive_nowait(self) -> bytes | None: ...

    async def send_data(self, data: bytes) -> bool: ...

    def send_nowait(self, data: bytes) -> None: ...

    def send_end(self, trailers: Headers = ...) -> None: ...

    def release(self) -> None: ...

    def close(self, code: ResetCode = ..., reason: str = ...) -> None: ...

    def close_soon(self) -> None: ...
