"""A WebSocket to an app of the peer, for threads."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractAsyncContextManager
from typing import TYPE_CHECKING

from restsock._exceptions import ConnectionClosed, WebSocketClosed
from restsock.connection import ClientWebSocket as AsyncClientWebSocket
from restsock.endpoint import documented_like
from restsock.protocol import CloseCode
from restsock.threads import BlockingContext

if TYPE_CHECKING:
    from restsock.protocol import Headers

__all__ = ["ClientWebSocket"]


class ClientWebSocket:
    """A WebSocket to an app of the peer, after the app has accepted it. Made by `websocket`.

    It lives on the background loop, which answers pings. Any number of threads may send, and
    several may receive: each message goes to one. `close` it, or use `with`.
    """

    def __init__(
        self, make: Callable[[], AbstractAsyncContextManager[AsyncClientWebSocket]]
    ) -> None:
        self._context = BlockingContext(make)
        self._websocket = self._context.value

    @property
    def headers(self) -> Headers:
        """Name and value pairs of the app's 101."""
        return self._websocket.headers

    def header(self, name: str, default: str | None = None) -> str | None:
        """The value of one of them; the first one's, when it is repeated."""
        return self._websocket.header(name, default)

    @property
    def subprotocol(self) -> str | None:
        """The one that the app has chosen; `None` without one."""
        return self._websocket.subprotocol

    @property
    def close_code(self) -> int | None:
        """The code that it was closed with, by whichever side was first; `None` while it is open.

        1005 stands for a close without a code, 1006 for an end without a close.
        """
        return self._websocket.close_code

    @property
    def close_reason(self) -> str:
        """The words beside the code."""
        return self._websocket.close_reason

    @documented_like(AsyncClientWebSocket.send)
    def send(self, message: str | bytes, timeout: float | None = None) -> None:
        """Send a message: text, or bytes. Waits while too much waits to leave.

        Args:
            message: What to send.
            timeout: Seconds to wait; `None` waits as long as it takes.

        Raises:
            TimeoutError: Too much still waits. This message was queued, and will leave.
            KeyboardInterrupt: Likewise.
        """

        websocket = self._websocket  # the loop must not keep this object alive

        async def send() -> bool:
            await websocket.send(message)
            return True

        if not self._context.portal.wait(timeout, send):
            raise TimeoutError(f"what waits to leave did not leave within {timeout} s")

    @documented_like(AsyncClientWebSocket.receive)
    def receive(self, timeout: float | None = None) -> str | bytes:
        """Wait for the next message: `str` of a text message, `bytes` of a binary one.

        Args:
            timeout: Seconds to wait; `None` waits as long as it takes.

        Raises:
            TimeoutError: There was none in time. The WebSocket goes on, and no message is lost.
        """
        message = self._context.portal.wait(timeout, self._websocket.receive)
        if message is None:
            raise TimeoutError(f"no message within {timeout} s")
        return message

    def __iter__(self) -> Iterator[str | bytes]:
        """The messages, until a close in order (`WebSocketClosed.clean`).

        Raises:
            WebSocketClosed: It ended in another way.
        """
        while True:
            try:
                message = self.receive()
            except WebSocketClosed as exc:
                if exc.clean:
                    return
                raise
            yield message

    @documented_like(AsyncClientWebSocket.aclose)
    def close(self, code: int = CloseCode.NORMAL, reason: str = "") -> None:
        """Close it, and wait for the app's half of the closing handshake. Twice is harmless.

        Messages that were not received are dropped. After `Timeouts.close` seconds, or at a
        `KeyboardInterrupt`, the stream is reset.
        """
        context = self._context
        if context.portal.foreign:
            return  # the parent's connection is the parent's to close
        context.portal.check_caller()
        try:
            if not context.closed:
                context.portal.run(self._websocket.aclose, code, reason)
        except ConnectionClosed:
            pass  # the loop has ended, and everything with it
        context.close()

    def __enter__(self) -> ClientWebSocket:
        return self

    def __exit__(self, exc_type: type[BaseException] | None, *exc: object) -> None:
        self.close(CloseCode.NORMAL if exc_type is None else CloseCode.INTERNAL_ERROR)

    def __del__(self) -> None:
        # Dropped without a close: the peer's app must not wait for it.
        context = getattr(self, "_context", None)
        if context is not None and not context.closed:
            context.abandon()
