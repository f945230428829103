"""What clients send to a WebSocket of ours, compressed or not, against a plain reader.

An input is a byte of flags, then either frames as they are described, or places to cut at and the
bytes. The plain reader takes whole frames by the letter of RFC 6455 and RFC 7692, and is in no
hurry. Any division of the bytes, and any bound on the frames that are read at once, give the same.
"""

from __future__ import annotations

import codecs
import zlib
from typing import Any

from restsock._exceptions import RemoteProtocolError
from restsock.protocol import (
    CLOSE_CODES,
    BinaryMessage,
    CloseReceived,
    Deflate,
    DeflateTerms,
    MessageDeflate,
    Ping,
    Pong,
    TextMessage,
    WebSocket,
    WebSocketEvent,
)
from tests.fuzz.choices import Choices

MAX_LEN = 1024
DICTIONARY = (
    *(b"\x81\x81\0\0\0\0a", b"\x01\x80\0\0\0\0", b"\x80\x81\0\0\0\0b", b"\x82\xfe\x00\x7e\0\0\0\0"),
    *(b"\x89\x80\0\0\0\0", b"\x8a\x81\0\0\0\0x", b"\x88\x82\0\0\0\0\x03\xe8", b"\x88\x80\0\0\0\0"),
    b"\xc1\x87\0\0\0\0\xf2\x48\xcd\xc9\xc9\x07\x00",
    b"\xc1\x88\0\0\0\0\xf3\x48\xcd\xc9\xc9\x07\x00\x00",
    *(b"\x00\x00\xff\xff", b"\xc3\xa4", b"\xed\xa0\x80", b"\xff" * 8),
)

DEFLATE = 1
FORGETS = 2
OCTETS = 4  # each on its own
DESCRIBED = 8

MAX_MESSAGE = 2000
_TAIL = b"\x00\x00\xff\xff"
_BITS = 12
_FIRST = (0x81, 0x82, 0xC1, 0xC2, 0x01, 0x41, 0x02, 0x42, 0x00, 0x80, 0x89, 0x8A, 0x88, 0xC0, 0xA1)
_CONTENT = (b"", b"a", b"\xc3\xa4", b"\xff", b"\x03\xe8", b"abc" * 30, b"x" * 1999, bytes(2001))


def test_one(data: bytes) -> None:
    choices = Choices(data)
    flags = choices.byte()
    pieces = _described(choices) if flags & DESCRIBED else choices.pieces()
    wire = b"".join(pieces)
    if flags & OCTETS and len(wire) < 4000:
        pieces = [wire[at : at + 1] for at in range(len(wire))]
    whole = _told([wire], flags)
    assert _told(pieces, flags) == whole
    assert _told(pieces, flags, max_frames=2) == whole
    events, code, answer = whole
    expected, wrong, complete = _read_plainly(wire, flags)
    assert events[: len(expected)] == expected
    assert len(events) == len(expected)
    assert code in (None, 1002, 1007, 1009)
    # What is not whole may be known to be wrong already.
    assert (code is not None) is wrong or not complete
    for event in events:
        if isinstance(event, (TextMessage, BinaryMessage)):
            size = len(event.data.encode() if isinstance(event.data, str) else event.data)
            assert size <= MAX_MESSAGE
    _check_answer(answer, events)


def _described(choices: Choices) -> list[bytes]:
    """Frames, each one a piece, or cut in two where its description says so."""
    pieces: list[bytes] = []
    while choices and len(pieces) < 16:
        first = choices.pick(_FIRST)
        form = choices.byte()
        payload = choices.pick(_CONTENT)
        if form & 1:
            compressor = zlib.compressobj(9, zlib.DEFLATED, -_BITS)
            last = zlib.Z_FINISH if form & 2 else zlib.Z_SYNC_FLUSH
            payload = compressor.compress(payload) + compressor.flush(last)
            if not form & 2:
                payload = payload[:-4]
        if form & 4:
            payload = payload[: choices.byte()]
        size = len(payload)
        head = bytes([first, 0x80 | size]) if size < 126 else b""
        if not head:
            head = bytes([first, 0xFE]) + size.to_bytes(2, "big")
        frame = head + b"\0\0\0\0" + payload
        cut = choices.number(2) % (len(frame) + 1) if form & 0x80 else len(frame)
        pieces += [piece for piece in (frame[:cut], frame[cut:]) if piece]
    return pieces


def _told(
    pieces: list[bytes], flags: int, *, max_frames: int = 0
) -> tuple[list[WebSocketEvent], int | None, bytes]:
    """The events, the close code of the error if there is one, and what goes out by itself."""
    deflate = None
    if flags & DEFLATE:
        forgets = bool(flags & FORGETS)
        terms = DeflateTerms(
            server_bits=_BITS, client_bits=_BITS, server_forgets=forgets, client_forgets=forgets
        )
        deflate = MessageDeflate(terms, Deflate(), client=False, max_message=MAX_MESSAGE)
    websocket = WebSocket(
        client=False, max_message=MAX_MESSAGE, deflate=deflate, max_frames=max_frames
    )
    code: int | None = None
    events: list[WebSocketEvent] = []
    for piece in pieces:
        try:
            websocket.receive_data(piece)
            while websocket.more:
                websocket.receive_data(b"")
        except RemoteProtocolError as exc:
            code = exc.close_code
            websocket.close(code, str(exc))
            break
    while (event := websocket.next_event()) is not None:
        events.append(event)
    return events, code, websocket.data_to_send()


def _check_answer(answer: bytes, events: list[WebSocketEvent]) -> None:
    """A client reads it: a pong for each ping, and at most one close, with a code that may be."""
    reader = WebSocket(client=True, max_message=0)
    reader.receive_data(answer)
    found: list[WebSocketEvent] = []
    while (event := reader.next_event()) is not None:
        found.append(event)
    pings = [event.payload for event in events if isinstance(event, Ping)]
    assert [event.payload for event in found if isinstance(event, Pong)] == pings[-128:]
    others = [event for event in found if not isinstance(event, Pong)]
    assert len(others) <= 1
    for other in others:
        assert isinstance(other, CloseReceived)
        assert other.code in CLOSE_CODES


class _Wrong(Exception):
    """The frame breaks the protocol."""


class _Reader:
    """The plain reader: whole frames, one after the other."""

    def __init__(self, flags: int) -> None:
        self._deflate = bool(flags & DEFLATE)
        self._forgets = bool(flags & FORGETS)
        self._inflater: Any = None
        self._message: bytes | None = None
        self._text = self._compressed = False
        self._decoder = codecs.getincrementaldecoder("utf-8")()
        self.closed = False
        self.events: list[WebSocketEvent] = []

    def take(self, first: int, payload: bytes) -> None:
        opcode, fin, bits = first & 15, bool(first & 0x80), first & 0x70
        if opcode not in (0, 1, 2, 8, 9, 10):
            raise _Wrong
        if bits and not (bits == 0x40 and self._deflate and opcode in (1, 2)):
            raise _Wrong
        if opcode >= 8:
            if not fin or len(payload) > 125:
                raise _Wrong
            self._control(opcode, payload)
            return
        if (opcode == 0) is (self._message is None):
            raise _Wrong
        if opcode:
            self._message, self._text, self._compressed = b"", opcode == 1, bits != 0
            self._decoder = codecs.getincrementaldecoder("utf-8")()
        assert self._message is not None
        part = self._inflate(payload, fin=fin) if self._compressed else payload
        self._message += part
        if len(self._message) > MAX_MESSAGE:
            raise _Wrong
        if self._text:  # what is wrong with the first part is seen in that
            try:
                self._decoder.decode(part, fin)
            except UnicodeDecodeError:
                raise _Wrong from None
        if fin:
            message, self._message = self._message, None
            self.events.append(
                TextMessage(message.decode()) if self._text else BinaryMessage(message)
            )

    def _inflate(self, data: bytes, *, fin: bool) -> bytes:
        out = b""
        try:
            while data:
                if self._inflater is None:
                    self._inflater = zlib.decompressobj(-_BITS)
                out += self._inflater.decompress(data)
                data = b""
                if self._inflater.eof:
                    data, self._inflater = self._inflater.unused_data, None
            if fin and self._inflater is not None:
                out += self._inflater.decompress(_TAIL)
        except zlib.error:
            raise _Wrong from None
        if fin and (self._forgets or (self._inflater is not None and self._inflater.eof)):
            self._inflater = None
        return out

    def _control(self, opcode: int, payload: bytes) -> None:
        if opcode != 8:
            self.events.append(Ping(payload) if opcode == 9 else Pong(payload))
            return
        code, reason = 1005, ""
        if payload:
            code = int.from_bytes(payload[:2], "big")
            if len(payload) == 1 or code not in CLOSE_CODES:
                raise _Wrong
            try:
                reason = payload[2:].decode()
            except UnicodeDecodeError:
                raise _Wrong from None
        self.events.append(CloseReceived(code, reason))
        self.closed = True


def _read_plainly(wire: bytes, flags: int) -> tuple[list[WebSocketEvent], bool, bool]:
    """The events of the frames that are whole, whether one is wrong, and whether that is all."""
    reader = _Reader(flags)
    at = 0
    try:
        while at < len(wire) and not reader.closed:
            head = wire[at : at + 2]
            size = (head[1] & 0x7F) if len(head) == 2 else 0
            wide = {126: 2, 127: 8}.get(size, 0)
            start = at + 2 + wide + 4
            if len(head) < 2 or len(wire) < start:
                return reader.events, False, False
            if wide:
                size = int.from_bytes(wire[at + 2 : at + 2 + wide], "big")
                if size < (126 if wide == 2 else 65536) or size >> 63:
                    raise _Wrong
            if not head[1] & 0x80:
                raise _Wrong
            if len(wire) < start + size:
                return reader.events, False, False
            key = wire[start - 4 : start]
            payload = bytes(b ^ key[n % 4] for n, b in enumerate(wire[start : start + size]))
            reader.take(head[0], payload)
            at = start + size
    except _Wrong:
        return reader.events, True, True
    return reader.events, False, reader.closed or reader._message is None
