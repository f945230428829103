"""WebSocket: bytes to messages and back, without I/O (RFC 6455, sections 5 to 7).

wsproto reads and writes the frames, but for the plain one (`_websocket_fast`), which takes a short
cut that changes nothing but the time it takes. What stands around them: whole messages with a limit
on their size that holds while the bytes arrive; an error of the peer's framing that cannot be
mistaken for a close; a close that is echoed, and after which nothing is read; and pongs that leave
ahead of all that waits, of which no flood of pings makes many.

Order of calls: `receive_data()` then `next_event()` until it gives None; any `send_*()` or
`close()`; and after either, `data_to_send()`.
"""

from __future__ import annotations

from collections.abc import Callable

from wsproto.frame_protocol import Frame, FrameProtocol, Opcode, ParseFailed

from restsock._exceptions import LocalProtocolError, RemoteProtocolError

from ._events import (
    BinaryMessage,
    CloseCode,
    CloseReceived,
    Ping,
    Pong,
    TextMessage,
    WebSocketEvent,
)
from ._masking import apply_mask
from ._websocket_fast import PING, PONG, encode_binary, encode_control, parse_header

__all__ = ["WebSocket"]

# Pongs that wait while the socket takes nothing; of more, the oldest are left out (RFC 6455,
# section 5.5.3, allows it). An honest peer has a ping or two under way.
_MAX_PONGS = 128


class WebSocket:
    """One end of a WebSocket behind its upgrade.

    Args:
        client: whether this end dialed: it masks what it sends.
        max_message: the size of the largest message to accept, in bytes, however it is fragmented.
        mask_key: gives four random bytes, for a client; wsproto draws them when it is left out.

    Attributes:
        close_sent: whether this end has sent (or queued) its close frame; nothing may follow it.
        close_received: whether the peer has.
    """

    __slots__ = (
        "_broken",
        "_buffer",
        "_client",
        "_events",
        "_fragmented",
        "_left",
        "_mask_key",
        "_max_message",
        "_out",
        "_parts",
        "_pongs",
        "_size",
        "_wsproto",
        "close_received",
        "close_sent",
    )

    def __init__(
        self, *, client: bool, max_message: int, mask_key: Callable[[], bytes] | None = None
    ) -> None:
        self.close_sent = False
        self.close_received = False
        self._client = client
        self._mask_key = mask_key
        self._buffer = bytearray()
        self._left = 0  # bytes of a frame that wsproto is in the middle of
        self._fragmented = False  # whether a message is in the middle of its frames
        self._wsproto: FrameProtocol | None = None
        self._max_message = max_message
        self._broken = False
        self._parts: list[bytes | bytearray | str] = []
        self._size = 0
        self._events: list[WebSocketEvent] = []
        self._out: list[bytes | bytearray] = []
        self._pongs: list[bytes] = []

    def receive_data(self, data: bytes) -> None:
        """Takes in bytes from the peer. Behind its close frame, or an error, they are dropped.

        Raises:
            RemoteProtocolError: the peer broke the protocol or sent too much; answer with
                `close(error.close_code, ...)`. What was complete before can still be read.
        """
        if self._broken or self.close_received:
            return
        self._buffer += data
        try:
            self._parse()
        except ParseFailed as exc:
            self._broken = True
            code = CloseCode.INVALID_TEXT if exc.code == 1007 else CloseCode.WEBSOCKET_ERROR
            raise RemoteProtocolError(f"not a WebSocket: {exc}", close_code=code) from exc
        except RemoteProtocolError:
            self._broken = True
            raise

    def next_event(self) -> WebSocketEvent | None:
        """The next thing that was received; `None` when there is nothing more."""
        return self._events.pop(0) if self._events else None

    def send_text(self, data: str) -> None:
        """Queues a text message.

        Raises:
            LocalProtocolError: the close frame has been sent.
        """
        self._send(self._protocol.send_data(data))

    def send_binary(self, data: bytes) -> None:
        """Queues a binary message.

        Raises:
            LocalProtocolError: the close frame has been sent.
        """
        if not self._client:
            self._send(encode_binary(data, None))
        elif self._mask_key is not None:
            self._send(encode_binary(data, self._mask_key()))
        else:
            self._send(self._protocol.send_data(data))

    def send_ping(self, payload: bytes = b"") -> None:
        """Queues a ping of at most 125 bytes.

        Raises:
            LocalProtocolError: it is longer, or the close frame has been sent.
        """
        if len(payload) > 125:
            raise LocalProtocolError("a ping carries at most 125 bytes")
        self._send(self._control(PING, payload))

    def close(self, code: int = CloseCode.NORMAL, reason: str = "") -> None:
        """Queues the close frame; a reason of over 123 bytes is cut. Harmless when repeated."""
        if not self.close_sent:
            self._flush_pongs()
            self._out.append(self._protocol.close(code, reason))
            self.close_sent = True

    @property
    def has_output(self) -> bool:
        """Whether `data_to_send()` has something to give."""
        return bool(self._out or self._pongs)

    def data_to_send(self) -> bytes:
        """Takes the bytes that are due; empty when there are none."""
        if self._pongs:
            self._flush_pongs()
        data = b"".join(self._out)
        self._out.clear()
        return data

    def _parse(self) -> None:
        """Takes all that is complete out of the buffer: plain frames here, others to wsproto."""
        buffer = self._buffer
        masked = not self._client
        at = 0
        try:
            while not self.close_received:
                if self._left:
                    piece = bytes(buffer[at : at + self._left])
                    at += len(piece)
                    self._left -= len(piece)
                    self._feed(piece)
                    if self._left or self.close_received:
                        break
                header = parse_header(buffer, at, masked=masked)
                if header is None:
                    break
                end = header.start + header.length
                if header.plain and (
                    header.control or (not self._fragmented and header.length <= self._max_message)
                ):
                    if end > len(buffer):
                        break
                    self._take_fast(buffer[at], header.start, end)
                    at = end
                else:
                    self._left = end - at
                    if not header.control:
                        self._fragmented = not header.fin
                        self._feed(bytes(buffer[at : header.start]))
                        self._left -= header.start - at
                        at = header.start
                        # wsproto has found the header in order; what it announces may be too much.
                        self._check_size(header.length)
        finally:
            del buffer[:at]

    def _take_fast(self, first: int, start: int, end: int) -> None:
        with memoryview(self._buffer) as view:
            if self._client:
                payload = bytes(view[start:end])
            else:
                payload = apply_mask(view[start:end], bytes(view[start - 4 : start]))
        if first == PING:
            self._receive_ping(payload)
        elif first == PONG:
            self._events.append(Pong(payload))
        else:
            self._events.append(BinaryMessage(payload))

    def _receive_ping(self, payload: bytes) -> None:
        if not self.close_sent:
            self._pongs.append(payload)
            del self._pongs[:-_MAX_PONGS]
        self._events.append(Ping(payload))

    def _control(self, first: int, payload: bytes) -> bytes | bytearray:
        if not self._client:
            return encode_control(first, payload, None)
        if self._mask_key is not None:
            return encode_control(first, payload, self._mask_key())
        return self._protocol.ping(payload) if first == PING else self._protocol.pong(payload)

    @property
    def _protocol(self) -> FrameProtocol:
        """wsproto: the one that is in the middle of a message, or a new one."""
        if self._wsproto is None:
            return FrameProtocol(client=self._client, extensions=[])
        return self._wsproto

    def _feed(self, data: bytes) -> None:
        self._wsproto = protocol = self._protocol
        protocol.receive_bytes(data)
        for frame in protocol.received_frames():
            self._receive_frame(frame)
            if self.close_received:
                break
        if not (self._left or self._fragmented):
            self._wsproto = None  # it remembers nothing now, and weighs 1 KiB

    def _send(self, data: bytes | bytearray) -> None:
        if self.close_sent:
            raise LocalProtocolError("the WebSocket is closed")
        self._out.append(data)

    def _flush_pongs(self) -> None:
        # In front of what waits: whoever measures the way by a ping is not to measure our data.
        self._out[:0] = [self._control(PONG, payload) for payload in self._pongs]
        self._pongs.clear()

    def _receive_frame(self, frame: Frame) -> None:
        payload = frame.payload
        if frame.opcode is Opcode.CLOSE:
            assert isinstance(payload, tuple)
            self._receive_close(int(payload[0]), payload[1] or "")
        elif frame.opcode is Opcode.PING:
            assert isinstance(payload, (bytes, bytearray))
            self._receive_ping(bytes(payload))
        elif frame.opcode is Opcode.PONG:
            assert isinstance(payload, (bytes, bytearray))
            self._events.append(Pong(bytes(payload)))
        else:
            assert isinstance(payload, (bytes, bytearray, str))
            self._receive_part(payload, frame.message_finished)

    def _receive_close(self, code: int, reason: str) -> None:
        self.close_received = True
        self._events.append(CloseReceived(code, reason))
        # 1005 stands for "no code" and may not be sent; wsproto then leaves the code out.
        self.close(code if code != CloseCode.NO_STATUS else CloseCode.NORMAL)

    def _check_size(self, announced: int) -> None:
        """Refuses a message that is too large, no later than its next frame announces it."""
        if self._size + announced > self._max_message:
            raise RemoteProtocolError(
                f"a message of more than {self._max_message} bytes",
                close_code=CloseCode.TOO_BIG,
                limit="max_message",
            )

    def _receive_part(self, part: bytes | bytearray | str, finished: bool) -> None:
        if part:
            self._size += len(part.encode()) if isinstance(part, str) else len(part)
            self._check_size(0)
            self._parts.append(part)
        elif not self._parts and not finished:
            # Remembers the kind of a message whose first fragment is empty.
            self._parts.append(part if isinstance(part, str) else b"")
        if not finished:
            return
        parts, self._parts, self._size = self._parts or [part], [], 0
        if isinstance(parts[0], str):
            self._events.append(TextMessage("".join(parts)))  # type: ignore[arg-type]  # one kind
        else:
            self._events.append(BinaryMessage(b"".join(parts)))  # type: ignore[arg-type]
