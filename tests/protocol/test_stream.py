"""The table of states of spec/protocol.md, section 9.3, cell by cell, as the module keeps it."""

from __future__ import annotations

import itertools

import pytest

from restsock.protocol._flow import Budget, ReceiveWindow, SendWindow
from restsock.protocol._stream import Half, HalfState, Part, Stream

H, B, R, D = HalfState.HEAD, HalfState.BODY, HalfState.RAW, HalfState.DONE

ALLOWED = {
    (H, Part.INTERIM_HEAD): H,
    (H, Part.SWITCH_HEAD): R,
    (H, Part.HEAD): B,
    (B, Part.DATA): B,
    (B, Part.TRAILERS): B,
    (B, Part.END): D,
    (R, Part.DATA): R,
    (R, Part.END): D,
}


@pytest.mark.parametrize(("state", "part"), list(itertools.product(HalfState, Part)))
def test_every_cell(state: HalfState, part: Part) -> None:
    half = Half()
    half.state = state
    problem = half.advance(part)
    if (state, part) in ALLOWED:
        assert problem is None
        assert half.state is ALLOWED[state, part]
    else:
        assert problem is not None
        assert part.value in problem
        assert half.state is state


def test_a_body_is_held_against_its_content_length() -> None:
    half = Half()
    half.expect([(b"content-length", b"3")])
    assert half.count(2) is None
    assert half.complete() is not None
    assert half.count(1) is None
    assert half.complete() is None
    assert half.count(1) is not None


def test_without_content_length_any_body_is_right() -> None:
    half = Half()
    half.expect([])
    assert half.complete() is None
    assert half.count(10**6) is None
    assert half.complete() is None


def test_where_no_body_may_be_content_length_only_describes() -> None:
    half = Half()
    half.expect([(b"Content-Length", b"3")], bodiless=True)
    assert half.complete() is None
    assert half.count(1) is not None


def test_raw_bytes_have_no_length() -> None:
    half = Half()
    half.expect([(b"Content-Length", b"0")])
    half.switch()
    assert half.state is HalfState.RAW
    assert half.count(100) is None
    assert half.complete() is None


def make(*, local: bool = True, method: bytes = b"GET", upgrade: bool = False) -> Stream:
    return Stream(
        1,
        local=local,
        method=method,
        upgrade=upgrade,
        send_window=SendWindow(1),
        receive_window=ReceiveWindow(1, 1, Budget(0)),
    )


def test_a_half_is_sent_when_its_queue_is_empty() -> None:
    stream = make()
    assert not stream.sent
    stream.sending.state = HalfState.DONE
    assert stream.sent
    stream.out.append((False, b"x"))
    assert not stream.sent
    stream.out.clear()
    stream.out_end = True
    assert not stream.sent
    stream.out_end = False
    assert not stream.done
    stream.receiving.state = HalfState.DONE
    assert stream.done


@pytest.mark.parametrize("local", [True, False])
def test_an_upgrade_is_held_until_its_answer(local: bool) -> None:
    assert not make(local=local).held
    stream = make(local=local, upgrade=True)
    assert stream.held
    answer = stream.receiving if local else stream.sending
    answer.advance(Part.INTERIM_HEAD)
    assert stream.held
    answer.advance(Part.HEAD)
    assert not stream.held


@pytest.mark.parametrize(
    ("method", "status", "bodiless"),
    [
        (b"GET", 200, False),
        (b"HEAD", 200, True),
        (b"HEAD", 404, True),
        (b"GET", 204, True),
        (b"GET", 304, True),
        (b"GET", 205, False),
    ],
)
def test_responses_without_a_body(method: bytes, status: int, bodiless: bool) -> None:
    assert make(method=method).bodiless(status) is bodiless


def test_a_frame_takes_what_room_and_credit_allow() -> None:
    stream = make()
    stream.send_window.add(9)
    stream.out.extend([(True, b"HEAD"), (False, b"0123456789"), (False, b"abc"), (True, b"TAIL")])
    stream.out_bytes = 13
    stream.out_end = True
    assert stream.take(7) == (True, b"HEAD012", False)
    assert stream.take(7) == (False, b"3456789", False)
    assert stream.take(7) is None
    stream.send_window.add(100)
    assert stream.take(7) == (False, b"abc", False)
    assert stream.out_bytes == 0
    # Neither a head nor an end needs credit, and a head may be longer than a frame.
    stream.send_window.credit = 0
    assert stream.take(2) == (True, b"TAIL", True)
    assert stream.take(7) is None
