"""Whole multiplexers: one with a hostile peer and a careless app, or two under a schedule.

An input is a byte of flags and a row of decisions (see `choices`).

- One multiplexer: the peer sends anything at all, or frames that are nearly right; the app opens,
  answers, sends, consumes and resets without looking what is due. `Oracle` holds what comes out of
  it, both ways, to the spec.
- PAIR: the multiplexers and honest apps of tests/protocol/test_multiplexer_pairs.py, whose chances
  are the input: nothing is lost, repeated or reordered, and no stream stays open.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

from restsock._exceptions import LocalProtocolError, RemoteProtocolError
from restsock._options import Limits
from restsock.protocol import (
    HelloReceived,
    Multiplexer,
    RequestHead,
    ResponseHead,
)
from restsock.protocol._frames import encode_frame, encode_goaway, encode_reset, encode_window
from tests.fuzz.choices import Choices, Fed
from tests.fuzz.oracle import Oracle
from tests.protocol.test_multiplexer_pairs import End, Pair
from tests.protocol.vectors import make_multiplexer, open_multiplexer

MAX_LEN = 2048
DICTIONARY = (
    *(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n", b"HTTP/1.1 200 OK\r\n\r\n", b"\r\n", b"X-T: 1\r\n\r\n"),
    *(b"Content-Length: 5\r\n", b"Connection: upgrade\r\nUpgrade: x\r\n", b"HTTP/1.1 101 \r\n"),
)

DIALER = 1
FRESH = 2  # the handshake is still to come
PAIR = 4

# The first decision of a step.
RAW_FRAME, RAW_TEXT, FRAME, OPEN, HEAD, DATA, END, RESET, CONSUME, GOAWAY, TAKE, FLOOD = range(12)

LIMITS = Limits(
    max_frame=1024,
    max_head=1024,
    max_streams=4,
    initial_window=16384,
    max_window=65536,
    receive_budget=40_000,
)

_HOST = (b"Host", b"a")
_WISH = [(b"Connection", b"upgrade"), (b"Upgrade", b"x")]
_SIZES = (0, 1, 5, 100, 1000, 1024, 1025, 16_384, 16_385)
_CREDITS = (1, 1000, 16_384, 2**31 - 1, 2**31 - 16_385, 0, 2**31)
_EXTREMES = (2**31 - 1, 2**31, 2**32 - 2, 2**32 - 1)

HEADS = (
    b"GET / HTTP/1.1\r\nHost: a\r\n\r\n",
    b"POST /p HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\n",
    b"HEAD / HTTP/1.1\r\nHost: a\r\n\r\n",
    b"GET /u HTTP/1.1\r\nHost: a\r\nConnection: upgrade\r\nUpgrade: x\r\n\r\n",
    b"HTTP/1.1 200 OK\r\n\r\n",
    b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n",
    b"HTTP/1.1 204 \r\n\r\n",
    b"HTTP/1.1 103 \r\nLink: x\r\n\r\n",
    b"HTTP/1.1 101 \r\nConnection: upgrade\r\nUpgrade: x\r\n\r\n",
    b"X-T: 1\r\n\r\n",
    b"\r\n",
    b"GET / HTTP/1.1\r\nHost: a\r\nX: %s\r\n\r\n" % (b"a" * 1000),
    b"HTTP/1.1 500 \r\nX: %s\r\n\r\n" % (b"a" * 1000),
    b"GET / HTTP/1.1\r\n\r\n",
)
_REQUESTS = (
    RequestHead(b"GET", b"/", [_HOST]),
    RequestHead(b"POST", b"/", [_HOST, (b"Content-Length", b"5")]),
    RequestHead(b"HEAD", b"/", [_HOST]),
    RequestHead(b"GET", b"/", [_HOST, *_WISH]),
    RequestHead(b"GET", b"/", [_HOST, (b"X", b"a" * 2000)]),
    RequestHead(b"GET", b"/", [(b"X", b"a\r\nb: c")]),
)
_RESPONSES = (
    ResponseHead(200, [], b"OK"),
    ResponseHead(200, [(b"Content-Length", b"5")]),
    ResponseHead(304, [(b"Content-Length", b"5")]),
    ResponseHead(103, []),
    ResponseHead(101, _WISH),
    ResponseHead(404, [(b"X", b"a" * 2000)]),
)


def test_one(data: bytes) -> None:
    choices = Choices(data)
    flags = choices.byte()
    if flags & PAIR:
        _run_pair(choices)
    else:
        _One(choices, dialer=bool(flags & DIALER), fresh=bool(flags & FRESH)).run()


# --- one multiplexer --------------------------------------------------------------------------


class _One:
    """One multiplexer between a hostile peer and a careless app."""

    def __init__(self, choices: Choices, *, dialer: bool, fresh: bool) -> None:
        self.choices = choices
        self.now = 0.0
        role = "dialer" if dialer else "listener"
        remote = {
            "max_frame": choices.pick((1024, 16384, 65536)),
            "initial_window": choices.pick((16384, 65536)),
            "max_streams": choices.pick((4, 1, 0)),
        }
        self.multiplexer = (
            make_multiplexer(role, LIMITS) if fresh else open_multiplexer(role, LIMITS, remote)
        )
        if fresh and dialer:
            self.multiplexer.send_hello("a", None)
            assert self.multiplexer.next_message() is not None
        self.oracle = Oracle(self.multiplexer, dialer=dialer, limits=LIMITS)
        self.multiplexer.round_trip = choices.pick((None, 0.1, 100.0))
        self.acts: dict[int, Callable[[], object]] = {
            OPEN: self.open,
            HEAD: self.answer,
            DATA: lambda: self.multiplexer.send_data(self.stream(), self.bytes()),
            END: self.end,
            RESET: self.reset,
            CONSUME: self.consume,
            GOAWAY: lambda: self.multiplexer.send_goaway(choices.byte()),
            TAKE: self.oracle.take,
        }

    def run(self) -> None:
        while self.choices:
            what = self.choices.byte() % 12
            act = self.acts.get(what)
            if act is None:
                if not all(self.receive(message) for message in self.messages(what)):
                    break
                continue
            self.oracle.acted()
            try:
                act()
            except LocalProtocolError:
                pass
            self.oracle.collect()
        self.oracle.finish()

    # --- the peer ---

    def messages(self, what: int) -> Iterator[str | bytes]:
        times, step = 1, 0
        if what == FLOOD:
            times, step = self.choices.pick((2, 30, 2100)), self.choices.pick((0, 2))
        message = self.message(what)
        for _ in range(times):
            yield message
            if step and isinstance(message, bytes):
                message = _on_a_later_stream(message, step)

    def message(self, what: int) -> str | bytes:
        if what == RAW_FRAME:
            return self.choices.blob()
        if what == RAW_TEXT:
            return self.choices.blob().decode("utf-8", "replace")
        return self.frame()

    def receive(self, message: str | bytes) -> bool:
        """Hands a message over; returns whether the connection goes on."""
        self.oracle.coming(message)
        try:
            self.multiplexer.receive_message(message)
        except RemoteProtocolError as exc:
            assert exc.close_code in (4000, 4002)
            self.oracle.collect()
            return False
        for event in self.oracle.collect():
            if isinstance(event, HelloReceived):
                self.multiplexer.send_welcome("c")
        return True

    def frame(self) -> bytes:
        choices = self.choices
        kind = choices.byte() % 8
        stream_id = self.stream()
        if kind in (0, 1, 2):
            body = choices.pick((b"", b"", b"hello", b"a" * 1000))
            flags = choices.pick((0, 0, 2, 4, 6, 0xF8)) | kind & 1
            return encode_frame(1, flags, stream_id, choices.pick(HEADS) + body)
        if kind in (3, 4):
            return encode_frame(2, kind & 1, stream_id, self.bytes())
        if kind == 5:
            return encode_reset(stream_id, choices.byte() % 9, "why")
        if kind == 6:
            return encode_window(stream_id, choices.pick(_CREDITS))
        return encode_goaway(stream_id, 1001, "bye")

    def stream(self) -> int:
        """Mostly one that is there or could be next."""
        number = self.choices.byte()
        return number % 16 if number < 240 else _EXTREMES[number % 4]

    def bytes(self) -> bytes:
        return b"b" * self.choices.pick(_SIZES)

    # --- the app ---

    def open(self) -> None:
        head, end = self.choices.pick(_REQUESTS), self.choices.byte() & 1
        self.oracle.opened(self.multiplexer.open_stream(head, end=bool(end)), head)

    def answer(self) -> None:
        self.multiplexer.send_head(self.stream(), self.choices.pick(_RESPONSES))

    def end(self) -> None:
        trailers = self.choices.pick(((), [(b"X-T", b"1")], [(b"Host", b"a")]))
        self.multiplexer.send_end(self.stream(), trailers)

    def reset(self) -> None:
        stream_id = self.stream()
        self.oracle.gave_up(stream_id)
        self.multiplexer.reset_stream(stream_id, self.choices.byte() % 9, "why")

    def consume(self) -> None:
        stream_id, share = self.stream(), self.choices.byte()
        self.now += share / 64
        nbytes = self.oracle.used(stream_id, share)
        if nbytes:
            self.multiplexer.consume(stream_id, nbytes, self.now)


def _on_a_later_stream(message: bytes, step: int) -> bytes:
    stream_id = (int.from_bytes(message[4:8], "big") + step) % 2**32
    return message[:4] + stream_id.to_bytes(4, "big") + message[8:]


# --- two multiplexers -------------------------------------------------------------------------


class _FedPair(Pair):
    """Two ends whose schedule is an input."""

    def __init__(self, choices: Choices, *, resets: bool, goaway: bool) -> None:
        super().__init__(0, resets=resets, goaway=goaway)
        self.rng = Fed(choices)
        serial = [0]
        self.ends = [End("dialer", self.rng, serial), End("listener", self.rng, serial)]
        for end, other in zip(self.ends, reversed(self.ends), strict=True):
            end.connect(other)


def _run_pair(choices: Choices) -> None:
    kind = choices.byte() % 3
    pair = _FedPair(choices, resets=kind == 1, goaway=kind == 2)
    for _ in range(400):
        if not choices:
            break
        pair.step()
    pair.finish()
    if kind == 2:
        pair.check_goaway()
    else:
        pair.check()
    for end in pair.ends:
        _check_rest(end.multiplexer)


def _check_rest(multiplexer: Multiplexer) -> None:
    assert multiplexer.open_streams == 0
    assert not multiplexer.has_output
    assert multiplexer.events.take() == []
