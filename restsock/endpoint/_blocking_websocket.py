"""A WebSocket for threads, at either end."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractAsyncContextManager
from typing import TYPE_CHECKING

from restsock._exceptions import ConnectionClosed, WebSocketClosed
from restsock.connection import ClientWebSocket, OpenWebSocket
from restsock.protocol import CloseCode
from restsock.threads import BlockingContext

from ._alike import documented_like

if TYPE_CHECKING:
    from restsock.protocol import Headers
    from restsock.threads import LoopPortal

__all__ = ["BlockingClientWebSocket", "BlockingWebSocket"]


class BlockingWebSocket:
    """A WebSocket for threads, which runs on a trio loop.

    The loop answers pings. Any number of threads may send, and several may receive: each message
    goes to one of them.

    Args:
        websocket: The WebSocket on the loop.
        portal: The way to the loop.
    """

    def __init__(self, websocket: OpenWebSocket, portal: LoopPortal) -> None:
        self._websocket = websocket
        self._portal = portal

    @property
    def headers(self) -> Headers:
        """The fields of the peer's part of the opening handshake, as pairs of name and value."""
        return self._websocket.headers

    def header(self, name: str, default: str | None = None) -> str | None:
        """The value of a header field, or `default`. Of a repeated field, the first value."""
        return self._websocket.header(name, default)

    @property
    def subprotocol(self) -> str | None:
        """The subprotocol that was chosen, or `None`."""
        return self._websocket.subprotocol

    @property
    def close_code(self) -> int | None:
        """The close code, from the side that closed first; `None` while the WebSocket is open.

        1005 means a close without a code, 1006 an end without a close (RFC 6455, section 7.4.1).
        """
        return self._websocket.close_code

    @property
    def close_reason(self) -> str:
        """The reason that came with the close code."""
        return self._websocket.close_reason

    @property
    def round_trip(self) -> float | None:
        """The round-trip time in seconds, from the latest pong; `None` before the first."""
        return self._websocket.round_trip

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
        websocket = self._websocket
        taken: list[str | bytes] = []

        async def receive() -> None:
            taken.append(await websocket.receive())

        try:
            self._portal.wait(timeout, receive)
        except BaseException:
            if taken:  # interrupted just as it arrived
                self._portal.post(lambda: websocket.put_back(taken[0]))
            raise
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
