"""Multiplexer: what it does with one peer, message by message, beyond the vectors."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import pytest
from hypothesis import given
from hypothesis import strategies as st

from restsock._exceptions import LocalProtocolError, RemoteProtocolError
from restsock._options import Limits
from restsock.protocol import (
    CloseCode,
    DataReceived,
    EndReceived,
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
from restsock.protocol._frames import (
    END,
    Frame,
    FrameType,
    decode_frame,
    decode_reset,
    encode_frame,
)
from tests.protocol.vectors import (
    CONNECTION_ID,
    close_code,
    drain,
    envelope,
    events,
    make_multiplexer,
    open_multiplexer,
)
from tests.strategies import frames, json_values

HOST = (b"Host", b"a")
GET = RequestHead(b"GET", b"/", [HOST])
POST = RequestHead(b"POST", b"/", [HOST])
UPGRADE = RequestHead(b"GET", b"/", [HOST, (b"Connection", b"upgrade"), (b"Upgrade", b"x")])
SWITCH = ResponseHead(101, [(b"Connection", b"upgrade"), (b"Upgrade", b"x")])
OK = ResponseHead(200, [])


def head(stream_id: int, text: bytes, *, end: bool = True) -> bytes:
    return encode_frame(FrameType.HEAD, END if end else 0, stream_id, text)


def data(stream_id: int, body: bytes, *, end: bool = False) -> bytes:
    return encode_frame(FrameType.DATA, END if end else 0, stream_id, body)


GET_BYTES = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n"
POST_BYTES = b"POST / HTTP/1.1\r\nHost: a\r\n\r\n"
OK_BYTES = b"HTTP/1.1 200 \r\n\r\n"


def sent(multiplexer: Multiplexer) -> list[Frame]:
    found = []
    for message in drain(multiplexer):
        assert isinstance(message, bytes)
        found.append(decode_frame(message))
    return found


def answering(method: bytes = b"GET", limits: Limits | None = None) -> Multiplexer:
    """A listener with stream 1 open, its request complete."""
    multiplexer = open_multiplexer("listener", limits)
    multiplexer.receive_message(head(1, method + b" / HTTP/1.1\r\nHost: a\r\n\r\n"))
    events(multiplexer)
    return multiplexer


# --- out: frames --------------------------------------------------------------------------------


def test_a_small_exchange_is_one_frame_each_way() -> None:
    multiplexer = open_multiplexer("dialer")
    stream_id = multiplexer.open_stream(
        RequestHead(b"POST", b"/", [HOST, (b"Content-Length", b"2")])
    )
    multiplexer.send_data(stream_id, b"hi")
    multiplexer.send_end(stream_id)
    (frame,) = sent(multiplexer)
    assert (frame.type, frame.flags, frame.stream_id) == (FrameType.HEAD, END, 1)
    assert frame.payload.endswith(b"\r\n\r\nhi")
    multiplexer.receive_message(head(1, OK_BYTES + b"yes"))
    assert events(multiplexer) == [
        ResponseReceived(1, ResponseHead(200, [])),
        DataReceived(1, b"yes"),
        EndReceived(1),
        StreamClosed(1),
    ]
    assert multiplexer.open_streams == 0


def test_streams_take_turns() -> None:
    multiplexer = open_multiplexer("dialer")
    for _ in range(3):
        stream_id = multiplexer.open_stream(POST)
        multiplexer.send_data(stream_id, bytes(40_000))
        multiplexer.send_end(stream_id)
    order = [frame.stream_id for frame in sent(multiplexer)]
    assert order == [1, 3, 5] * 3


def test_control_frames_leave_first() -> None:
    multiplexer = open_multiplexer("dialer")
    multiplexer.open_stream(POST)
    drain(multiplexer)
    multiplexer.send_data(1, bytes(50_000))
    multiplexer.open_stream(POST)
    multiplexer.next_message()
    multiplexer.reset_stream(1, ResetCode.CANCEL)
    assert [f.type for f in sent(multiplexer)] == [FrameType.RESET, FrameType.HEAD]


def test_no_frame_is_larger_than_the_peer_takes() -> None:
    multiplexer = open_multiplexer("dialer", remote={"max_frame": 1024})
    multiplexer.open_stream(POST)
    multiplexer.send_data(1, bytes(5000))
    multiplexer.send_end(1)
    found = sent(multiplexer)
    assert max(len(f.payload) for f in found) == 1024
    assert sum(len(f.payload) for f in found[1:]) + len(found[0].payload) == 5000 + len(POST_BYTES)
    assert [f.flags for f in found] == [0] * (len(found) - 1) + [END]


def test_body_bytes_wait_for_credit_and_say_so() -> None:
    multiplexer = open_multiplexer("dialer", remote={"initial_window": 16384})
    multiplexer.open_stream(POST)
    for _ in range(3):
        multiplexer.send_data(1, bytes(10_000))
    drain(multiplexer)
    assert multiplexer.buffered(1) == 30_000 - 16384
    multiplexer.reset_stream(1, ResetCode.CANCEL)
    assert multiplexer.buffered(1) == 0


def test_a_stream_that_was_never_announced_is_cut_without_a_word() -> None:
    multiplexer = open_multiplexer("dialer")
    multiplexer.open_stream(GET, end=True)
    multiplexer.reset_stream(1, ResetCode.CANCEL)
    assert sent(multiplexer) == []
    assert events(multiplexer) == [StreamClosed(1)]
    # Its number is not used again.
    assert multiplexer.open_stream(GET, end=True) == 3


def test_a_stream_is_announced_when_its_first_frame_is_taken() -> None:
    multiplexer = open_multiplexer("dialer")
    assert not multiplexer.has_output
    multiplexer.open_stream(GET, end=True)
    assert multiplexer.has_output
    assert not multiplexer.announced(1)
    drain(multiplexer)
    assert multiplexer.announced(1)
    assert not multiplexer.has_output
    multiplexer.receive_message(head(2, GET_BYTES))
    assert multiplexer.announced(2)


def test_an_end_without_a_body_leaves_alone_when_the_head_has_left() -> None:
    multiplexer = open_multiplexer("dialer")
    multiplexer.open_stream(POST)
    drain(multiplexer)
    multiplexer.send_data(1, b"")
    assert sent(multiplexer) == []
    multiplexer.send_end(1)
    assert sent(multiplexer) == [Frame(FrameType.DATA, END, 1, b"")]


def test_trailers_leave_behind_the_body() -> None:
    multiplexer = answering()
    multiplexer.send_head(1, OK)
    multiplexer.send_data(1, b"abc")
    multiplexer.send_end(1, [(b"X-Sum", b"3")])
    first, second = sent(multiplexer)
    assert (first.type, first.flags) == (FrameType.HEAD, 0)
    assert first.payload.endswith(b"\r\n\r\nabc")
    assert second == Frame(FrameType.HEAD, END, 1, b"X-Sum: 3\r\n\r\n")


def test_an_informational_head_is_a_frame_of_its_own() -> None:
    multiplexer = answering()
    multiplexer.send_head(1, ResponseHead(103, [(b"Link", b"</a>")]))
    multiplexer.send_head(1, OK)
    multiplexer.send_data(1, b"abc")
    multiplexer.send_end(1)
    hint, final = sent(multiplexer)
    assert hint.payload == b"HTTP/1.1 103 \r\nLink: </a>\r\n\r\n"
    assert hint.flags == 0
    assert (final.flags, final.payload) == (END, b"HTTP/1.1 200 \r\n\r\nabc")


def test_the_ids_of_both_roles() -> None:
    dialer, listener = open_multiplexer("dialer"), open_multiplexer("listener")
    assert [dialer.open_stream(GET, end=True) for _ in range(3)] == [1, 3, 5]
    assert [listener.open_stream(GET, end=True) for _ in range(3)] == [2, 4, 6]


# --- out: what this side may not do -------------------------------------------------------------


def _refused(act: Callable[[], object], multiplexer: Multiplexer) -> None:
    before = multiplexer.open_streams
    with pytest.raises(LocalProtocolError):
        act()
    assert drain(multiplexer) == []
    assert multiplexer.open_streams == before


def test_heads_that_are_refused_here() -> None:
    multiplexer = open_multiplexer("dialer")
    _refused(lambda: multiplexer.open_stream(RequestHead(b"GET", b"/", [])), multiplexer)
    large = RequestHead(b"GET", b"/", [HOST, (b"X", b"a" * 131072)])
    _refused(lambda: multiplexer.open_stream(large), multiplexer)
    multiplexer = answering()
    _refused(lambda: multiplexer.send_head(1, ResponseHead(200, [(b"X", b"a\n")])), multiplexer)
    _refused(
        lambda: multiplexer.send_head(1, ResponseHead(200, [(b"X", b"a" * 131072)])), multiplexer
    )
    _refused(lambda: multiplexer.send_head(1, SWITCH), multiplexer)
    multiplexer.send_head(1, OK)
    drain(multiplexer)
    _refused(lambda: multiplexer.send_head(1, OK), multiplexer)
    _refused(lambda: multiplexer.send_head(1, ResponseHead(100, [])), multiplexer)
    _refused(lambda: multiplexer.send_end(1, [(b"X", b"a" * 131072)]), multiplexer)


def test_bodies_that_are_refused_here() -> None:
    multiplexer = answering()
    _refused(lambda: multiplexer.send_data(1, b"x"), multiplexer)
    _refused(lambda: multiplexer.send_end(1), multiplexer)
    multiplexer.send_head(1, ResponseHead(200, [(b"Content-Length", b"3")]))
    multiplexer.send_data(1, b"ab")
    drain(multiplexer)
    _refused(lambda: multiplexer.send_data(1, b"cd"), multiplexer)


def test_an_end_that_comes_too_early_or_twice() -> None:
    multiplexer = answering()
    multiplexer.send_head(1, ResponseHead(200, [(b"Content-Length", b"3")]))
    drain(multiplexer)
    _refused(lambda: multiplexer.send_end(1), multiplexer)
    dialer = open_multiplexer("dialer")
    dialer.open_stream(GET, end=True)
    drain(dialer)
    _refused(lambda: dialer.send_end(1), dialer)
    _refused(lambda: dialer.send_data(1, b"x"), dialer)
    _refused(lambda: dialer.send_head(1, OK), dialer)


@pytest.mark.parametrize(("method", "status"), [(b"HEAD", 200), (b"GET", 204), (b"GET", 304)])
def test_no_body_where_none_may_be(method: bytes, status: int) -> None:
    multiplexer = answering(method)
    multiplexer.send_head(1, ResponseHead(status, [(b"Content-Length", b"3")]))
    drain(multiplexer)
    _refused(lambda: multiplexer.send_data(1, b"abc"), multiplexer)
    multiplexer.send_end(1)
    assert sent(multiplexer) == [Frame(FrameType.DATA, END, 1, b"")]


def test_nothing_follows_an_upgrade_before_its_answer() -> None:
    multiplexer = open_multiplexer("dialer")
    multiplexer.open_stream(UPGRADE, end=True)
    (frame,) = sent(multiplexer)
    assert frame.flags == 0
    _refused(lambda: multiplexer.send_data(1, b"x"), multiplexer)
    _refused(lambda: multiplexer.send_end(1), multiplexer)
    multiplexer.receive_message(head(1, b"HTTP/1.1 100 \r\n\r\n", end=False))
    _refused(lambda: multiplexer.send_data(1, b"x"), multiplexer)
    multiplexer.receive_message(head(1, b"HTTP/1.1 404 \r\n\r\n", end=False))
    assert sent(multiplexer) == [Frame(FrameType.DATA, END, 1, b"")]
    _refused(lambda: multiplexer.send_data(1, b"x"), multiplexer)


def test_what_is_sent_on_a_stream_that_is_over_is_swallowed() -> None:
    multiplexer = open_multiplexer("dialer")
    multiplexer.send_head(9, OK)
    multiplexer.send_data(9, b"x")
    multiplexer.send_end(9)
    multiplexer.consume(9, 5, 0.0)
    multiplexer.reset_stream(9, ResetCode.CANCEL)
    assert multiplexer.buffered(9) == 0
    assert drain(multiplexer) == []
    assert events(multiplexer) == []


def test_trailers_that_connection_names_stay_behind() -> None:
    named = (b"Connection", b"X-Hop")
    multiplexer = open_multiplexer("dialer")
    multiplexer.open_stream(RequestHead(b"POST", b"/", [HOST, named]))
    multiplexer.send_end(1, [(b"x-hop", b"1"), (b"X-End", b"2")])
    assert [f.payload for f in sent(multiplexer)] == [POST_BYTES, b"X-End: 2\r\n\r\n"]
    multiplexer = answering()
    multiplexer.send_head(1, ResponseHead(103, [(b"Connection", b"X-End"), (b"X-End", b"1")]))
    multiplexer.send_head(1, ResponseHead(200, [named, (b"X-Hop", b"1")]))
    multiplexer.send_end(1, [(b"X-Hop", b"1")])
    assert [(f.flags, f.payload) for f in sent(multiplexer)] == [
        (0, b"HTTP/1.1 103 \r\n\r\n"),
        (END, OK_BYTES),
    ]


def test_an_upgrade_leaves_behind_what_connection_names() -> None:
    named = [(b"Connection", b"Upgrade, X-Hop"), (b"X-Hop", b"1"), (b"Upgrade", b"x")]
    wish = b"Connection: upgrade\r\nUpgrade: x\r\n\r\n"
    multiplexer = open_multiplexer("dialer")
    multiplexer.open_stream(RequestHead(b"GET", b"/", [HOST, *named]))
    assert [f.payload for f in sent(multiplexer)] == [b"GET / HTTP/1.1\r\nHost: a\r\n" + wish]
    multiplexer = open_multiplexer("listener")
    multiplexer.receive_message(head(1, b"GET / HTTP/1.1\r\nHost: a\r\n" + wish, end=False))
    multiplexer.send_head(1, ResponseHead(101, named))
    assert [f.payload for f in sent(multiplexer)] == [b"HTTP/1.1 101 \r\n" + wish]


# --- out: a failure -----------------------------------------------------------------------------

BROKEN = b"\x00\x07broke"


def test_a_failure_comes_behind_what_was_sent() -> None:
    multiplexer = answering()
    multiplexer.send_head(1, ResponseHead(103, []))
    multiplexer.send_head(1, OK)
    multiplexer.send_data(1, b"xx")
    multiplexer.reset_stream(1, ResetCode.INTERNAL, "broke")
    multiplexer.send_data(1, b"too late")
    multiplexer.send_end(1)
    assert sent(multiplexer) == [
        Frame(FrameType.HEAD, 0, 1, b"HTTP/1.1 103 \r\n\r\n"),
        Frame(FrameType.HEAD, 0, 1, OK_BYTES + b"xx"),
        Frame(FrameType.RESET, 0, 1, BROKEN),
    ]
    assert events(multiplexer) == [StreamClosed(1)]
    assert multiplexer.open_streams == 0


def test_a_failure_waits_for_credit() -> None:
    multiplexer = open_multiplexer("listener", remote={"initial_window": 16384})
    multiplexer.receive_message(head(1, GET_BYTES))
    events(multiplexer)
    multiplexer.send_head(1, OK)
    multiplexer.send_data(1, bytes(20_000))
    multiplexer.reset_stream(1, ResetCode.INTERNAL, "broke")
    multiplexer.reset_stream(1, ResetCode.INTERNAL, "broke again")
    assert sum(len(f.payload) for f in sent(multiplexer)) == 16384 + len(OK_BYTES)
    assert events(multiplexer) == []
    multiplexer.receive_message(encode_frame(FrameType.WINDOW, 0, 1, b"\0\0\x40\0"))
    assert sent(multiplexer) == [
        Frame(FrameType.DATA, 0, 1, bytes(20_000 - 16384)),
        Frame(FrameType.RESET, 0, 1, BROKEN),
    ]
    assert events(multiplexer) == [StreamClosed(1)]


@pytest.mark.parametrize("patient", [False, True])
def test_what_waits_for_credit_can_be_given_up(patient: bool) -> None:
    multiplexer = open_multiplexer("listener", remote={"initial_window": 16384})
    multiplexer.receive_message(head(1, GET_BYTES))
    multiplexer.send_head(1, OK)
    multiplexer.send_data(1, bytes(20_000))
    drain(multiplexer)
    events(multiplexer)
    multiplexer.reset_stream(1, ResetCode.INTERNAL, "broke")
    if patient:
        multiplexer.give_up(1, ResetCode.TIMEOUT, "late", "request")
    else:
        multiplexer.reset_stream(1, ResetCode.CANCEL)
    (frame,) = sent(multiplexer)
    assert frame == Frame(FrameType.RESET, 0, 1, BROKEN if patient else b"\0\1")
    assert events(multiplexer) == [StreamClosed(1)]


def test_a_request_that_fails_arrives_as_far_as_it_was_made() -> None:
    multiplexer = open_multiplexer("dialer")
    multiplexer.open_stream(POST)
    multiplexer.send_data(1, b"parts")
    multiplexer.reset_stream(1, ResetCode.INTERNAL, "broke")
    assert sent(multiplexer) == [
        Frame(FrameType.HEAD, 0, 1, POST_BYTES + b"parts"),
        Frame(FrameType.RESET, 0, 1, BROKEN),
    ]


def test_a_failure_behind_a_whole_response_leaves_it_whole() -> None:
    multiplexer = open_multiplexer("listener")
    multiplexer.receive_message(head(1, POST_BYTES, end=False))
    multiplexer.send_head(1, OK)
    multiplexer.send_end(1, [(b"X-T", b"1")])
    multiplexer.reset_stream(1, ResetCode.INTERNAL, "broke")
    assert sent(multiplexer) == [
        Frame(FrameType.HEAD, 0, 1, OK_BYTES),
        Frame(FrameType.HEAD, END, 1, b"X-T: 1\r\n\r\n"),
        Frame(FrameType.RESET, 0, 1, b"\0\0"),
    ]


def test_what_comes_behind_a_failure_is_for_nobody_and_costs_no_credit() -> None:
    """A peer that cannot go on sending might not come to read what we have for it."""
    multiplexer = open_multiplexer("dialer", remote={"initial_window": 16384})
    multiplexer.open_stream(POST)
    multiplexer.send_data(1, bytes(20_000))
    drain(multiplexer)
    multiplexer.receive_message(head(1, OK_BYTES + bytes(9000), end=False))
    multiplexer.receive_message(data(1, bytes(9000)))
    assert len(events(multiplexer)) == 2  # the head, and bytes that nobody consumes
    multiplexer.receive_message(data(1, bytes(16384)))
    multiplexer.reset_stream(1, ResetCode.INTERNAL)
    (frame,) = sent(multiplexer)  # all of it is more than half of the window
    assert (frame.type, frame.payload) == (FrameType.WINDOW, (9000 * 2 + 16384).to_bytes(4, "big"))
    multiplexer.receive_message(data(1, bytes(1000)))
    multiplexer.receive_message(data(1, b"", end=True))
    multiplexer.consume(1, 18_000, 0.0)
    (frame,) = sent(multiplexer)
    assert (frame.type, frame.payload) == (FrameType.WINDOW, (1000).to_bytes(4, "big"))
    assert events(multiplexer) == []
    multiplexer.receive_message(encode_frame(FrameType.RESET, 0, 1, b"\0\0"))
    assert events(multiplexer) == [StreamClosed(1)]
    assert sent(multiplexer) == []


# --- in -----------------------------------------------------------------------------------------


def lines(count: int) -> bytes:
    return b"a:\r\n" * count + b"\r\n"


@pytest.mark.parametrize("size", [b"", b"b: " + b"v" * 5000 + b"\r\n"])
def test_a_request_with_too_many_fields(size: bytes) -> None:
    multiplexer = open_multiplexer("listener", Limits(max_fields=20))
    start = b"GET / HTTP/1.1\r\nHost: a\r\n" + size
    more = 19 - bool(size)
    multiplexer.receive_message(head(1, start + lines(more)))
    multiplexer.receive_message(head(3, start + lines(more + 1), end=False))
    found = events(multiplexer)
    assert [e.stream_id for e in found if isinstance(e, RequestReceived)] == [1]
    assert [e.limit for e in found if isinstance(e, StreamRejected)] == ["max_fields"]
    answer, reset = sent(multiplexer)
    assert answer.payload.startswith(b"HTTP/1.1 431 ")
    assert decode_reset(reset.payload)[0] == ResetCode.NO_ERROR


@pytest.mark.parametrize(
    ("heads", "fits"),
    [
        ([b"HTTP/1.1 200 \r\n" + lines(20)], True),
        ([b"HTTP/1.1 200 \r\n" + lines(21)], False),
        ([b"HTTP/1.1 103 \r\n" + lines(20), b"HTTP/1.1 200 \r\n" + lines(20)], True),
        ([b"HTTP/1.1 103 \r\n" + lines(21)], False),
        ([b"HTTP/1.1 103 \r\n" + lines(20)] * 3, False),
        ([b"HTTP/1.1 103 \r\n" + lines(0)] * 500, True),
        ([b"HTTP/1.1 200 \r\n" + lines(20), lines(20)], True),
        ([b"HTTP/1.1 200 \r\n" + lines(20), lines(21)], False),
        ([b"HTTP/1.1 103 \r\n" + lines(1), OK_BYTES[:-2] + lines(20), lines(20)], False),
    ],
)
def test_a_response_with_too_many_fields(heads: list[bytes], fits: bool) -> None:
    multiplexer = open_multiplexer("dialer", Limits(max_fields=20))
    multiplexer.open_stream(GET, end=True)
    drain(multiplexer)
    for one in heads:
        multiplexer.receive_message(head(1, one, end=one.startswith(b"a:")))
    failures = [e for e in events(multiplexer) if isinstance(e, StreamFailed)]
    if fits:
        assert failures == []
    else:
        assert [(e.code, e.limit) for e in failures] == [(ResetCode.TOO_LARGE, "max_fields")]


def test_a_complete_response_ends_an_incomplete_request() -> None:
    multiplexer = open_multiplexer("listener")
    multiplexer.receive_message(head(1, POST_BYTES, end=False))
    multiplexer.send_head(1, ResponseHead(413, []))
    multiplexer.send_end(1)
    answer, reset = sent(multiplexer)
    assert (answer.type, answer.flags) == (FrameType.HEAD, END)
    assert decode_reset(reset.payload) == (ResetCode.NO_ERROR, "")
    assert multiplexer.open_streams == 0
    multiplexer.receive_message(data(1, b"still under way", end=True))
    assert [type(e) for e in events(multiplexer)] == [RequestReceived, StreamClosed]


def test_stop_sending_drops_what_waits() -> None:
    multiplexer = open_multiplexer("dialer", remote={"initial_window": 16384})
    multiplexer.open_stream(POST)
    multiplexer.send_data(1, bytes(100_000))
    drain(multiplexer)
    multiplexer.receive_message(head(1, OK_BYTES))
    multiplexer.receive_message(encode_frame(FrameType.RESET, 0, 1, b"\0\0"))
    assert [type(e) for e in events(multiplexer)] == [
        ResponseReceived,
        EndReceived,
        StopSending,
        StreamClosed,
    ]
    assert multiplexer.buffered(1) == multiplexer.open_streams == 0
    assert drain(multiplexer) == []


def test_a_refusal_does_not_reach_the_app_and_is_told_to_the_log() -> None:
    multiplexer = open_multiplexer("listener", Limits(max_streams=1))
    multiplexer.receive_message(head(1, GET_BYTES))
    multiplexer.receive_message(head(3, GET_BYTES))
    multiplexer.receive_message(head(5, b"nonsense\r\n\r\n"))
    found = events(multiplexer)
    assert [e for e in found if isinstance(e, RequestReceived)] == [RequestReceived(1, GET)]
    assert [e.stream_id for e in found if isinstance(e, StreamRejected)] == [3, 5]
    assert multiplexer.open_streams == 1
    assert multiplexer.last_peer_stream_id == 5


def test_every_stream_that_was_reported_is_reported_closed_once() -> None:
    multiplexer = open_multiplexer("listener")
    multiplexer.receive_message(head(1, POST_BYTES, end=False))
    multiplexer.receive_message(head(3, GET_BYTES))
    multiplexer.receive_message(head(5, GET_BYTES))
    multiplexer.receive_message(data(1, bytes(20_000)))  # above max_frame
    multiplexer.receive_message(encode_frame(FrameType.RESET, 0, 3, b"\0\1"))
    multiplexer.reset_stream(5, ResetCode.INTERNAL)
    multiplexer.reset_stream(5, ResetCode.INTERNAL)
    found = events(multiplexer)
    assert sorted(e.stream_id for e in found if isinstance(e, StreamClosed)) == [1, 3, 5]
    failed = {e.stream_id: e for e in found if isinstance(e, StreamFailed)}
    assert (failed[1].code, failed[1].by_peer) == (ResetCode.PROTOCOL, False)
    assert (failed[3].code, failed[3].by_peer) == (ResetCode.CANCEL, True)
    assert 5 not in failed
    assert multiplexer.open_streams == 0


def test_goaway_closes_what_was_not_started_and_opening() -> None:
    multiplexer = open_multiplexer("dialer")
    for _ in range(3):
        multiplexer.open_stream(GET, end=True)
    drain(multiplexer)
    multiplexer.receive_message(encode_frame(FrameType.GOAWAY, 0, 0, b"\0\0\0\1\x03\xe9bye"))
    failed = [e for e in events(multiplexer) if isinstance(e, StreamFailed)]
    assert [(e.stream_id, e.code) for e in failed] == [
        (3, ResetCode.REFUSED),
        (5, ResetCode.REFUSED),
    ]
    assert not multiplexer.accepts_streams
    assert not multiplexer.can_open
    with pytest.raises(LocalProtocolError):
        multiplexer.open_stream(GET)
    # The other direction goes on.
    multiplexer.receive_message(head(2, GET_BYTES))
    assert [type(e) for e in events(multiplexer)] == [RequestReceived, EndReceived]


def test_goaway_is_sent_once_with_the_last_stream_that_was_started() -> None:
    multiplexer = open_multiplexer("listener")
    multiplexer.receive_message(head(5, GET_BYTES))
    multiplexer.send_goaway(CloseCode.GOING_AWAY, "restart")
    multiplexer.send_goaway(CloseCode.NORMAL)
    (frame,) = sent(multiplexer)
    assert frame == Frame(FrameType.GOAWAY, 0, 0, b"\0\0\0\5\x03\xe9restart")
    assert not multiplexer.accepts_streams


def test_no_goaway_before_the_handshake_is_done() -> None:
    multiplexer = make_multiplexer("listener")
    multiplexer.send_goaway(CloseCode.GOING_AWAY)
    assert drain(multiplexer) == []


def test_credit_is_not_returned_behind_the_end() -> None:
    multiplexer = open_multiplexer("listener")
    multiplexer.receive_message(head(1, POST_BYTES, end=False))
    for _ in range(4):
        multiplexer.receive_message(data(1, bytes(16384)))
    multiplexer.consume(1, 40_000, 0.0)
    assert [f.type for f in sent(multiplexer)] == [FrameType.WINDOW]
    multiplexer.receive_message(data(1, b"", end=True))
    multiplexer.consume(1, 25_536, 0.0)
    assert sent(multiplexer) == []


def test_windows_grow_for_a_reader_that_keeps_up() -> None:
    limits = Limits(initial_window=16384, max_window=65536, receive_budget=49152)
    multiplexer = open_multiplexer("listener", limits)
    multiplexer.round_trip = 1.0
    multiplexer.receive_message(head(1, POST_BYTES, end=False))
    credit, now = 16384, 0.0
    for _ in range(20):
        while credit:
            size = min(credit, 16384)
            multiplexer.receive_message(data(1, bytes(size)))
            credit -= size
            multiplexer.consume(1, size, now)
        now += 0.1
        credit += sum(int.from_bytes(f.payload, "big") for f in sent(multiplexer))
    assert credit == 65536
    assert not [e for e in events(multiplexer) if isinstance(e, StreamFailed)]


def test_a_stream_that_nobody_reads_does_not_hold_up_the_others() -> None:
    limits = Limits(initial_window=16384, max_window=65536, receive_budget=0)
    multiplexer = open_multiplexer("listener", limits)
    for stream_id in (1, 3, 5):
        multiplexer.receive_message(head(stream_id, POST_BYTES, end=False))
        multiplexer.receive_message(data(stream_id, bytes(16384)))
    multiplexer.consume(5, 16384, 0.0)
    assert [(f.type, f.stream_id) for f in sent(multiplexer)] == [(FrameType.WINDOW, 5)]
    multiplexer.receive_message(data(5, bytes(16384), end=True))
    assert not [e for e in events(multiplexer) if isinstance(e, StreamFailed)]


def test_a_peer_that_sends_much_and_reads_nothing_is_cut_off() -> None:
    multiplexer = open_multiplexer("listener", Limits(max_streams=0))
    with pytest.raises(RemoteProtocolError) as caught:
        for number in range(10_000):
            multiplexer.receive_message(head(2 * number + 1, GET_BYTES))
            events(multiplexer)
    assert caught.value.close_code == CloseCode.PROTOCOL_ERROR
    assert len(drain(multiplexer)) < 10_000


def test_a_peer_that_reads_may_go_on_for_ever() -> None:
    multiplexer = open_multiplexer("listener", Limits(max_streams=0))
    for number in range(10_000):
        multiplexer.receive_message(head(2 * number + 1, GET_BYTES))
        events(multiplexer)
        assert len(drain(multiplexer)) == 1


def test_the_budget_comes_back_when_streams_end() -> None:
    limits = Limits(initial_window=16384, max_window=32768, receive_budget=16384)
    multiplexer = open_multiplexer("listener", limits)
    multiplexer.round_trip = 1.0
    for number in range(3):
        stream_id = 2 * number + 1
        multiplexer.receive_message(head(stream_id, POST_BYTES, end=False))
        grown = 0
        for now in (0.0, 0.1):
            multiplexer.receive_message(data(stream_id, bytes(8192)))
            multiplexer.consume(stream_id, 8192, now)
            grown += sum(int.from_bytes(f.payload, "big") for f in sent(multiplexer)) - 8192
        assert grown == 16384, stream_id
        multiplexer.reset_stream(stream_id, ResetCode.CANCEL)
        drain(multiplexer)


def test_an_upgrade_carries_raw_bytes_and_both_ends() -> None:
    dialer, listener = open_multiplexer("dialer"), open_multiplexer("listener")
    dialer.open_stream(UPGRADE)
    for message in drain(dialer):
        listener.receive_message(message)
    listener.send_head(1, SWITCH)
    listener.send_data(1, b"first")
    for message in drain(listener):
        dialer.receive_message(message)
    assert [type(e) for e in events(dialer)] == [ResponseReceived, DataReceived]
    dialer.send_data(1, b"up")
    dialer.send_end(1)
    for message in drain(dialer):
        listener.receive_message(message)
    assert events(listener)[1:] == [DataReceived(1, b"up"), EndReceived(1)]
    # Half closed: the other direction goes on.
    listener.send_data(1, b"down")
    listener.send_end(1)
    for message in drain(listener):
        dialer.receive_message(message)
    assert events(dialer) == [DataReceived(1, b"down"), EndReceived(1), StreamClosed(1)]
    assert dialer.open_streams == listener.open_streams == 0


# --- arbitrary messages -------------------------------------------------------------------------

_HELLO = envelope("hello", {"version": 1})
_WELCOME = envelope("welcome", {"connection_id": CONNECTION_ID})
_READY = envelope("ready", {"connection_id": CONNECTION_ID})


def _dialer_waiting() -> Multiplexer:
    multiplexer = make_multiplexer("dialer")
    multiplexer.send_hello(None, None)
    return multiplexer


def _listener_asked() -> Multiplexer:
    multiplexer = make_multiplexer("listener")
    multiplexer.receive_message(_HELLO)
    return multiplexer


def _listener_waiting() -> Multiplexer:
    multiplexer = _listener_asked()
    multiplexer.send_welcome(CONNECTION_ID)
    return multiplexer


def _with_streams(role: str) -> Multiplexer:
    multiplexer = open_multiplexer(role, Limits(initial_window=16384, max_streams=4))
    for request in (POST, GET, UPGRADE):
        multiplexer.open_stream(request, end=request is GET)
    return multiplexer


_STATES: dict[str, Callable[[], Multiplexer]] = {
    "dialer, before hello": lambda: make_multiplexer("dialer"),
    "dialer, before welcome": _dialer_waiting,
    "listener, before hello": lambda: make_multiplexer("listener"),
    "listener, before its welcome": _listener_asked,
    "listener, before ready": _listener_waiting,
    "dialer": lambda: _with_streams("dialer"),
    "listener": lambda: _with_streams("listener"),
}

_texts = st.one_of(
    st.text(max_size=30),
    st.sampled_from([_HELLO, _WELCOME, _READY]),
    st.builds(
        envelope,
        st.sampled_from(["hello", "welcome", "ready", "data", "nothing", "nothing yet"]),
        st.dictionaries(
            st.sampled_from(["version", "name", "metadata", "settings", "connection_id"]),
            json_values | st.just(1) | st.just({}) | st.just(CONNECTION_ID),
        ),
    ),
)


@pytest.mark.parametrize("state", _STATES)
@given(messages=st.lists(st.one_of(frames, frames, st.binary(max_size=30), _texts), max_size=12))
def test_arbitrary_messages_raise_only_the_documented_error(
    state: str, messages: list[str | bytes]
) -> None:
    multiplexer = _STATES[state]()
    for message in messages:
        code = close_code(partial(multiplexer.receive_message, message))
        _react(multiplexer)
        if code is not None:
            assert code in (4000, 4002)
            break
    for stream_id in range(10):
        multiplexer.reset_stream(stream_id, ResetCode.INTERNAL)


def _react(multiplexer: Multiplexer) -> None:
    """An app that answers whatever it can: a peer's bytes never make its calls an error."""
    for event in events(multiplexer):
        if isinstance(event, RequestReceived):
            upgrade = event.head.upgrade is not None
            multiplexer.send_head(event.stream_id, SWITCH if upgrade else OK)
            if event.head.method != b"HEAD":
                multiplexer.send_data(event.stream_id, b"x" * 100)
            if event.stream_id % 4:
                multiplexer.send_end(event.stream_id)
        elif isinstance(event, DataReceived):
            multiplexer.consume(event.stream_id, len(event.data), 0.0)
    drain(multiplexer)


def test_small_pieces_are_joined_across_streams() -> None:
    """Credit counts bytes; a peer shall not make many objects of few bytes."""
    multiplexer = open_multiplexer("listener")
    request = b"POST / HTTP/1.1\r\nHost: a\r\n\r\n"
    for stream_id in (1, 3, 5):
        multiplexer.receive_message(head(stream_id, request, end=False))
    events(multiplexer)
    for _ in range(1000):
        for stream_id in (1, 3, 5):
            multiplexer.receive_message(data(stream_id, b"ab"))
    multiplexer.receive_message(data(3, b"", end=True))
    told = events(multiplexer)
    assert len(told) < 12
    for stream_id in (1, 3, 5):
        pieces = [e.data for e in told if isinstance(e, DataReceived) and e.stream_id == stream_id]
        assert b"".join(pieces) == b"ab" * 1000
    ends = [at for at, e in enumerate(told) if isinstance(e, EndReceived)]
    assert all(e.stream_id != 3 for e in told[ends[0] + 1 :] if isinstance(e, DataReceived))


# --- the scheme ---------------------------------------------------------------------------------

ODD = (b"X_Y", b"\xff")  # a head with it is not plain


@pytest.mark.parametrize("fields", [[HOST], [HOST, ODD]], ids=["plain", "odd"])
@pytest.mark.parametrize(("scheme", "flags"), [(None, 0), ("https", 2), ("http", 4)])
def test_the_scheme_is_a_flag_of_the_first_frame_alone(
    fields: list[tuple[bytes, bytes]], scheme: str | None, flags: int
) -> None:
    multiplexer = open_multiplexer("dialer")
    multiplexer.open_stream(RequestHead(b"POST", b"/", fields, scheme))
    (opening,) = sent(multiplexer)
    multiplexer.send_data(1, b"x")
    multiplexer.send_end(1, [(b"X-Sum", b"1")])
    assert [opening.flags, *(frame.flags for frame in sent(multiplexer))] == [flags, 0, END]
    peer = open_multiplexer("listener")
    peer.receive_message(encode_frame(*opening))
    assert events(peer) == [RequestReceived(1, RequestHead(b"POST", b"/", fields, scheme))]


def test_two_schemes_are_none() -> None:
    multiplexer = open_multiplexer("listener")
    multiplexer.receive_message(encode_frame(FrameType.HEAD, 0xFF, 1, GET_BYTES))
    assert events(multiplexer) == [RequestReceived(1, GET), EndReceived(1)]


def test_a_scheme_that_cannot_be_told_is_not_sent() -> None:
    multiplexer = open_multiplexer("dialer")
    _refused(lambda: multiplexer.open_stream(RequestHead(b"GET", b"/", [HOST], "ftp")), multiplexer)
