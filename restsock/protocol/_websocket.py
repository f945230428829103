"""WebSocket: bytes to messages and back, without I/O (RFC 6455, sections 5 to 7).

wsproto reads and writes the frames, but for the plain ones (`_websocket_fast`), which take a short
cut that changes nothing but the time it takes. What stands around them: whole messages with a limit
on their size that holds while the bytes arrive; an error of the peer's framing that cannot be
mistaken for a close; a close that is echoed, and after which nothing is read; and pongs that leave
ahead of all that waits, of which no flood of pings makes many.

Order of calls: `receive_data()` then `next_event()` until it gives None; any `send_*()` or
`close()`; and after either, `data_to_send()`.
"""

from __future__ import annotations

from collections.abc import Callable

from wsproto.extensions import Extension
from wsproto.frame_protocol import Frame, FrameProtocol, Opcode, ParseFailed

from restsock._exceptions import LocalProtocolError, RemoteProtocolError

from ._deflate import MessageDeflate
from ._events import (
    BinaryMessage,
    CloseCode,
    CloseReceived,
    MessagePart,
    Ping,
    Pong,
    TextMessage,
    WebSocketEvent,
)
from ._fragments import Fragments, LongMessage, check_size
from ._masking import apply_mask
from ._websocket_fast import (
    BINARY,
    COMPRESSED,
    PING,
    PONG,
    TEXT,
    FrameHeader,
    encode_control,
    encode_header,
    parse_header,
)

__all__ = ["FRAMES_AT_ONCE", "WebSocket"]

# A close code that is registered (RFC 6455, section 11.7), and that wsproto does not know.
_BAD_GATEWAY = CloseCode.BAD_GATEWAY.to_bytes(2, "big")

# For readers that share a loop: a peer can send many tiny frames at once, and the others are to
# have their turn. See `WebSocket.more`.
FRAMES_AT_ONCE = 256

# The bits of the first byte that tell the kind of a frame.
_OPCODE = 0x0F

# Pongs that wait while the socket takes nothing; of more, the oldest are left out (RFC 6455,
# section 5.5.3, allows it). An honest peer has a ping or two under way.
_MAX_PONGS = 128

# Messages from this size on, in bytes, are split where that is asked for.
_LONG = 4096


class WebSocket:
    """One end of a WebSocket after its upgrade.

    Args:
        client: whether this end dialed: it masks what it sends.
        max_message: the size of the largest message to accept, in bytes, however it is fragmented.
        mask_key: gives four random bytes, for a client; wsproto draws them when it is left out.
        deflate: compresses and inflates messages, if that was agreed on; with a `mask_key`.
        max_frames: that are read in one call of `receive_data`; 0 reads all there are.
        split: after how many bytes a long message is told in two parts, so that the second need not
            be copied to get rid of the first; a multiple of 4. 0 splits none.
        in_parts: whether messages are told as their bytes come, in `MessagePart`: whatever their
            size, and text with bytes that are no UTF-8, too. No message waits to be whole then.

    Attributes:
        close_sent: whether this end has sent (or queued) its close frame; nothing may follow it.
        close_received: whether the peer has.
        events: what was received, in order; the reader takes them out.
        more: whether frames are left that `receive_data(b"")` would read.
        out: bytes that are due, after the pongs.
        pongs: payloads of those that are due.
        paused: never: its peer keeps to the windows of the streams.
        answers_close: always: see `MessageLayer`.
    """

    paused = False
    answers_close = True

    __slots__ = (
        "_broken",
        "_buffer",
        "_client",
        "_deflate",
        "_fragmented",
        "_fragments",
        "_in_parts",
        "_left",
        "_long",
        "_mask_key",
        "_max_frames",
        "_max_message",
        "_split",
        "_wsproto",
        "close_received",
        "close_sent",
        "events",
        "more",
        "out",
        "pongs",
    )

    def __init__(
        self,
        *,
        client: bool,
        max_message: int,
        mask_key: Callable[[], bytes] | None = None,
        deflate: MessageDeflate | None = None,
        max_frames: int = 0,
        split: int = 0,
        in_parts: bool = False,
    ) -> None:
        self.close_sent = False
        self.close_received = False
        self._client = client
        self._mask_key = mask_key
        self._deflate = deflate
        self._max_frames = max_frames
        self.more = False
        self._split = split
        self._in_parts = in_parts
        self._buffer = bytearray()
        self._long: LongMessage | None = None  # then the buffer is empty
        self._left = 0  # bytes of a frame that wsproto is in the middle of
        self._fragmented = False  # whether a message is in the middle of its frames
        self._wsproto: FrameProtocol | None = None
        self._max_message = max_message
        self._broken = False
        self._fragments: Fragments | None = None  # in the middle of a message
        self.events: list[WebSocketEvent] = []
        self.out: list[bytes | bytearray | memoryview] = []
        self.pongs: list[bytes] = []

    def receive_data(self, data: bytes) -> None:
        """Takes in bytes from the peer: plain frames here, others by wsproto.

        After the peer's close frame, or an error, they are dropped.

        Raises:
            RemoteProtocolError: the peer broke the protocol or sent too much; answer with
                `close(error.close_code, ...)`. What was complete before can still be read.
        """
        self.more = False
        if self._broken or self.close_received:
            return
        masked = not self._client
        at = 0
        if self._long is not None:
            at = self._long.add(data)
            if self._long.lacking:
                return
            self._end_long(self._long)
        buffer: bytes | bytearray = data
        if self._buffer:  # else what has come is not copied to get there
            self._buffer += data
            buffer = self._buffer
        frames = 0
        try:
            while not self.close_received:
                if frames and frames == self._max_frames:
                    self.more = True
                    break
                frames += 1
                if self._left:
                    piece = bytes(buffer[at : at + self._left])
                    at += len(piece)
                    self._left -= len(piece)
                    self._feed(piece)
                    if self._left or self.close_received:
                        break
                header = parse_header(buffer, at, masked=masked) if at < len(buffer) else None
                if header is None:
                    break
                end = header.start + header.length
                whole = end <= len(buffer)
                # wsproto tells of text that is none, and of parts, before all of it has come.
                early = buffer[at] == TEXT or (self._in_parts and not header.control)
                plain = header.plain and (whole or not early)
                if plain and (
                    header.control or (not self._fragmented and header.length <= self._max_message)
                ):
                    if not whole:
                        if self._begin_long(buffer, header):
                            at = len(buffer)
                        break
                    self._take_fast(buffer, at, header)
                    at = end
                else:
                    self._left = end - at
                    if not header.control:
                        self._fragmented = not header.fin
                        self._feed(self._head_of(buffer, at, header))
                        self._left -= header.start - at
                        at = header.start
                        # wsproto has found the header in order; what it announces may be too much.
                        self._check_announced(header.length)
        except ParseFailed as exc:
            self._broken = True
            code = CloseCode.INVALID_TEXT if exc.code == 1007 else CloseCode.WEBSOCKET_ERROR
            words = "a text that is not UTF-8" if code == CloseCode.INVALID_TEXT else str(exc)
            raise RemoteProtocolError(f"not a WebSocket: {words}", close_code=code) from exc
        except RemoteProtocolError:
            self._broken = True
            raise
        finally:
            if buffer is self._buffer:
                del self._buffer[:at]
            elif at < len(data):
                self._buffer += memoryview(data)[at:]

    def next_event(self) -> WebSocketEvent | None:
        """The next thing that was received; `None` when there is nothing more."""
        return self.events.pop(0) if self.events else None

    def send_text(self, data: str) -> None:
        """Queues a text message.

        Raises:
            LocalProtocolError: the close frame has been sent.
            UnicodeEncodeError: it has a lone surrogate.
        """
        self.send_binary(data.encode("utf-8"), first=TEXT)

    def send_binary(self, *parts: bytes | memoryview, first: int = BINARY) -> int:
        """Queues a binary message; returns its size. `data_to_send()` joins, and copies, its parts.

        Args:
            parts: of the message.
            first: `TEXT` for a text message, of UTF-8.

        Raises:
            LocalProtocolError: the close frame has been sent.
        """
        if self.close_sent:
            raise LocalProtocolError("the WebSocket is closed")
        if self._deflate is not None:
            smaller = self._deflate.compress(b"".join(parts))
            if smaller is not None:
                first, parts = first | COMPRESSED, (smaller,)
        if not self._client:
            size = sum(map(len, parts))
            self.out += (encode_header(first, size, None), *parts)
            return size
        data = b"".join(parts)
        if self._mask_key is None:
            self.out.append(self._protocol.send_data(data.decode() if first == TEXT else data))
        else:
            key = self._mask_key()
            self.out += (encode_header(first, len(data), key), apply_mask(data, key))
        return len(data)

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
            self.out.append(self._protocol.close(code, reason))
            self.close_sent = True

    def data_to_send(self) -> bytes:
        """Takes the bytes that are due; empty when there are none."""
        if self.pongs:
            self._flush_pongs()
        data = b"".join(self.out)
        self.out.clear()
        return data

    def _send(self, *parts: bytes | bytearray | memoryview) -> None:
        if self.close_sent:
            raise LocalProtocolError("the WebSocket is closed")
        self.out += parts

    def _take_fast(self, buffer: bytes | bytearray, at: int, header: FrameHeader) -> None:
        first, start, end = buffer[at], header.start, header.start + header.length
        split = self._split if first == BINARY and header.length >= _LONG else 0
        middle = start + split
        with memoryview(buffer) as view:
            if self._client:
                payload = bytes(view[middle:end])
                head = bytes(view[start:middle]) if split else b""
            else:
                key = bytes(view[start - 4 : start])
                payload = apply_mask(view[middle:end], key)
                head = apply_mask(view[start:middle], key) if split else b""
        if self._in_parts and not header.control:
            self.events.append(MessagePart(payload, True))
        elif first == BINARY:
            self.events.append(BinaryMessage(head, payload) if split else BinaryMessage(payload))
        elif first == TEXT:
            self.events.append(TextMessage(_text(payload)))
        elif first == PING:
            self._receive_ping(payload)
        elif first == PONG:
            self.events.append(Pong(payload))
        elif payload[:2] == _BAD_GATEWAY:
            self._receive_close(CloseCode.BAD_GATEWAY, _text(payload[2:]))
        else:
            self._feed(bytes(buffer[at:end]))

    def _head_of(self, buffer: bytes | bytearray, at: int, header: FrameHeader) -> bytes:
        """The header of a frame as wsproto is to see it: it looks for UTF-8 in text alone."""
        head = bytes(buffer[at : header.start])
        if self._in_parts and head[0] & _OPCODE == TEXT & _OPCODE:
            return bytes((head[0] ^ TEXT ^ BINARY,)) + head[1:]
        return head

    def _begin_long(self, buffer: bytes | bytearray, header: FrameHeader) -> bool:
        """Takes the beginning of a message that is to be split, if it is one and has come."""
        start, middle = header.start, header.start + self._split
        if not self._split or header.length < _LONG or middle > len(buffer):
            return False
        with memoryview(buffer) as view:
            self._long = LongMessage(
                bytes(view[start:middle]),
                bytes(view[middle:]),  # a view would keep all that came with it
                start + header.length - len(buffer),
                b"" if self._client else bytes(view[start - 4 : start]),
            )
        return True

    def _end_long(self, message: LongMessage) -> None:
        self._long = None
        head, rest = message.head, b"".join(message.parts)
        if message.key:
            head, rest = apply_mask(head, message.key), apply_mask(rest, message.key)
        self.events.append(BinaryMessage(head, rest))

    def _receive_ping(self, payload: bytes) -> None:
        if not self.close_sent:
            self.pongs.append(payload)
            del self.pongs[:-_MAX_PONGS]
        self.events.append(Ping(payload))

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
            extensions: list[Extension] = [] if self._deflate is None else [self._deflate]
            return FrameProtocol(client=self._client, extensions=extensions)
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

    def _flush_pongs(self) -> None:
        # Before what waits: a peer measures the round trip by a ping, not the time our data takes.
        self.out[:0] = [self._control(PONG, payload) for payload in self.pongs]
        self.pongs.clear()

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
            self.events.append(Pong(bytes(payload)))
        else:
            assert isinstance(payload, (bytes, bytearray, str))
            self._receive_part(payload, frame.message_finished)

    def _receive_close(self, code: int, reason: str) -> None:
        self.close_received = True
        self.events.append(CloseReceived(code, reason))
        # 1005 stands for "no code" and may not be sent; wsproto then leaves the code out.
        self.close(code if code != CloseCode.NO_STATUS else CloseCode.NORMAL)

    def _check_announced(self, length: int) -> None:
        """Refuses a frame with which its message is too large, before it has come."""
        if self._deflate is not None and self._deflate.receiving:
            # What cannot be compressed gets longer, by no more than that.
            length -= length // 256 + 64
        before = 0 if self._fragments is None else self._fragments.size
        check_size(before + max(0, length), self._max_message)

    def _receive_part(self, part: bytes | bytearray | str, finished: bool) -> None:
        if self._in_parts:
            assert not isinstance(part, str)
            if part or finished:
                self.events.append(MessagePart(bytes(part), finished))
            return
        if self._fragments is None:
            self._fragments = Fragments(self._max_message)
        self._fragments.add(part)
        if finished:
            self.events.append(self._fragments.message())
            self._fragments = None


def _text(payload: bytes) -> str:
    try:
        return payload.decode("utf-8")
    except UnicodeDecodeError:
        # Not in its words, which quote what has come.
        raise RemoteProtocolError(
            "not a WebSocket: a text that is not UTF-8", close_code=CloseCode.INVALID_TEXT
        ) from None
