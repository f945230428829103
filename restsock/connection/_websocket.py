"""`ClientWebSocket`: a WebSocket to an app of the peer, inside of a stream, for trio and asyncio.

One task reads as long as the WebSocket is open, so pings are answered while nobody receives. It
stops reading when many bytes wait for a receiver: then the stream's credit stops the peer.
"""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING

import anyio
import anyio.lowlevel

from restsock._exceptions import (
    ConnectionClosed,
    RemoteProtocolError,
    RestsockError,
    WebSocketClosed,
    without_frames,
)
from restsock.protocol import (
    BinaryMessage,
    CloseCode,
    CloseReceived,
    Headers,
    TextMessage,
    WebSocket,
)

from ._close import check_close_code, printable
from ._mask_keys import mask_key
from ._messages import Fields

if TYPE_CHECKING:
    from restsock._options import Options

    from ._interfaces import TaskExchange

__all__ = ["ClientWebSocket"]

# What a message that waits weighs besides its bytes: there is no end to empty ones otherwise.
_OVERHEAD = 64


class ClientWebSocket(Fields):
    """A WebSocket to an app of the peer, after the app has accepted it. See `Requester.websocket`.

    Any number of tasks of one loop may send, and several may receive: each message goes to one.

    Attributes:
        headers: those of the app's 101.
        subprotocol: the one that the app has chosen; `None` without one.
    """

    def __init__(
        self, exchange: TaskExchange, headers: Headers, subprotocol: str | None, options: Options
    ) -> None:
        limits = options.limits
        self.headers = headers
        self.subprotocol = subprotocol
        self._exchange = exchange
        self._websocket = WebSocket(
            client=True, max_message=limits.max_websocket_message, mask_key=mask_key
        )
        self._close_timeout = options.timeouts.close
        self._messages: deque[str | bytes] = deque()
        self._waiting = 0  # bytes of these messages
        self._most = limits.initial_window
        self._closed: WebSocketClosed | None = None
        self._over = False  # nothing more comes
        self._end_sent = False
        self._changed = anyio.Event()

    @property
    def close_code(self) -> int | None:
        """The code that it was closed with, by whichever side was first; `None` while it is open.

        1005 stands for a close without a code, 1006 for an end without a close.
        """
        return None if self._closed is None else self._closed.code

    @property
    def close_reason(self) -> str:
        """The words beside the code."""
        return "" if self._closed is None else self._closed.reason

    async def send(self, message: str | bytes) -> None:
        """Sends a message: text, or bytes. Waits while too much waits to leave.

        If cancelled before anything was queued, nothing is sent; after that, all of the message.

        Raises:
            WebSocketClosed: it is closed. Whether the app has taken earlier messages is not known.
            TypeError: this is neither text nor bytes.
        """
        await anyio.lowlevel.checkpoint_if_cancelled()
        if self._closed is not None:
            raise self._closed.with_traceback(None)
        if isinstance(message, str):
            self._websocket.send_text(message)
        elif isinstance(message, (bytes, bytearray, memoryview)):
            self._websocket.send_binary(bytes(message))
        else:
            raise TypeError(f"a message is str or bytes, not {type(message).__name__}")
        exchange = self._exchange
        exchange.send_nowait(self._websocket.data_to_send())
        if exchange.write_paused:
            await exchange.send_data(b"")
            self._flush()  # pongs that came due meanwhile

    async def receive(self) -> str | bytes:
        """Waits for the next message: `str` of a text message, `bytes` of a binary one.

        If cancelled, no message is lost.

        Raises:
            WebSocketClosed: it is closed, and all that came before was received. After a close by
                this side, what was not received by then is dropped.
        """
        await anyio.lowlevel.checkpoint()
        while not self._messages:
            if self._closed is not None:
                raise self._closed.with_traceback(None)
            await self._changed.wait()
        message = self._messages.popleft()
        self._waiting -= len(message) + _OVERHEAD
        self._tell()
        return message

    def __aiter__(self) -> ClientWebSocket:
        return self

    async def __anext__(self) -> str | bytes:
        """The next message. Ends with a close in order (`WebSocketClosed.clean`).

        Raises:
            WebSocketClosed: it ended in another way.
        """
        try:
            return await self.receive()
        except WebSocketClosed as exc:
            if exc.clean:
                raise StopAsyncIteration from None
            raise

    async def aclose(self, code: int = CloseCode.NORMAL, reason: str = "") -> None:
        """Closes it, and waits for the app's half of the closing handshake. Twice is harmless.

        Messages that were not received are dropped. After `Timeouts.close` seconds, or if
        cancelled, the stream is reset.

        Args:
            code: 1000, 1001, 1011 to 1013, or 3000 to 4999.
            reason: for people, at most 123 bytes of UTF-8; more is cut.

        Raises:
            ValueError: this is no code to send.
        """
        check_close_code(code)
        if self._closed is None:
            self._websocket.close(code, reason)
            self._end(code, reason, "closed by this side")
            self._flush(force=True)
        self._messages.clear()
        self._waiting = 0
        self._tell()
        try:
            with anyio.move_on_after(self._close_timeout):
                while not self._over:
                    await self._changed.wait()
        finally:
            self._exchange.close()  # nothing, if both halves are complete

    async def run(self) -> None:
        """Reads until the end. Raises nothing: those who receive get the error."""
        try:
            while data := await self._exchange.receive_data():
                self._take(data)
                while self._waiting > self._most:
                    await self._changed.wait()
            self._end(CloseCode.ABNORMAL, "", "the peer ended without a close frame")
            self._flush(end=True)
        except RestsockError as exc:
            code = exc.code if isinstance(exc, ConnectionClosed) else CloseCode.ABNORMAL
            self._end(code, "", str(exc), exc)
        finally:
            self._over = True
            self._tell()

    # --- inside -------------------------------------------------------------------------------

    def _take(self, data: bytes) -> None:
        websocket = self._websocket
        try:
            websocket.receive_data(data)
        except RemoteProtocolError as exc:
            self._take_messages()
            websocket.close(exc.close_code, str(exc))
            self._end(exc.close_code, str(exc), str(exc), exc)
            self._flush(end=True)
            return
        self._take_messages()
        self._flush(end=websocket.close_received)

    def _take_messages(self) -> None:
        while (event := self._websocket.next_event()) is not None:
            if isinstance(event, (TextMessage, BinaryMessage)) and self._closed is None:
                self._messages.append(event.data)
                self._waiting += len(event.data) + _OVERHEAD
            elif isinstance(event, CloseReceived):
                self._end(event.code, event.reason, "closed by the app")
        self._tell()

    def _end(self, code: int, reason: str, how: str, cause: RestsockError | None = None) -> None:
        """Notes how it was closed; the first time counts."""
        if self._closed is None:
            words = f": {printable(reason)}" if reason and reason != how else ""
            error = WebSocketClosed(
                f"the WebSocket is closed with {int(code)}, {how}{words}", int(code), reason
            )
            error.__cause__ = None if cause is None else without_frames(cause)
            self._closed = error
            self._tell()

    def _flush(self, *, force: bool = False, end: bool = False) -> None:
        # While writing is paused, pongs wait in the WebSocket, which keeps some.
        exchange = self._exchange
        if force or end or not exchange.write_paused:
            data = self._websocket.data_to_send()
            if data:
                exchange.send_nowait(data)
        if end and not self._end_sent:
            self._end_sent = True
            exchange.send_end()

    def _tell(self) -> None:
        self._changed.set()
        self._changed = anyio.Event()
