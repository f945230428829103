"""StreamTable: which frames leave, in which order, and how streams end before their time."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from restsock.protocol import (
    DataReceived,
    EndReceived,
    Multiplexer,
    RequestHead,
    ResetCode,
    ResponseHead,
    ResponseReceived,
    StreamClosed,
)
from restsock.protocol._frames import (
    END,
    Frame,
    FrameType,
    decode_frame,
    encode_frame,
)
from tests.protocol.by_hand import (
    GET,
    GET_BYTES,
    HOST,
    OK,
    OK_BYTES,
    POST,
    POST_BYTES,
    answering,
    data,
    head,
    sent,
)
from tests.protocol.vectors import (
    drain,
    events,
    open_multiplexer,
)


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


def test_a_stream_that_is_alone_fills_the_frames_of_the_peer() -> None:
    multiplexer = open_multiplexer("dialer", remote={"max_frame": 65536, "initial_window": 1 << 20})
    multiplexer.open_stream(POST)
    drain(multiplexer)
    multiplexer.send_data(1, bytes(140_000))
    assert [len(f.payload) for f in sent(multiplexer)] == [65536, 65536, 140_000 - 131072]


def test_company_makes_frames_small_from_the_next_one_on() -> None:
    multiplexer = open_multiplexer("dialer", remote={"max_frame": 65536, "initial_window": 1 << 20})
    for _ in range(2):
        multiplexer.open_stream(POST)
    drain(multiplexer)
    multiplexer.send_data(1, bytes(200_000))
    sizes = [len(next_frame(multiplexer).payload)]
    multiplexer.send_data(3, bytes(20_000))
    found = [next_frame(multiplexer) for _ in range(5)]
    assert [(f.stream_id, len(f.payload)) for f in found] == [
        (1, 16384),
        (3, 16384),
        (1, 16384),
        (3, 20_000 - 16384),
        (1, 65536),
    ]
    assert sizes == [65536]


def next_frame(multiplexer: Multiplexer) -> Frame:
    message = multiplexer.next_message()
    assert isinstance(message, tuple)
    return decode_frame(b"".join(message))


class Waiting:
    """What a stream has to send, as it is seen from outside."""

    def __init__(self, credit: int) -> None:
        self.size = 0
        self.credit = credit


@given(
    max_frame=st.sampled_from([1024, 16384, 20_000, 65536]),
    acts=st.lists(
        st.tuples(st.integers(0, 2), st.sampled_from(["data", "credit", "frame", "frame"])).flatmap(
            lambda act: st.tuples(st.just(act), st.integers(1, 100_000))
        ),
        max_size=60,
    ),
)
def test_a_frame_is_as_large_as_peer_credit_and_company_let_it_be(
    max_frame: int, acts: list[tuple[tuple[int, str], int]]
) -> None:
    """Alone: as much as there is. With company: 16 KiB at most. Never above frame and credit."""
    window = 65536
    remote = {"max_frame": max_frame, "initial_window": window}
    multiplexer = open_multiplexer("dialer", remote=remote)
    streams = {multiplexer.open_stream(POST): Waiting(window) for _ in range(3)}
    drain(multiplexer)

    def take() -> bool:
        message = multiplexer.next_message()
        if message is None:
            assert not any(w.size and w.credit for w in streams.values())
            return False
        assert isinstance(message, tuple)
        frame = decode_frame(b"".join(message))
        mine, size = streams[frame.stream_id], len(frame.payload)
        others = [w for w in streams.values() if w is not mine and w.size]
        assert size <= min(max_frame, mine.credit)
        if not others:
            assert size == min(max_frame, mine.credit, mine.size)
        elif any(w.credit for w in others):
            assert size == min(max_frame, mine.credit, mine.size, 16384)
        mine.size -= size
        mine.credit -= size
        return True

    for (number, act), amount in acts:
        stream_id = 2 * number + 1
        if act == "data":
            multiplexer.send_data(stream_id, bytes(amount))
            streams[stream_id].size += amount
        elif act == "credit":
            credit = encode_frame(FrameType.WINDOW, 0, stream_id, amount.to_bytes(4, "big"))
            multiplexer.receive_message(credit)
            streams[stream_id].credit += amount
        else:
            take()
    while take():
        pass
    for stream_id, waiting in streams.items():
        assert multiplexer.buffered(stream_id) == waiting.size


def test_body_bytes_wait_for_credit_and_say_so() -> None:
    multiplexer = open_multiplexer("dialer", remote={"initial_window": 16384})
    multiplexer.open_stream(POST)
    for _ in range(3):
        multiplexer.send_data(1, bytes(10_000))
    drain(multiplexer)
    assert multiplexer.buffered(1) == 30_000 - 16384
    multiplexer.reset_stream(1, ResetCode.CANCEL)
    assert multiplexer.buffered(1) == 0


def test_a_stream_that_was_never_announced_is_closed_silently() -> None:
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


def test_trailers_are_sent_after_the_body() -> None:
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


# --- out: a failure -----------------------------------------------------------------------------

BROKEN = b"\x00\x07broke"


def test_a_failure_comes_after_what_was_sent() -> None:
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
