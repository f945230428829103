"""What RFC 6455 says of frames, as a table: what is sent to an echo, and what has to come back.

The numbers are those of the sections of the Autobahn test suite that ask for the same. Each case
holds at both roles, whatever pieces its bytes come in.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass, field

from restsock.protocol import (
    BinaryMessage,
    Pong,
    TextMessage,
    WebSocketEvent,
)

__all__ = ["CASES", "Case", "Frame", "close_frame"]

TEXT, BINARY, PING, PONG, CLOSE, MORE = 0x1, 0x2, 0x9, 0xA, 0x8, 0x0
FIN = 0x80


@dataclass(frozen=True)
class Frame:
    """One frame, right or wrong.

    Attributes:
        first: its first byte.
        payload: unmasked.
        wide: bytes in which the length is written, if more than it takes.
        length: what it says of its length, if not the truth.
        masked: whether it is masked the other way than its role has to.
    """

    first: int
    payload: bytes = b""
    wide: int = 0
    length: int | None = None
    wrongly_masked: bool = False

    def bytes(self, *, masked: bool) -> bytes:
        masked = masked != self.wrongly_masked
        size = len(self.payload) if self.length is None else self.length
        bit = 0x80 if masked else 0
        if size < 126 and not self.wide:
            head = bytes([self.first, bit | size])
        elif size < 65536 and self.wide < 8:
            head = struct.pack("!BBH", self.first, bit | 126, size)
        else:
            head = struct.pack("!BBQ", self.first, bit | 127, size)
        if not masked:
            return head + self.payload
        key = b"\x37\xfa\x21\x3d"
        return head + key + bytes(b ^ key[at % 4] for at, b in enumerate(self.payload))


@dataclass(frozen=True)
class Case:
    """What is sent, and what comes back.

    Attributes:
        name: number and words.
        frames: that are sent; if the last is `END`, it is sent when all the events have come.
        events: that come back, the close at their end excluded.
        code: of the close that comes back.
        maybe: whether the events may be missing, since the close may have come before them.
    """

    name: str
    frames: list[Frame]
    events: list[WebSocketEvent] = field(default_factory=list)
    code: int = 1000
    maybe: bool = False

    def wires(self, *, masked: bool) -> tuple[bytes, bytes]:
        """The bytes that are sent, and those that are sent once the events have come."""
        waits = self.events and self.frames[-1] is END and self.code == 1000
        first = self.frames[:-1] if waits else self.frames
        last = self.frames[-1:] if waits else []
        return joined(first, masked=masked), joined(last, masked=masked)


def joined(frames: list[Frame], *, masked: bool) -> bytes:
    return b"".join(frame.bytes(masked=masked) for frame in frames)


def close_frame(code: int | None = 1000, reason: bytes = b"") -> Frame:
    return Frame(FIN | CLOSE, b"" if code is None else code.to_bytes(2, "big") + reason)


END = close_frame()


def text(data: str | bytes, first: int = FIN | TEXT) -> Frame:
    return Frame(first, data.encode() if isinstance(data, str) else data)


def _echoes() -> list[Case]:
    """Sections 1 and 9: messages of all sizes."""
    cases = []
    for size in (0, 1, 125, 126, 127, 128, 65535, 65536, 70_000):
        payload = b"*" * size
        cases += [
            Case(
                f"1.1 text of {size}",
                [text(payload), END],
                [TextMessage(payload.decode())],
            ),
            Case(
                f"1.2 binary of {size}",
                [Frame(FIN | BINARY, bytes([0xFE]) * size), END],
                [BinaryMessage(bytes([0xFE]) * size)],
            ),
        ]
    for size in (1, 64, 997, 4096):
        data = b"0123456789abcdef" * 256
        parts = [data[at : at + size] for at in range(0, len(data), size)]
        frames = [
            Frame((BINARY if n == 0 else MORE) | (FIN if n == len(parts) - 1 else 0), part)
            for n, part in enumerate(parts)
        ]
        cases.append(Case(f"9.4 fragments of {size}", [*frames, END], [BinaryMessage(data)]))
    return cases


def _control() -> list[Case]:
    """Sections 2, 5.3 and 7.1: pings, pongs, and what may stand between fragments."""
    full = bytes(range(125))
    return [
        Case("2.1 ping without payload", [Frame(FIN | PING), END], [Pong(b"")]),
        Case(
            "2.3 ping of binary", [Frame(FIN | PING, b"\x00\xff\xfe"), END], [Pong(b"\x00\xff\xfe")]
        ),
        Case("2.4 ping of 125", [Frame(FIN | PING, full), END], [Pong(full)]),
        Case("2.5 ping of 126", [Frame(FIN | PING, bytes(126)), END], code=1002),
        Case("2.7 pong without a ping", [Frame(FIN | PONG), END]),
        Case(
            "2.9 pong, then ping",
            [Frame(FIN | PONG, b"x"), Frame(FIN | PING, b"y"), END],
            [Pong(b"y")],
        ),
        Case(
            "2.10 ten pings",
            [*(Frame(FIN | PING, bytes([n])) for n in range(10)), END],
            [Pong(bytes([n])) for n in range(10)],
        ),
        Case("5.1 fragmented ping", [Frame(PING, b"x"), Frame(FIN | MORE, b"y"), END], code=1002),
        Case("5.2 fragmented pong", [Frame(PONG, b"x"), Frame(FIN | MORE, b"y"), END], code=1002),
        Case("7.x fragmented close", [Frame(CLOSE, b"\x03\xe8"), END], code=1002),
        Case("5.3 text in two", [text("a", TEXT), text("b", FIN | MORE), END], [TextMessage("ab")]),
        Case(
            "5.6 a ping in between",
            [text("a", TEXT), Frame(FIN | PING, b"p"), text("b", FIN | MORE), END],
            [Pong(b"p"), TextMessage("ab")],
        ),
        Case(
            "5.19 pings and pongs in between",
            [
                text("f1", TEXT),
                text("f2", MORE),
                Frame(FIN | PING, b"1"),
                text("f3", MORE),
                Frame(FIN | PONG, b"?"),
                text("f4", MORE),
                Frame(FIN | PING, b"2"),
                text("f5", FIN | MORE),
                END,
            ],
            [Pong(b"1"), Pong(b"2"), TextMessage("f1f2f3f4f5")],
        ),
        Case("5.9 continuation of nothing", [text("x", FIN | MORE), END], code=1002),
        Case("5.10 likewise, and more to come", [text("x", MORE), END], code=1002),
        Case(
            "5.11 after a whole message",
            [text("x"), text("y", FIN | MORE), END],
            [TextMessage("x")],
            code=1002,
        ),
        Case("5.18 a new message in a message", [text("x", TEXT), text("y"), END], code=1002),
        Case(
            "5.18 likewise of the other kind",
            [text("x", TEXT), Frame(FIN | BINARY), END],
            code=1002,
        ),
        Case(
            "6.1 empty text in three",
            [text("", TEXT), text("", MORE), text("", FIN | MORE), END],
            [TextMessage("")],
        ),
        Case(
            "6.1.3 empty fragments around one",
            [text("", TEXT), text("middle", MORE), text("", FIN | MORE), END],
            [TextMessage("middle")],
        ),
    ]


def _reserved() -> list[Case]:
    """Sections 3 and 4: reserved bits and opcodes; masks and lengths."""
    cases = [
        Case(
            f"3 reserved bits {bits:03b}",
            [text("a"), text("b", FIN | TEXT | bits << 4), END],
            [TextMessage("a")],
            1002,
        )
        for bits in range(1, 8)
    ]
    cases += [
        Case(
            f"3 reserved bits {bits:03b} of a ping", [Frame(FIN | PING | bits << 4), END], code=1002
        )
        for bits in range(1, 8)
    ]
    cases += [
        Case(
            f"4 opcode {opcode}",
            [text("a"), Frame(FIN | opcode, b"x"), END],
            [TextMessage("a")],
            1002,
        )
        for opcode in (3, 4, 5, 6, 7, 11, 12, 13, 14, 15)
    ]
    cases += [
        Case(
            f"5.1 masked the wrong way: {first:x}",
            [Frame(first, b"x", wrongly_masked=True), END],
            code=1002,
        )
        for first in (FIN | TEXT, FIN | BINARY, TEXT, FIN | PING, FIN | PONG, FIN | CLOSE)
    ]
    for first in (FIN | TEXT, FIN | BINARY):
        cases += [
            Case(
                f"5.2 {first:x} of 5 in two bytes", [Frame(first, b"12345", wide=2), END], code=1002
            ),
            Case(
                f"5.2 {first:x} of 5 in eight bytes",
                [Frame(first, b"12345", wide=8), END],
                code=1002,
            ),
            Case(
                f"5.2 {first:x} of 126 in eight bytes",
                [Frame(first, bytes(126), wide=8), END],
                code=1002,
            ),
            Case(f"5.2 {first:x} of 2**63", [Frame(first, b"", length=1 << 63), END], code=1002),
            Case(f"10.4 {first:x} of 2**62", [Frame(first, b"", length=1 << 62), END], code=1009),
        ]
    return cases


def _utf8() -> list[Case]:
    """Section 6: what is text and what is not."""
    valid = [
        "Hello-\u00b5@\u00df\u00f6\u00e4\u00fc\u00e0\u00e1-UTF-8!!",
        "\u03ba\u1f79\u03c3\u03bc\u03b5",
        *("\0", "\x7f", "\x80", "\u07ff", "\u0800", "\uffff", "\U00010000", "\U0010ffff"),
        *("\ud7ff", "\ue000", "\ufdd0", "\ufffe", "\U0001f000\U0001d11e"),
    ]
    invalid = [
        b"\xce\xba\xe1\xbd\xb9\xcf\x83\xce\xbc\xce\xb5\xed\xa0\x80\x65\x64\x69\x74\x65\x64",
        *(b"\x80", b"\xbf", b"\x80\xbf\x80", b"\xc0", b"\xc0\xaf", b"\xc1\xbf", b"\xe0\x80\xaf"),
        *(
            b"\xf0\x80\x80\xaf",
            b"\xf8\x88\x80\x80\x80",
            b"\xfc\x84\x80\x80\x80\x80",
            b"\xfe",
            b"\xff",
        ),
        *(
            b"\xed\xa0\x80",
            b"\xed\xbf\xbf",
            b"\xed\xa0\x80\xed\xb0\x80",
            b"\xf4\x90\x80\x80",
            b"\xf5",
        ),
        *(b"\xc3", b"\xe2\x82", b"\xf0\x9f\x98", b"a\xc3b", b"\xe2\x28\xa1", b"\xf0\x28\x8c\xbc"),
    ]
    cases = []
    for number, one in enumerate(valid):
        data = one.encode()
        octets = [
            Frame((TEXT if n == 0 else MORE) | (FIN if n == len(data) - 1 else 0), data[n : n + 1])
            for n in range(len(data))
        ]
        cases.append(Case(f"6 text {number}", [text(data), END], [TextMessage(one)]))
        cases.append(Case(f"6 text {number} by octets", [*octets, END], [TextMessage(one)]))
    for number, bad in enumerate(invalid):
        cases.append(Case(f"6 no text {number}", [text(bad), END], code=1007))
        half = len(bad) // 2
        frames = [text(bad[:half], TEXT), text(bad[half:], FIN | MORE)]
        cases.append(Case(f"6 no text {number} in two", [*frames, END], code=1007))
        cases.append(
            Case(
                f"6 no text {number} as bytes",
                [Frame(FIN | BINARY, bad), END],
                [BinaryMessage(bad)],
            )
        )
    return cases


def _closes() -> list[Case]:
    """Section 7: codes and reasons, and what comes after a close."""
    cases = [
        Case("7.1.2 two closes", [END, END]),
        Case("7.1.3 a ping after the close", [END, Frame(FIN | PING, b"x")]),
        Case("7.1.4 a text after the close", [END, text("x")]),
        Case(
            "7.1.5 a close in the middle of a message",
            [text("x", TEXT), END, text("y", FIN | MORE)],
        ),
        Case(
            "7.1.6 much, then a close, then a ping",
            [text("x" * 70_000), END, Frame(FIN | PING)],
            [TextMessage("x" * 70_000)],
            maybe=True,
        ),
        Case("7.3.1 a close without payload", [close_frame(None)]),
        Case("7.3.2 a close of one byte", [Frame(FIN | CLOSE, b"\x03")], code=1002),
        Case("7.3.5 a reason of 123 bytes", [close_frame(1000, b"*" * 123)]),
        Case("7.3.6 a reason of 124 bytes", [close_frame(1000, b"*" * 124)], code=1002),
        Case("7.5.1 a reason that is no text", [close_frame(1000, b"\xce\xba\xe1")], code=1007),
    ]
    right = (1000, 1001, 1002, 1003, 1007, 1008, 1009, 1010, 1011, 1014, 3000, 3999, 4000, 4999)
    wrong = (0, 999, 1004, 1005, 1006, 1015, 1016, 1100, 2000, 2999, 5000, 65535)
    cases += [Case(f"7.7 code {code}", [close_frame(code, b"why")], code=code) for code in right]
    cases += [Case(f"7.9 code {code}", [close_frame(code)], code=1002) for code in wrong]
    return cases


CASES = [*_echoes(), *_control(), *_reserved(), *_utf8(), *_closes()]
