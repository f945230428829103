"""Two multiplexers under a random schedule lose, repeat, reorder nothing, and leave no stream open.

A schedule is a seed and a number of steps. In each step one thing happens somewhere: an app opens a
stream, sends the next piece of a message, consumes what it received, gives up; a message is taken
from one end; the oldest one under way is handed to the other. Then everything runs to its end.
"""

from __future__ import annotations

import random
from collections import deque
from dataclasses import dataclass, field
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from restsock._options import Limits
from restsock.protocol import (
    DataReceived,
    EndReceived,
    GoAwayReceived,
    Headers,
    Multiplexer,
    RequestHead,
    RequestReceived,
    ResetCode,
    ResponseHead,
    ResponseReceived,
    StopSending,
    StreamClosed,
    StreamFailed,
    StreamRejected,
)
from tests.protocol.vectors import open_multiplexer, whole

INITIAL = 16 * 1024
BUDGET = 40_000
STREAMS = 4

HOST = (b"Host", b"a")
WISH = [(b"Connection", b"upgrade"), (b"Upgrade", b"x")]


@dataclass
class Side:
    """What one direction of a stream carries: as it was sent, or as it arrived."""

    heads: list[RequestHead | ResponseHead] = field(default_factory=list)
    body: bytearray = field(default_factory=bytearray)
    trailers: Headers | None = None  # not None: ended


@dataclass
class Exchange:
    """One stream, as one end knows it."""

    local: bool
    out: Side = field(default_factory=Side)
    came: Side = field(default_factory=Side)
    plan: deque[tuple[str, Any]] = field(default_factory=deque)
    held: int = 0  # bytes that arrived and are not consumed
    waits: bool = False  # for the answer to an upgrade, or with the answer for the whole request
    stopped: bool = False
    failed: StreamFailed | None = None
    gave_up: bool = False
    broke_off: bool = False  # gave up, and all that it had sent is to arrive
    closed: bool = False


class End:
    """One end: a multiplexer and the app on it."""

    def __init__(self, role: str, rng: random.Random, serial: list[int]) -> None:
        limits = Limits(
            max_frame=rng.choice([1024, 16384, 65536]),
            initial_window=INITIAL,
            max_window=rng.choice([INITIAL, 65536]),
            receive_budget=BUDGET,
            max_streams=STREAMS,
        )
        self.limits = limits
        self.role = role
        self.rng = rng
        self.serial = serial
        self.exchanges: dict[int, Exchange] = {}
        self.outbox: deque[str | bytes] = deque()
        self.going_away = False
        self.patient = False
        self.multiplexer: Multiplexer

    def connect(self, other: End) -> None:
        remote = {
            "max_frame": other.limits.max_frame,
            "initial_window": other.limits.initial_window,
            "max_streams": other.limits.max_streams,
        }
        self.multiplexer = open_multiplexer(self.role, self.limits, remote)
        self.multiplexer.round_trip = self.rng.choice([None, 0.1, 100.0])

    # --- the app ---

    def body(self) -> list[bytes]:
        """Pieces that are different from all others, so that none can stand for another."""
        pieces = []
        for _ in range(self.rng.choice([0, 0, 1, 1, 2, 5])):
            self.serial[0] += 1
            size = self.rng.choice([1, 10, 1000, 20_000, 70_000])
            pieces.append((b"%d," % self.serial[0] * size)[:size])
        return pieces

    def plan(self, exchange: Exchange, pieces: list[bytes]) -> None:
        exchange.plan.extend(("data", piece) for piece in pieces)
        trailers = [(b"X-T", b"%d" % len(pieces))] if self.rng.random() < 0.3 else []
        exchange.plan.append(("end", trailers))

    def open(self) -> None:
        if not self.multiplexer.can_open:
            return
        rng = self.rng
        headers = [HOST, (b"X-N", b"%d" % rng.randrange(10**6))]
        pieces = self.body()
        exchange = Exchange(local=True)
        kind = rng.choice(["plain", "plain", "length", "head", "upgrade"])
        method = b"HEAD" if kind == "head" else b"POST"
        if kind == "upgrade":
            method, headers, exchange.waits = b"GET", [*headers, *WISH], True
        elif kind == "length":
            headers.append((b"Content-Length", b"%d" % sum(map(len, pieces))))
        head = RequestHead(method, b"/%d" % self.serial[0], headers)
        end = kind == "head" or (kind != "upgrade" and not pieces and rng.random() < 0.5)
        stream_id = self.multiplexer.open_stream(head, end=end)
        self.exchanges[stream_id] = exchange
        exchange.out.heads.append(head)
        if end:
            exchange.out.trailers = ()
        elif kind == "upgrade":
            exchange.plan.extend(("data", piece) for piece in pieces)
            exchange.plan.append(("end", []))
        else:
            self.plan(exchange, pieces)

    def answer(self, exchange: Exchange, request: RequestHead) -> None:
        rng = self.rng
        for _ in range(rng.choice([0, 0, 0, 1, 3])):
            exchange.plan.append(("head", ResponseHead(103, [(b"X-N", b"%d" % rng.randrange(99))])))
        pieces = self.body()
        exchange.waits = request.upgrade is None and (self.patient or rng.random() < 0.5)
        if request.upgrade is not None and rng.random() < 0.7:
            exchange.plan.append(("head", ResponseHead(101, WISH)))
            exchange.plan.extend(("data", piece) for piece in pieces)
            exchange.plan.append(("end", []))
            return
        status = rng.choice([200, 200, 404, 204, 304])
        if status in (204, 304) or request.method == b"HEAD":
            pieces = []
        headers = []
        if rng.random() < 0.5 and status == 200 and request.method != b"HEAD":
            headers.append((b"Content-Length", b"%d" % sum(map(len, pieces))))
        elif request.method == b"HEAD":
            headers.append((b"Content-Length", b"12345"))
        exchange.plan.append(("head", ResponseHead(status, headers, b"why not")))
        self.plan(exchange, pieces)

    def send(self) -> None:
        """One piece of one message."""
        ready = [i for i, e in self.exchanges.items() if e.plan and not e.waits]
        if not ready:
            return
        stream_id = self.rng.choice(ready)
        exchange = self.exchanges[stream_id]
        kind, what = exchange.plan.popleft()
        if kind == "head":
            self.multiplexer.send_head(stream_id, what)
            exchange.out.heads.append(what)
        elif kind == "data":
            self.multiplexer.send_data(stream_id, what)
            exchange.out.body += what
        else:
            self.multiplexer.send_end(stream_id, what)
            exchange.out.trailers = tuple(what)

    def consume(self, now: float) -> None:
        holding = [i for i, e in self.exchanges.items() if e.held]
        if holding:
            stream_id = self.rng.choice(holding)
            exchange = self.exchanges[stream_id]
            nbytes = self.rng.choice([exchange.held, self.rng.randint(1, exchange.held)])
            exchange.held -= nbytes
            self.multiplexer.consume(stream_id, nbytes, now)

    def give_up(self) -> None:
        live = [i for i, e in self.exchanges.items() if not e.closed]
        if live:
            stream_id = self.rng.choice(live)
            self.exchanges[stream_id].gave_up = True
            self.exchanges[stream_id].broke_off = False
            self.exchanges[stream_id].plan.clear()
            self.multiplexer.reset_stream(stream_id, ResetCode.CANCEL)
            self.collect()

    def break_off(self) -> None:
        live = [i for i, e in self.exchanges.items() if not e.closed and not e.gave_up]
        if live:
            stream_id = self.rng.choice(live)
            exchange = self.exchanges[stream_id]
            exchange.gave_up = exchange.broke_off = True
            exchange.plan.clear()
            self.multiplexer.reset_stream(stream_id, ResetCode.INTERNAL)
            self.collect()

    # --- the wire ---

    def take(self) -> bool:
        """Moves one message onto the wire."""
        message = self.multiplexer.next_message()
        self.collect()
        if message is not None:
            self.outbox.append(whole(message))
        return message is not None

    def receive(self, message: str | bytes) -> None:
        self.multiplexer.receive_message(message)
        self.collect()

    def collect(self) -> None:
        for event in self.multiplexer.events.take():
            if isinstance(event, StreamRejected):
                assert self.going_away, "both ends keep to max_streams"
                continue
            if isinstance(event, GoAwayReceived):
                continue
            assert hasattr(event, "stream_id")
            if isinstance(event, RequestReceived):
                assert event.stream_id not in self.exchanges
                exchange = self.exchanges[event.stream_id] = Exchange(local=False)
                exchange.came.heads.append(event.head)
                self.answer(exchange, event.head)
                continue
            exchange = self.exchanges[event.stream_id]
            assert not exchange.closed, "nothing is reported behind StreamClosed"
            self.note(exchange, event)

    def note(self, exchange: Exchange, event: object) -> None:
        if isinstance(event, ResponseReceived):
            exchange.came.heads.append(event.head)
            if event.head.status == 101:
                exchange.waits = False
            elif event.head.status >= 200 and exchange.waits:
                # Declined: the multiplexer itself ends the request.
                exchange.waits = False
                exchange.plan.clear()
                exchange.out.trailers = ()
        elif isinstance(event, DataReceived):
            assert event.data
            assert exchange.came.trailers is None
            exchange.came.body += event.data
            exchange.held += len(event.data)
        elif isinstance(event, EndReceived):
            assert exchange.came.trailers is None
            exchange.came.trailers = tuple(event.trailers)
            exchange.waits = exchange.waits and exchange.local
        elif isinstance(event, StopSending):
            exchange.stopped = True
            exchange.plan.clear()
        elif isinstance(event, StreamFailed):
            exchange.failed = event
            exchange.plan.clear()
        else:
            assert isinstance(event, StreamClosed)
            exchange.closed = True
            exchange.plan.clear()


class Pair:
    """Both ends and the wire between them."""

    def __init__(self, seed: int, *, resets: bool = True, goaway: bool = False) -> None:
        self.rng = random.Random(seed)
        self.resets = resets
        self.goaway = goaway
        self.now = 0.0
        serial = [0]
        self.ends = [End("dialer", self.rng, serial), End("listener", self.rng, serial)]
        for end, other in zip(self.ends, reversed(self.ends), strict=True):
            end.connect(other)

    def other(self, end: End) -> End:
        return self.ends[1 - self.ends.index(end)]

    def step(self) -> None:
        end = self.rng.choice(self.ends)
        self.now += self.rng.choice([0.0, 0.01, 1.0])
        what = self.rng.random()
        if what < 0.06:
            end.open()
        elif what < 0.40:
            end.send()
        elif what < 0.55:
            end.consume(self.now)
        elif what < 0.75:
            end.take()
        elif what < 0.99:
            self.deliver(end)
        elif self.resets:
            end.give_up() if self.rng.random() < 0.5 else end.break_off()
        if self.goaway and not end.going_away and self.rng.random() < 0.01:
            end.going_away = True
            end.multiplexer.send_goaway(1001)
        self.check_memory()

    def deliver(self, end: End) -> bool:
        if not end.outbox:
            return False
        self.other(end).receive(end.outbox.popleft())
        return True

    def check_memory(self) -> None:
        for end in self.ends:
            live = [e for e in end.exchanges.values() if not e.closed]
            held = sum(e.held for e in live)
            assert held <= INITIAL * len(live) + BUDGET
            assert sum(e.local for e in live) <= STREAMS
            assert sum(not e.local for e in live) <= STREAMS
            assert end.multiplexer.open_streams == len(live)

    def finish(self) -> None:
        """Everything runs to its end; nobody opens anything or gives up any more."""
        for _ in range(100_000):
            self.now += 0.01
            moved = False
            for end in self.ends:
                moved |= end.take() or self.deliver(end)
                if any(e.plan and not e.waits for e in end.exchanges.values()):
                    end.send()
                    moved = True
                if any(e.held for e in end.exchanges.values()):
                    end.consume(self.now)
                    moved = True
            if not moved:
                return
        raise AssertionError("the two ends never come to rest")

    def check(self) -> None:
        dialer, listener = self.ends
        assert dialer.multiplexer.open_streams == listener.multiplexer.open_streams == 0
        for end, other in ((dialer, listener), (listener, dialer)):
            for stream_id, exchange in end.exchanges.items():
                assert exchange.closed
                if exchange.local:
                    self.check_exchange(exchange, other.exchanges.get(stream_id))

    def check_goaway(self) -> None:
        """Behind GOAWAY a request is answered whole, or was never seen by the other app."""
        for end, other in zip(self.ends, reversed(self.ends), strict=True):
            for stream_id, exchange in end.exchanges.items():
                if not exchange.local:
                    continue
                answered = other.exchanges.get(stream_id)
                if exchange.failed is None:
                    assert answered is not None
                    self.check_exchange(exchange, answered)
                else:
                    # Refused means that the other app never saw it.
                    assert exchange.failed.code == ResetCode.REFUSED
                    assert answered is None

    def check_exchange(self, asked: Exchange, answered: Exchange | None) -> None:
        broken = asked.gave_up or asked.failed is not None
        if answered is None:
            # It never left, because its requester gave up first or the peer was going away.
            assert broken
            assert asked.came == Side()
            return
        broken = broken or answered.gave_up or answered.failed is not None
        for failed in (asked.failed, answered.failed):
            # The only failures are those that the apps asked for.
            codes = (ResetCode.CANCEL, ResetCode.INTERNAL)
            assert failed is None or (failed.by_peer and failed.code in codes)
        for one, other in ((asked, answered), (answered, asked)):
            if one.broke_off and other.failed and other.failed.code == ResetCode.INTERNAL:
                assert (other.came.heads, other.came.body) == (one.out.heads, one.out.body)
        for sent, came in ((asked.out, answered.came), (answered.out, asked.came)):
            assert came.heads == sent.heads[: len(came.heads)]
            assert sent.body.startswith(came.body)
            if came.trailers is not None:
                assert (came.heads, came.body, came.trailers) == (
                    sent.heads,
                    sent.body,
                    sent.trailers,
                )
        if not broken:
            # The response is always whole; the request is, unless the response came first.
            assert asked.came.trailers is not None
            cut_short = answered.came.trailers is None
            assert not (asked.stopped and not cut_short and asked.plan)
            if cut_short:
                assert answered.out.trailers is not None


@given(st.integers(0, 2**32), st.integers(1, 600))
def test_nothing_is_lost_repeated_or_reordered(seed: int, steps: int) -> None:
    pair = Pair(seed)
    for _ in range(steps):
        pair.step()
    pair.finish()
    pair.check()


@given(st.integers(0, 2**32), st.integers(1, 600))
def test_without_resets_every_exchange_is_whole(seed: int, steps: int) -> None:
    pair = Pair(seed, resets=False)
    for _ in range(steps):
        pair.step()
    pair.finish()
    pair.check()
    for end in pair.ends:
        for exchange in end.exchanges.values():
            assert exchange.failed is None
            if exchange.local:
                assert exchange.came.trailers is not None


@given(st.integers(0, 2**32), st.integers(1, 300))
def test_after_goaway_every_stream_is_complete_or_was_never_started(seed: int, steps: int) -> None:
    pair = Pair(seed, resets=False, goaway=True)
    for _ in range(steps):
        pair.step()
    pair.finish()
    assert all(end.multiplexer.open_streams == 0 for end in pair.ends)
    pair.check_goaway()


def test_a_schedule_is_busy() -> None:
    """The property tests above would be empty if hardly anything happened in a schedule."""
    kinds: set[str] = set()
    total = 0
    for seed in range(10):
        pair = Pair(seed)
        for _ in range(600):
            pair.step()
        pair.finish()
        pair.check()
        for end in pair.ends:
            for exchange in end.exchanges.values():
                total += len(exchange.came.body)
                if exchange.gave_up:
                    kinds.add("broke off" if exchange.broke_off else "gave up")
                if exchange.failed:
                    kinds.add("failed")
                if exchange.stopped:
                    kinds.add("stopped")
                if exchange.came.trailers:
                    kinds.add("trailers")
                for head in exchange.came.heads:
                    kinds.add(str(head[0]) if isinstance(head, ResponseHead) else "request")
    assert kinds >= {
        "gave up",
        "broke off",
        "failed",
        "stopped",
        "trailers",
        "101",
        "103",
        "200",
        "204",
        "request",
    }
    assert total > 1_000_000


@pytest.mark.parametrize("seed", range(3))
def test_large_bodies_both_ways_at_once(seed: int) -> None:
    pair = Pair(seed, resets=False)
    body = random.Random(seed).randbytes(2_000_000)
    for end in pair.ends:
        end.patient = True
        stream_id = end.multiplexer.open_stream(RequestHead(b"POST", b"/", [HOST]))
        exchange = end.exchanges[stream_id] = Exchange(local=True)
        exchange.out.heads.append(RequestHead(b"POST", b"/", [HOST]))
        exchange.plan.extend([("data", body), ("end", [])])
    pair.finish()
    pair.check()
    for end in pair.ends:
        (answered,) = [e for e in end.exchanges.values() if not e.local]
        assert answered.came.body == body
