"""The table of states of spec/protocol.md, section 9.3, cell by cell, as the module keeps it."""

from __future__ import annotations

import itertools

import pytest

from restsock.protocol._flow import Budget, ReceiveWindow
from restsock.protocol._stream import Half, HalfState, Part, Stream

H, B, R, D = HalfState.HEAD, HalfState.BODY, HalfState.RAW, HalfState.DONE
HELD, EMPTY = HalfState.HELD, HalfState.EMPTY

ALLOWED = {
    (H, Part.INTERIM_HEAD): H,
    (H, Part.SWITCH_HEAD): R,
    (H, Part.HEAD): B,
    (H, Part.UPGRADE_HEAD): HELD,
    (HELD, Part.SWITCHED): R,
    (HELD, Part.DECLINED): EMPTY,
    (EMPTY, Part.END): D,
    (B, Part.DATA): B,
    (B, Part.TRAILERS): D,
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


@pytest.mark.parametrize("state", HalfState)
def test_bytes_and_ends_keep_to_the_table(state: HalfState) -> None:
    half = Half()
    half.state = state
    assert (half.add(1) is None) is ((state, Part.DATA) in ALLOWED)
    assert half.state is state
    half.length = None
    assert (half.advance(Part.END) is None) is ((state, Part.END) in ALLOWED)


def body(length: int | None = None) -> Half:
    half = Half()
    half.advance(Part.HEAD)
    half.length = length
    return half


def test_a_body_is_held_against_its_content_length() -> None:
    half = body(3)
    assert half.add(2) is None
    assert half.advance(Part.END) is not None
    assert half.advance(Part.TRAILERS) is not None
    assert half.state is B
    assert half.add(1) is None
    assert half.add(1) is not None
    assert half.advance(Part.END) is None
    assert half.state is D


def test_without_content_length_any_body_is_right() -> None:
    half = body()
    assert half.add(10**6) is None
    assert half.advance(Part.END) is None
    assert body().advance(Part.END) is None


def make(*, local: bool = True, method: bytes = b"GET", upgrade: bool = False) -> Stream:
    return Stream(
        1,
        local=local,
        method=method,
        length=0 if upgrade else None,
        upgrade=upgrade,
        credit=1,
        receive_window=ReceiveWindow(1, 1, Budget(0)),
    )


def test_a_half_is_sent_when_its_end_has_been_taken() -> None:
    stream = make()
    stream.out.append((False, b"xy"))
    assert stream.finish() is None
    assert stream.sending.state is HalfState.DONE
    assert not stream.sent
    assert stream.take(100) == (False, [b"x"], False)  # all the credit there is
    assert not stream.sent
    stream.add_credit(1)
    assert stream.take(100) == (False, [b"y"], True)
    assert stream.sent


def halves(stream: Stream) -> tuple[Half, Half]:
    """The request half, the response half."""
    halves = (stream.sending, stream.receiving)
    return halves if stream.local else (halves[1], halves[0])


@pytest.mark.parametrize("local", [True, False])
def test_an_upgrade_is_held_until_its_answer(local: bool) -> None:
    assert halves(make(local=local))[0].state is B
    for status, state in ((101, R), (200, EMPTY), (404, EMPTY)):
        stream = make(local=local, upgrade=True)
        request, response = halves(stream)
        assert request.state is HELD
        assert stream.answer(103, None) is None
        assert request.state is HELD
        assert stream.answer(status, None) is None
        assert request.state is state
        assert response.state is (R if status == 101 else B)
        assert stream.answer(101, None) is not None
        assert stream.answer(200, None) is not None
        assert request.state is state


@pytest.mark.parametrize("local", [True, False])
def test_raw_bytes_have_no_length(local: bool) -> None:
    stream = make(local=local, upgrade=True)
    stream.answer(101, None)
    for half in halves(stream):
        assert half.add(100) is None
        assert half.advance(Part.END) is None


@pytest.mark.parametrize("local", [True, False])
def test_who_asks_for_no_upgrade_gets_none(local: bool) -> None:
    stream = make(local=local)
    assert stream.answer(101, None) is not None
    assert [half.state for half in halves(stream)] == [B, H]


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
def test_where_no_body_may_be_content_length_only_describes(
    method: bytes, status: int, bodiless: bool
) -> None:
    stream = make(method=method)
    assert stream.answer(status, 3) is None
    assert (stream.receiving.add(3) is not None) is bodiless
    assert stream.receiving.advance(Part.END) is None


def test_a_frame_takes_what_room_and_credit_allow() -> None:
    stream = make()
    stream.add_credit(9)
    stream.out.extend([(True, b"HEAD"), (False, b"0123456789"), (False, b"abc"), (True, b"TAIL")])
    stream.out_bytes = 13
    stream.out_end = True
    assert stream.take(7) == (True, [b"HEAD", b"012"], False)
    assert stream.take(7) == (False, [b"3456789"], False)
    assert stream.take(7) is None
    stream.add_credit(100)
    assert stream.take(7) == (False, [b"abc"], False)
    assert stream.out_bytes == 0
    # Neither a head nor an end needs credit, and a head may be longer than a frame.
    stream.credit = 0
    assert stream.take(2) == (True, [b"TAIL"], True)
    assert stream.take(7) is None


def test_credit_adds_up_to_the_limit() -> None:
    stream = make()
    assert stream.add_credit(14) is None
    assert stream.credit == 15
    assert stream.add_credit(2**31 - 1 - 15) is None
    assert stream.add_credit(1) is not None
    assert stream.credit == 2**31 - 1
