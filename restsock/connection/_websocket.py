"""`OpenWebSocket`: a WebSocket after its opening handshake, at either end, for trio and asyncio.

Its bytes are those of an exchange that was upgraded, or of a stream that was dialed: `RawBytes`.

- One task reads as long as it is open, so pings are answered while nobody receives. It stops when
  many bytes wait for a receiver; then the peer has to wait, too.
- What is sent leaves at once while the peer takes it. Else it waits in a queue, which a second task
  empties as the peer goes on; that task exists only then. What waits are messages: pings, pongs and
  the close frame do not wait behind them, and what is cancelled is taken back.
"""

from __future__ import annotations

from collections.abc import Callable
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
    FRAMES_AT_ONCE,
    BinaryMessage,
    CloseCode,
    CloseReceived,
    Headers,
    Ping,
    Pong,
    TextMessage,
    WebSocket,
)

from ._close import check_websocket_code, printable
from ._mask_keys import mask_key
from ._messages import Fields
from ._receive_queue import ReceiveQueue
from ._send_queue import SendQueue, as_bytes

if TYPE_CHECKING:
    from anyio.abc import TaskGroup
    from typing_extensions import Self

    from restsock.protocol import MessageDeflate

    from ._interfaces import RawBytes

__all__ = ["OpenWebSocket"]


class OpenWebSocket(Fields):
    """A WebSocket on which messages go both ways.

    Any number of tasks of one loop may send, and several may receive: each message goes to one.

    Args:
        raw: the bytes.
        client: whether this end has asked for it: then it masks what it sends.
        headers: of the handshake, as the peer has sent them.
        subprotocol: the one that was chosen, if any.
        max_message: bytes of the largest message to receive; a larger one closes it with 1009.
        buffer: bytes of messages that may wait to be received before no more are read.
        max_queue: messages that may wait to be sent, by `send_nowait`.
        max_queue_bytes: bytes of these.
        close_timeout: seconds that its close may take.
        deflate: compresses its messages, if that was agreed on.
        peer: what errors call the other side.

    Attributes:
        headers: those of the peer's part of the opening handshake.
        subprotocol: the one that was chosen; `None` without one.
        on_writable: is called, on the loop, when there is room again after `send_nowait` had none.
        on_closed: is called, on the loop, once it is closed, by whichever side.
        on_message: is called, on the loop, when a message has come: see `receive_nowait`.
        on_received: is called, on the loop, when bytes have come.
        on_ping: is called, on the loop, with the payload of each ping, which is answered already.
        on_pong: is called, on the loop, with the payload of each pong.
        messages: how many messages have left and come.
        awaited: how many answers are to be sent soon: while there are any, it is not idle.
        round_trip: seconds, from the latest pong; `None` before the first, and where none is asked.
    """

    def __init__(
        self,
        raw: RawBytes,
        *,
        client: bool,
        headers: Headers,
        subprotocol: str | None,
        max_message: int,
        buffer: int,
        close_timeout: float,
        max_queue: int = 1000,
        max_queue_bytes: int = 1024 * 1024,
        deflate: MessageDeflate | None = None,
        peer: str = "the peer",
    ) -> None:
        self.headers = headers
        self.subprotocol = subprotocol
        self.on_writable: Callable[[], object] | None = None
        self.on_closed: Callable[[], object] | None = None
        self.on_message: Callable[[], object] | None = None
        self.on_received: Callable[[], object] | None = None
        self.on_ping: Callable[[bytes], object] | None = None
        self.on_pong: Callable[[bytes], object] | None = None
        self.messages = 0
        self.awaited = 0
        self.round_trip: float | None = None
        self._raw = raw
        self._websocket = WebSocket(
            client=client,
            max_message=max_message,
            mask_key=mask_key if client else None,
            deflate=deflate,
            max_frames=FRAMES_AT_ONCE,
        )
        self._peer = peer
        self._close_timeout = close_timeout
        self._received = ReceiveQueue(buffer)  # what has come
        self._more = False  # frames have come that are not read
        self._queue = SendQueue(max_queue, max_queue_bytes)  # what is to leave
        self._writing = False
        self._tasks: TaskGroup | None = None  # while it runs
        # The end.
        self._closed: WebSocketClosed | None = None  # how it was, once that is certain
        self._no_more: WebSocketClosed | None = None  # for those who receive, while it is open
        self._farewell: tuple[int, str] | None = None  # the close frame that is to follow the queue
        self._over = self._end_sent = False  # nothing more comes, or goes
        self._changed: anyio.Event | None = None  # there is one while somebody waits

    @property
    def close_code(self) -> int | None:
        """The close code of the side that closed first; `None` while it is open.

        1005 means a close without a code, 1006 an end without a close.
        """
        return None if self._closed is None else self._closed.code

    @property
    def close_reason(self) -> str:
        """The text that came with the code."""
        return "" if self._closed is None else self._closed.reason

    @property
    def closed_error(self) -> WebSocketClosed | None:
        """The error for anybody who uses it now; `None` while it is open."""
        return self._closed or self._no_more

    async def wait_closed(self) -> None:
        """Waits until it is certain how it was closed: `close_code` has it. Raises nothing."""
        while self._closed is None:
            await self._wait_changed()

    # --- sending ----------------------------------------------------------------------------

    @property
    def queued(self) -> int:
        """Messages that wait because the peer does not read; they are sent in order."""
        return len(self._queue)

    @property
    def room(self) -> int:
        """Bytes for which `send_nowait` has room now; 0 if none."""
        return 0 if self._closed is not None else self._queue.room

    async def send(self, message: str | bytes) -> None:
        """Sends a message: text, or bytes. Waits while too much waits to be sent.

        If cancelled while it waits, nothing of the message is sent.

        Raises:
            WebSocketClosed: it is closed. Whether the peer got earlier messages is unknown.
            TypeError: this is neither text nor bytes. ValueError: the text has a lone surrogate,
            which UTF-8 has not.
        """
        await anyio.lowlevel.checkpoint_if_cancelled()
        message = self._checked(message)
        if not self._queue and not self._raw.write_paused:
            self._transmit(message)
            return
        settled = anyio.Event()
        waiting = self._queue.put(message, settled=settled)
        assert waiting is not None
        self._start_writing()
        try:
            await settled.wait()
        except BaseException:
            if not settled.is_set():
                self._queue.remove(waiting)
            raise
        if waiting.dropped:
            assert self._closed is not None
            raise self._closed.with_traceback(None)

    @property
    def dropped(self) -> int:
        """Messages that were dropped to make room for later ones: see `send_nowait`."""
        return self._queue.dropped

    def send_nowait(self, message: str | bytes, *, droppable: bool = False) -> bool:
        """Sends a message if there is room for it; returns whether there was. On the loop.

        If the peer does not read, messages wait: at most `max_queue`, and `max_queue_bytes`. If
        there is no room, nothing is sent; then skip the message, or close with 1013.

        Args:
            message: Text or bytes.
            droppable: Whether it may be dropped while it waits, to make room for a later message.
                The oldest is dropped first.

        Raises:
            WebSocketClosed: it is closed.
            TypeError: this is neither text nor bytes.
            ValueError: the text has a lone surrogate, which UTF-8 has not.
        """
        message = self._checked(message)
        if not self._queue and not self._raw.write_paused:
            self._transmit(message)
            return True
        if self._queue.put(message, droppable=droppable) is None:
            return False
        self._start_writing()
        return True

    def _checked(self, message: str | bytes) -> str | bytes:
        if self._closed is not None:
            raise self._closed.with_traceback(None)
        if isinstance(message, (str, bytes)):
            return message
        return as_bytes(message)

    def _transmit(self, message: str | bytes) -> None:
        websocket = self._websocket
        if isinstance(message, str):
            websocket.send_text(message)
        else:
            websocket.send_binary(message)
        self.messages += 1
        self._raw.send_nowait(websocket.data_to_send())

    def _start_writing(self) -> None:
        if not self._writing and self._tasks is not None:
            self._writing = True
            self._tasks.start_soon(self._write)

    async def _write(self) -> None:
        """Hands on what waits, as the peer takes it, until nothing waits."""
        queue, raw = self._queue, self._raw
        try:
            while queue:
                await raw.send_data(b"")  # waits
                self._flush()  # pongs that came due meanwhile
                while queue and not raw.write_paused:
                    waiting = queue.pop()
                    self._transmit(waiting.message)
                    waiting.settle()
                if queue.regained() and self.on_writable is not None:
                    self.on_writable()
        finally:
            self._writing = False
        self._say_farewell()

    def send_ping(self, payload: bytes) -> None:
        """Sends a ping of at most 125 bytes, ahead of all messages that wait. On the loop."""
        if not self._websocket.close_sent:
            self._websocket.send_ping(payload)
            self._flush(force=True)

    # --- receiving --------------------------------------------------------------------------

    async def receive(self) -> str | bytes:
        """Waits for the next message: `str` of a text message, `bytes` of a binary one.

        If cancelled, no message is lost.

        Raises:
            WebSocketClosed: it is closed, and all earlier messages were received. After a close by
                this side, messages that were not received are dropped.
        """
        if self._received or self.closed_error is not None:
            await anyio.lowlevel.checkpoint()  # else it waits
        while (message := self.receive_nowait()) is None:
            if (error := self.closed_error) is not None:
                raise error.with_traceback(None)
            await self._wait_changed()
        return message

    def receive_nowait(self) -> str | bytes | None:
        """The next message; `None` if none has come, also at the end. On the loop."""
        if not self._received:
            return None
        self._tell()
        return self._received.pop()

    def put_back(self, message: str | bytes) -> None:
        """Puts back a message that was received: it is the next one. On the loop."""
        self._received.put_back(message)
        self._tell()

    def __aiter__(self) -> Self:
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

    @property
    def unread(self) -> int:
        """Messages that have arrived and wait to be received."""
        return len(self._received)

    @property
    def reading_paused(self) -> bool:
        """Whether nothing is read because too much waits to be received."""
        return self._received.full

    # --- the end ----------------------------------------------------------------------------

    def close_soon(self, code: int = CloseCode.NORMAL, reason: str = "") -> None:
        """Begins to close it, as `aclose` does, and does not wait. On the loop.

        Raises:
            ValueError: this is no code to send.
        """
        check_websocket_code(code)
        if self._closed is not None:
            return
        self._end(code, reason, "closed by this side")
        self._received.clear()
        self._farewell = (code, reason)
        if not self._queue:
            self._say_farewell()
        if self._tasks is not None:
            self._tasks.start_soon(self._bound_close)
        self._tell()

    async def aclose(self, code: int = CloseCode.NORMAL, reason: str = "") -> None:
        """Closes it, and waits for the peer's half of the closing handshake. Twice is harmless.

        Messages that wait are sent first; unread ones are dropped. After `Timeouts.close` seconds,
        or if cancelled, everything is dropped. Raises no error of the peer.

        Args:
            code: 1000 to 1003, 1007 to 1014, or 3000 to 4999.
            reason: for people, at most 123 bytes of UTF-8; more is cut.

        Raises:
            ValueError: this is no code to send.
        """
        self.close_soon(code, reason)
        try:
            with anyio.move_on_after(self._close_timeout):
                while not self._over:
                    await self._wait_changed()
        finally:
            self._abandon()

    def fail(self, code: int, reason: str) -> None:
        """Ends it because of the peer, with a close frame that it may not get. On the loop."""
        if self._closed is None:
            self._end(code, reason, "closed by this side")
            self._farewell = (code, reason)
        self._abandon()

    async def _bound_close(self) -> None:
        await anyio.sleep(self._close_timeout)
        self._abandon()

    def _abandon(self) -> None:
        """Ends it without waiting for the peer."""
        if not self._over:
            self._queue.drop()
            self._say_farewell()
            if self._tasks is not None:
                self._tasks.cancel_scope.cancel()
        self._raw.close()  # nothing, if both halves are complete

    def _say_farewell(self) -> None:
        farewell, self._farewell = self._farewell, None
        if farewell is not None:
            self._websocket.close(*farewell)
            self._flush(force=True)

    async def run(self) -> None:
        """Reads until the end. Raises nothing: those who receive get the error."""
        try:
            async with anyio.create_task_group() as tasks:
                self._tasks = tasks
                if self._queue:
                    self._start_writing()
                if self._closed is not None:
                    tasks.start_soon(self._bound_close)
                await self._read()
                tasks.cancel_scope.cancel()
        finally:
            self._tasks = None
            self._over = True
            self._end(CloseCode.ABNORMAL, "", "given up by this side")
            self._queue.drop()
            self._tell()

    async def _read(self) -> None:
        try:
            while await self._raw.feed(self._take_in):
                while self._more:
                    await anyio.lowlevel.checkpoint()  # a flood of frames: others have their turn
                    await self._wait_until_read()
                    self._more = self._take(b"")
                await self._wait_until_read()
            self._end(CloseCode.ABNORMAL, "", f"{self._peer} ended without a close frame")
            self._flush(end=True)
        except RestsockError as exc:
            code = exc.code if isinstance(exc, ConnectionClosed) else CloseCode.ABNORMAL
            self._end(code, "", str(exc), exc)

    def _take_in(self, data: bytes) -> bool:
        """Takes in bytes; tells whether it can take in more at once."""
        if self.on_received is not None:
            self.on_received()
        self._more = self._take(data)
        return not (self._more or self._received.full)

    async def _wait_until_read(self) -> None:
        while self._received.full:
            await self._wait_changed()

    def _take(self, data: bytes) -> bool:
        """Reads some frames; tells whether there are more."""
        websocket = self._websocket
        try:
            websocket.receive_data(data)
        except RemoteProtocolError as exc:
            self._take_messages()
            websocket.close(exc.close_code, str(exc))
            self._end(exc.close_code, str(exc), str(exc), exc)
            self._flush(end=True)
            return False
        self._take_messages()
        self._flush(end=websocket.close_received)
        return websocket.more

    def _take_messages(self) -> None:
        while (event := self._websocket.next_event()) is not None:
            if isinstance(event, (TextMessage, BinaryMessage)):
                self.messages += 1
                if self._closed is None and self._no_more is None:
                    self._received.put(event.data)
                    if self.on_message is not None:
                        self.on_message()
            elif isinstance(event, Pong) and self.on_pong is not None:
                self.on_pong(event.payload)
            elif isinstance(event, Ping) and self.on_ping is not None:
                self.on_ping(event.payload)
            elif isinstance(event, CloseReceived):
                self._end(event.code, event.reason, f"closed by {self._peer}")
        self._tell()

    def _end(self, code: int, reason: str, how: str, cause: RestsockError | None = None) -> None:
        """Notes how it was closed; the first time counts."""
        if self._closed is None:
            words = f": {printable(reason)}" if reason and reason != how else ""
            text = f"the WebSocket is closed with {int(code)}, {how}{words}"
            self._closed = WebSocketClosed(text, int(code), reason)
            self._closed.__cause__ = None if cause is None else without_frames(cause)
            self._tell()
            if self.on_closed is not None:
                self.on_closed()

    def _flush(self, *, force: bool = False, end: bool = False) -> None:
        raw = self._raw  # while writing is paused, pongs wait in the WebSocket, which keeps some
        if end:
            self._queue.drop()  # nothing may follow a close frame
        if (force or end or not raw.write_paused) and (data := self._websocket.data_to_send()):
            raw.send_nowait(data)
        if end and not self._end_sent:
            self._end_sent = True
            raw.send_end()

    async def _wait_changed(self) -> None:
        changed = self._changed = self._changed or anyio.Event()
        await changed.wait()

    def _tell(self) -> None:
        if self._changed is not None:
            self._changed.set()
            self._changed = None
