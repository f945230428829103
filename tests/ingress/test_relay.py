"""Two exchanges, joined: the same bytes under any schedule, and windows that bound what waits."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any, cast

import pytest
from hypothesis import given
from hypothesis import strategies as st

from restsock import ConnectionClosed, LocalProtocolError, StreamRefused
from restsock.auth import Refused
from restsock.connection import Exchange, ExchangeEvent, Failed, Requeued, Started, Writable
from restsock.ingress._pages import problem_of
from restsock.ingress._relay import MAX_CHECKED, Relay
from restsock.protocol import (
    DataReceived,
    EndReceived,
    Headers,
    PlainHead,
    RequestHead,
    ResetCode,
    ResponseHead,
    ResponseReceived,
    StopSending,
)

WINDOW = 40
SEND_BUFFER = 16
HEAD = RequestHead(b"POST", b"/", [(b"Host", b"edge-1")])
UPGRADE = RequestHead(
    b"GET", b"/", [(b"Host", b"edge-1"), (b"Connection", b"upgrade"), (b"Upgrade", b"websocket")]
)


class FakeCarrier:
    """One side of one exchange: what would be sent is kept, and so is credit that was given."""

    instrument = None

    def __init__(self) -> None:
        self.lock = threading.RLock()
        self.multiplexer = self.writer = self.exchange_table = self
        self.heads: list[ResponseHead] = []
        self.waiting = b""  # in the send buffer
        self.taken = b""  # and what has left it
        self.ended: Headers | None = None
        self.was_reset: int | None = None
        self.credit = WINDOW
        self.most = 0
        self.later: list[Callable[[], object]] = []

    def buffered(self, id: int) -> int:
        return len(self.waiting)

    def announced(self, id: int) -> bool:
        return True

    def open_stream(self, head: RequestHead, *, end: bool, plain: PlainHead | None) -> int:
        self.ended = [] if end else None
        return 1

    def send_head(self, id: int, head: ResponseHead, plain: PlainHead | None = None) -> None:
        assert self.ended is None
        assert not any(h.status >= 200 or h.status == 101 for h in self.heads)
        self.heads.append(head)

    def send_data(self, id: int, data: bytes) -> None:
        assert self.ended is None
        self.waiting += data
        self.most = max(self.most, len(self.waiting))

    def send_end(self, id: int, trailers: Headers = ()) -> None:
        assert self.ended is None
        self.ended = list(trailers)

    def note_sent(self, exchange: Exchange) -> None:
        if len(self.waiting) > SEND_BUFFER:
            exchange.write_paused = True

    def consume(self, exchange: Exchange, nbytes: int) -> None:
        self.credit += nbytes
        assert self.credit <= WINDOW

    def reset_stream(self, id: int, code: int) -> None:
        self.was_reset = code

    def reset(self, exchange: Exchange, code: int, reason: str) -> None:
        self.was_reset = code

    def wake(self) -> None: ...

    def __enter__(self) -> None: ...

    def __exit__(self, *exc: object) -> None: ...

    def call_afterwards(self, function: Callable[[], object]) -> None:
        self.later.append(function)


class Scene:
    """A relay between a client and a peer, both played by the test."""

    def __init__(self, head: RequestHead = HEAD, *, max_body: int | None = None) -> None:
        self.client, self.peer = FakeCarrier(), FakeCarrier()
        self.failures: list[Any] = []
        self.ends = 0
        self.waits = 0
        self.inbound = Exchange(head, lambda event: None).accept(cast("Any", self.client), 1)
        self.relay = Relay(
            self.inbound,
            max_body=max_body,
            on_failure=self.failures.append,
            on_end=self._end,
            on_waiting=self._wait,
        )
        self.submitted: list[Exchange] = []

    instrument = None

    def _end(self) -> None:
        self.ends += 1

    def _wait(self) -> None:
        self.waits += 1

    def submit(self, exchange: Exchange) -> None:
        self.submitted.append(exchange)

    def start(
        self, check: Callable[[bytes], object] | None = None, *, hide: bytes | None = None
    ) -> None:
        def translate(
            head: ResponseHead, plain: PlainHead | None
        ) -> tuple[ResponseHead, PlainHead | None]:
            return head._replace(headers=[f for f in head.headers if f[0].lower() != hide]), None

        self.relay.start(self.submit, HEAD, None, translate, check)

    @property
    def outbound(self) -> Exchange:
        assert self.relay.outbound is not None
        return self.relay.outbound

    def connect(self) -> None:
        """The peer is there, and the request gets its stream."""
        self.peer.credit = WINDOW
        self.outbound.start(cast("Any", self.peer))
        self.from_peer(Started())

    def from_client(self, *events: ExchangeEvent) -> None:
        for event in events:
            if isinstance(event, DataReceived):
                self.client.credit -= len(event.data)
                assert self.client.credit >= 0
            self.inbound.observer(event)

    def from_peer(self, *events: ExchangeEvent, more: bool = False) -> None:
        """Has these come at once, and perhaps more of it."""
        for event in events:
            if isinstance(event, DataReceived):
                self.peer.credit -= len(event.data)
                assert self.peer.credit >= 0
            self.outbound.observer(event)
        if not more:
            self.turn()

    def drain(self, side: FakeCarrier, exchange: Exchange, nbytes: int = 1_000_000) -> None:
        side.taken += side.waiting[:nbytes]
        side.waiting = side.waiting[nbytes:]
        if exchange.write_paused and len(side.waiting) <= SEND_BUFFER // 2:
            exchange.write_paused = False
            exchange.observer(Writable())

    def turn(self) -> None:
        while self.peer.later:
            self.peer.later.pop(0)()


def response(status: int = 200, *fields: tuple[bytes, bytes]) -> ResponseReceived:
    return ResponseReceived(1, ResponseHead(status, list(fields)))


def data(text: bytes) -> DataReceived:
    return DataReceived(1, text)


def end(*trailers: tuple[bytes, bytes]) -> EndReceived:
    return EndReceived(1, list(trailers))


# --- any schedule -------------------------------------------------------------------------------


@given(st.data())
def test_any_schedule_gives_the_same_bytes(draw: st.DataObject) -> None:
    """Both windows bound what waits here, and nothing is lost, repeated or stuck."""
    up = draw.draw(st.binary(max_size=300), label="up")
    down = draw.draw(st.binary(max_size=300), label="down")
    trailers = draw.draw(st.sampled_from([[], [(b"X-Sum", b"1")]]), label="trailers")
    length = draw.draw(st.booleans(), label="length")
    checked = draw.draw(st.booleans(), label="checked")
    scene = Scene()
    bodies: list[bytes] = []
    sent_up = sent_down = 0
    started = connected = up_ended = answered = down_ended = False
    refusals = 2

    def steps() -> dict[str, Callable[[], None]]:
        found: dict[str, Callable[[], None]] = {}
        if not started:
            found["start"] = start
        if not up_ended and sent_up < len(up) and scene.client.credit:
            found["up"] = send_up
        if not up_ended and sent_up == len(up):
            found["up ends"] = end_up
        if scene.submitted and not connected:
            found["connect"] = connect
        if connected and not answered and refusals and scene.outbound.replayable:
            found["refuse"] = refuse
        if connected and not answered:
            found["answer"] = answer
        if scene.peer.waiting and connected:
            found["peer reads"] = lambda: scene.drain(scene.peer, scene.outbound, some("read"))
        if answered and sent_down < len(down) and scene.peer.credit and not down_ended:
            found["down"] = send_down
        if answered and sent_down == len(down) and not down_ended and scene.peer.ended is not None:
            found["down ends"] = end_down
        if scene.client.waiting:
            found["client reads"] = lambda: scene.drain(scene.client, scene.inbound, some("read"))
        if scene.peer.later:
            found["turn"] = scene.turn
        return found

    def some(label: str) -> int:
        return draw.draw(st.integers(1, WINDOW), label=label)

    def more() -> bool:
        return draw.draw(st.booleans(), label="more at once")

    def start() -> None:
        nonlocal started
        started = True
        scene.start(bodies.append if checked else None)

    def send_up() -> None:
        nonlocal sent_up
        piece = up[sent_up : sent_up + min(some("up"), scene.client.credit)]
        sent_up += len(piece)
        scene.from_client(data(piece))

    def end_up() -> None:
        nonlocal up_ended
        up_ended = True
        scene.from_client(end(*trailers))

    def connect() -> None:
        nonlocal connected
        connected = True
        scene.submitted.pop()
        scene.connect()

    def refuse() -> None:
        nonlocal connected, refusals
        connected = False
        refusals -= 1
        again = scene.outbound
        scene.peer.waiting = scene.peer.taken = b""
        scene.peer.ended = None
        again.connection, again.id, again.write_paused = None, 0, False
        scene.from_peer(Requeued(StreamRefused("busy")))
        scene.submit(again)

    def answer() -> None:
        nonlocal answered
        answered = True
        fields = [(b"Content-Length", b"%d" % len(down))] if length else []
        scene.from_peer(response(103), response(200, *fields), more=more())

    def send_down() -> None:
        nonlocal sent_down
        piece = down[sent_down : sent_down + min(some("down"), scene.peer.credit)]
        sent_down += len(piece)
        scene.from_peer(data(piece), more=more())

    def end_down() -> None:
        nonlocal down_ended
        down_ended = True
        scene.from_peer(end((b"X-Down", b"2")))

    while found := steps():
        found[draw.draw(st.sampled_from(sorted(found)), label="step")]()
        if not checked and refusals == 2:  # then it is kept to be sent again, up to a bound
            assert len(scene.outbound.body if scene.submitted else b"") <= WINDOW
        assert scene.peer.most <= max(WINDOW, len(up) if checked else 0) + SEND_BUFFER
        assert scene.client.most <= WINDOW + SEND_BUFFER
    assert scene.failures == []
    assert scene.peer.taken == up
    assert scene.peer.ended == trailers or (not scene.peer.ended and not trailers)
    assert scene.client.taken == down
    assert [head.status for head in scene.client.heads] == [103, 200]
    assert scene.client.ended == [(b"X-Down", b"2")]
    assert scene.ends == 1
    assert scene.relay.received == len(up)
    assert scene.relay.sent == len(down)
    assert not checked or bodies == [up]
    assert scene.client.credit == WINDOW
    assert scene.peer.was_reset is None


# --- what waits ---------------------------------------------------------------------------------


def test_a_short_request_leaves_as_a_whole() -> None:
    head = RequestHead(b"POST", b"/", [(b"Host", b"e"), (b"Content-Length", b"4")])
    scene = Scene(head)
    scene.start()
    assert scene.submitted == []
    scene.from_client(data(b"ab"), data(b"cd"))
    assert len(scene.submitted) == 1 or scene.relay.outbound is None
    scene.from_client(end())
    assert scene.outbound.body == b"abcd"


def test_while_the_peer_is_away_no_more_than_the_window_comes() -> None:
    scene = Scene()
    scene.start()
    scene.from_client(data(b"x" * WINDOW))
    assert scene.client.credit == 0
    scene.connect()
    assert scene.client.credit == 0 or not scene.outbound.write_paused
    scene.drain(scene.peer, scene.outbound)
    assert scene.client.credit == WINDOW


def test_a_client_that_does_not_read_stops_the_peer() -> None:
    scene = Scene()
    scene.start()
    scene.from_client(end())
    scene.connect()
    scene.from_peer(response(), data(b"x" * WINDOW))
    assert scene.peer.credit == 0
    scene.drain(scene.client, scene.inbound)
    assert scene.peer.credit == WINDOW


def test_a_peer_that_does_not_read_stops_the_client() -> None:
    scene = Scene()
    scene.start()
    scene.from_client(data(b"a"))
    scene.connect()
    scene.from_client(data(b"x" * 39))
    assert scene.client.credit < WINDOW
    scene.drain(scene.peer, scene.outbound)
    assert scene.client.credit == WINDOW


def test_trailers_of_a_request_that_waits_for_its_peer_follow_later() -> None:
    scene = Scene()
    scene.start()
    scene.from_client(data(b"ab"), end((b"X-Sum", b"1")))
    assert scene.failures == []
    scene.connect()
    assert (scene.peer.waiting, scene.peer.ended) == (b"ab", [(b"X-Sum", b"1")])


def test_trailers_and_early_heads_are_held_to_the_same_rules() -> None:
    scene = Scene()
    scene.start(hide=b"x-secret")
    scene.from_client(data(b"a"))
    scene.connect()
    scene.from_client(end((b"X-Sum", b"1"), (b"Restsock-Identity", b"root")))
    assert scene.peer.ended == [(b"X-Sum", b"1")]
    scene.from_peer(response(103, (b"Link", b"</a>"), (b"X-Secret", b"1")), response())
    scene.from_peer(end((b"X-Sum", b"2"), (b"Set-Cookie", b"a=b; Domain=example")))
    assert scene.client.heads[0].headers == [(b"Link", b"</a>")]
    assert scene.client.ended == [(b"X-Sum", b"2")]


def test_a_head_that_nothing_follows_is_not_kept() -> None:
    scene = Scene()
    scene.start()
    scene.from_client(end())
    scene.connect()
    scene.from_peer(response(200, (b"Content-Length", b"2")))
    assert [head.status for head in scene.client.heads] == [200]
    scene.from_peer(data(b"ok"), end())
    assert (scene.client.waiting, scene.client.ended, scene.ends) == (b"ok", [], 1)


# --- early ends ---------------------------------------------------------------------------------


def begun(head: RequestHead = HEAD, *events: ExchangeEvent) -> Scene:
    scene = Scene(head)
    scene.start()
    scene.from_client(*(events or (data(b"a"),)))
    scene.connect()
    return scene


def test_an_early_answer_ends_the_request() -> None:
    scene = begun()
    scene.from_peer(response(413), data(b"no"), end())
    assert scene.client.ended == []
    assert scene.peer.was_reset == ResetCode.NO_ERROR
    assert scene.ends == 1
    scene.drain(scene.peer, scene.outbound)
    scene.from_client(data(b"rest"), end())
    assert scene.client.credit == WINDOW
    assert scene.ends == 1


def test_a_peer_that_wants_no_more_still_answers() -> None:
    scene = begun()
    scene.from_peer(StopSending(1))
    scene.from_client(data(b"x" * 20), data(b"x" * 19), end())
    assert scene.client.credit == WINDOW
    assert scene.peer.waiting == b"a"
    scene.from_peer(response(), data(b"ok"), end())
    assert (scene.client.waiting, scene.client.ended, scene.ends) == (b"ok", [], 1)


@pytest.mark.parametrize("answered", [False, True])
def test_a_client_that_leaves_cancels_at_the_peer(answered: bool) -> None:
    scene = begun()
    if answered:
        scene.from_peer(response(), data(b"x"))
    scene.from_client(Failed(ConnectionClosed("gone", may_have_run=True)))
    assert scene.peer.was_reset == ResetCode.CANCEL
    assert (scene.failures, scene.ends) == ([], 1)


def test_a_client_that_leaves_while_its_request_waits() -> None:
    scene = Scene()
    scene.start()
    scene.from_client(data(b"a"), Failed(ConnectionClosed("gone", may_have_run=False)))
    assert scene.outbound.closed
    assert scene.ends == 1


def test_a_peer_that_is_lost_before_its_head_is_answered_for() -> None:
    scene = begun()
    lost = ConnectionClosed("lost", may_have_run=True)
    scene.from_peer(Failed(lost))
    assert (scene.failures, scene.ends, scene.client.was_reset) == ([lost], 1, None)


def test_a_peer_that_is_lost_with_its_head_held_back_is_answered_for() -> None:
    scene = begun()
    lost = ConnectionClosed("lost", may_have_run=True)
    scene.from_peer(response(200, (b"Content-Length", b"2")), data(b"o"), Failed(lost))
    assert (scene.failures, scene.client.heads, scene.ends) == ([lost], [], 1)


def test_a_peer_that_is_lost_after_its_head_cuts_the_response() -> None:
    scene = begun()
    scene.from_peer(response(), data(b"x"))
    scene.from_peer(Failed(ConnectionClosed("lost", may_have_run=True)))
    assert scene.client.was_reset == ResetCode.INTERNAL
    assert (scene.failures, scene.ends) == ([], 1)


def test_what_came_at_once_with_a_failure_is_passed_on_before_it() -> None:
    scene = begun()
    scene.from_peer(response())
    scene.from_peer(data(b"x"), Failed(ConnectionClosed("lost", may_have_run=True)))
    assert (scene.client.waiting, scene.client.was_reset) == (b"x", ResetCode.INTERNAL)


def test_what_comes_at_once_leaves_at_once() -> None:
    scene = begun(HEAD, end())
    scene.from_peer(response(), data(b"a"), data(b"b"), more=True)
    assert scene.client.heads == []
    scene.from_peer(end(), more=True)
    assert ([head.status for head in scene.client.heads], scene.client.waiting) == ([200], b"ab")
    assert (scene.client.ended, scene.ends) == ([], 1)
    scene.turn()
    assert scene.client.waiting == b"ab"


def test_a_request_is_sent_again_where_the_peer_provably_has_not_begun() -> None:
    scene = begun(HEAD, data(b"ab"), end())
    assert (scene.peer.waiting, scene.peer.ended) == (b"ab", [])
    again = scene.outbound
    scene.peer = FakeCarrier()
    again.connection, again.id = None, 0
    scene.from_peer(Requeued(StreamRefused("busy")))
    assert (scene.relay.waiting, scene.waits) == (True, 2)
    scene.connect()
    assert (scene.peer.waiting, scene.peer.ended) == (b"ab", [])


def test_what_the_peer_may_not_send_ends_it() -> None:
    scene = begun()

    def send_data(id: int, data: bytes) -> None:
        raise LocalProtocolError("longer than announced")

    scene.client.send_data = send_data  # type: ignore[method-assign]
    scene.from_peer(response(), data(b"x"))
    assert scene.client.was_reset == ResetCode.INTERNAL
    assert (scene.peer.was_reset, scene.ends) == (ResetCode.CANCEL, 1)


def test_what_cannot_be_passed_on_has_run() -> None:
    scene = begun()

    def send_head(id: int, head: ResponseHead, plain: object = None) -> None:
        raise LocalProtocolError("too long")

    scene.client.send_head = send_head  # type: ignore[method-assign]
    scene.from_peer(response(103))
    (error,) = scene.failures
    assert (problem_of(error).status, problem_of(error).may_have_run) == (502, True)
    assert (scene.peer.was_reset, scene.ends) == (ResetCode.CANCEL, 1)


def test_a_body_above_the_bound() -> None:
    scene = Scene(max_body=3)
    scene.start()
    scene.from_client(data(b"abc"))
    scene.connect()
    scene.from_client(data(b"d"))
    assert (scene.failures, scene.ends, scene.peer.was_reset) == ([None], 1, ResetCode.CANCEL)


def test_stop_and_cancel_end_it_once() -> None:
    scene = Scene()
    scene.relay.stop()
    scene.relay.stop()
    scene.relay.cancel(StreamRefused("no"))
    scene.start()
    assert (scene.failures, scene.ends, scene.submitted) == ([], 1, [])


# --- upgrades -----------------------------------------------------------------------------------


@pytest.mark.parametrize("client_first", [False, True])
def test_an_upgrade_ends_when_both_halves_have(client_first: bool) -> None:
    scene = Scene(UPGRADE)
    scene.start()
    scene.connect()
    scene.from_peer(response(101, (b"Upgrade", b"websocket")), data(b"hello"))
    scene.from_client(data(b"hi"))
    if client_first:
        scene.from_client(end())
        scene.from_peer(data(b"!"), end())
    else:
        scene.from_peer(end())
        assert scene.ends == 0
        scene.from_client(data(b"!"), end())
    assert (scene.client.ended, scene.peer.ended) == ([], [])
    assert (scene.peer.was_reset, scene.ends) == (None, 1)


def test_an_upgrade_that_is_declined_ends_with_the_answer() -> None:
    scene = Scene(UPGRADE)
    scene.start()
    scene.connect()
    scene.from_peer(response(404, (b"Content-Length", b"2")), data(b"no"), end())
    # The stream of the client is over with that, whether its half has ended or not.
    assert (scene.client.waiting, scene.ends) == (b"no", 1)
    assert scene.peer.was_reset == ResetCode.NO_ERROR


# --- bodies that are checked --------------------------------------------------------------------


def test_nothing_of_a_body_that_is_refused_reaches_the_peer() -> None:
    scene = Scene()
    refused = Refused(401)

    def check(body: bytes) -> None:
        assert body == b"abcd"
        raise refused

    scene.from_client(data(b"ab"))
    scene.start(check)
    scene.from_client(data(b"cd"))
    assert scene.submitted == []
    scene.from_client(end())
    assert (scene.submitted, scene.failures, scene.ends) == ([], [refused], 1)


def test_a_body_that_is_checked_has_a_bound() -> None:
    scene = Scene()
    scene.start(lambda body: None)
    for _ in range(MAX_CHECKED // WINDOW):
        scene.from_client(data(b"x" * WINDOW))
    assert scene.failures == []
    scene.from_client(data(b"x" * WINDOW))
    assert (scene.failures, scene.submitted) == ([None], [])


def test_a_body_that_is_checked_and_expects_is_asked_for() -> None:
    fields = [(b"Host", b"e"), (b"Expect", b"100-continue"), (b"Content-Length", b"1")]
    scene = Scene(RequestHead(b"POST", b"/", fields))
    scene.start(lambda body: None)
    assert [head.status for head in scene.client.heads] == [100]
    assert scene.submitted == []
