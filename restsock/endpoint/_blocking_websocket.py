"""A WebSocket for threads, at either end."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractAsyncContextManager

from restsock._exceptions import ConnectionClosed, WebSocketClosed
from restsock.connection import ClientWebSocket, OpenWebSocket
from restsock.protocol import CloseCode
from restsock.threads import BlockingContext

from ._alike import documented_like
from ._views import WebSocketView

__all__ = ["BlockingClientWebSocket", "BlockingWebSocket"]


class BlockingWebSocket(WebSocketView):
    """A WebSocket for threads, which runs on a trio loop.

    The loop answers pings. Any number of threads may send, and several may receive: each message
    goes to one of them.

    Args:
        websocket: The WebSocket on the loop.
        portal: The way to the loop.
    """

    @documented_like(OpenWebSocket.send)
    def send(self, message: str | bytes, timeout: float | None = None) -> None:
        """Send a text or binary message. Waits while the send buffer is full.

        Args:
            message: The message: `str` for text, `bytes` for binary.
            timeout: Seconds to wait; `None` waits indefinitely.

        Raises:
            TimeoutError: The send buffer was full for that long. Nothing of the message was sent.
            KeyboardInterrupt: It was interrupted while it waited. Nothing of the message was sent.
        """
        websocket = self._websocket  # the loop must not keep this object alive

        async def send() -> bool:
            await websocket.send(message)
            return True

        if not self._portal.wait(timeout, send):
            raise TimeoutError(f"no room for the message within {timeout} s")

    @documented_like(OpenWebSocket.send_nowait)
    def send_nowait(self, message: str | bytes) -> bool:
        """Send a message if the send buffer has room for it; return whether it had.

        Without room, nothing of the message is sent.
        """
        return self._portal.call(self._websocket.send_nowait, message)

    @documented_like(OpenWebSocket.receive)
    def receive(self, timeout: float | None = None) -> str | bytes:
        """Wait for the next message: `str` for a text message, `bytes` for a binary one.

        Args:
            timeout: Seconds to wait; `None` waits indefinitely.

        Raises:
            TimeoutError: No message arrived in time. The WebSocket stays open; no message is lost.
        """
        with self._receiving() as (receive, taken):
            self._portal.wait(timeout, receive)
        if not taken:
            raise TimeoutError(f"no message within {timeout} s")
        return taken[0]

    def __iter__(self) -> Iterator[str | bytes]:
        """The messages, until a clean close (`WebSocketClosed.clean`).

        Raises:
            WebSocketClosed: It ended in any other way.
        """
        while True:
            try:
                message = self.receive()
            except WebSocketClosed as exc:
                if exc.clean:
                    return
                raise
            yield message

    @documented_like(OpenWebSocket.aclose)
    def close(self, code: int = CloseCode.NORMAL, reason: str = "") -> None:
        """Close it, and wait for the peer's half of the closing handshake.

        Messages in the send buffer are sent first. Messages that were not received are dropped.
        After `Timeouts.close` seconds, or at a `KeyboardInterrupt`, everything is dropped. A second
        call is harmless.
        """
        if self._portal.foreign:
            return  # the parent's connection is the parent's to close
        self._portal.check_caller()
        try:
            self._portal.run(self._websocket.aclose, code, reason)
        except ConnectionClosed:
            pass  # the loop has ended, and everything with it


class BlockingClientWebSocket(BlockingWebSocket):
    """The client end of a WebSocket that the server has accepted.

    Made by `websocket`, to an app of the peer, or by `restsock.websockets.sync.connect`.

    It runs on the background loop, which answers pings. Any number of threads may send, and several
    may receive: each message goes to one of them. Close it with `close` or `with`.
    """

    def __init__(self, make: Callable[[], AbstractAsyncContextManager[ClientWebSocket]]) -> None:
        self._context = BlockingContext(make)
        super().__init__(self._context.value, self._context.portal)

    @documented_like(BlockingWebSocket.close)
    def close(self, code: int = CloseCode.NORMAL, reason: str = "") -> None:
        """Close it, and wait for the peer's half of the closing handshake.

        Messages in the send buffer are sent first. Messages that were not received are dropped.
        After `Timeouts.close` seconds, or at a `KeyboardInterrupt`, the stream is reset. A second
        call is harmless.
        """
        if self._portal.foreign:
            return  # the parent's connection is the parent's to close
        self._portal.check_caller()
        if not self._context.closed:
            super().close(code, reason)
        self._context.close()

    def __enter__(self) -> BlockingClientWebSocket:
        return self

    def __exit__(self, exc_type: type[BaseException] | None, *exc: object) -> None:
        self.close(CloseCode.NORMAL if exc_type is None else CloseCode.INTERNAL_ERROR)

    def __del__(self) -> None:
        # Dropped without a close: the other side must not wait for it.
        context = getattr(self, "_context", None)
        if context is not None and not context.closed:
            context.abandon()
