"""Credit: it comes back on consumption, grows for readers that keep up, and is bounded."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from restsock._buffered import Buffered
from restsock.protocol._flow import Budget, ReceiveWindow

KIB = 1024


def test_bytes_above_the_credit_are_not_taken() -> None:
    window = ReceiveWindow(10, 10, Budget(0))
    assert window.receive(6)
    assert not window.receive(5)
    assert window.receive(4)
    assert window.held == 10
    assert not window.receive(1)


def test_credit_comes_back_by_halves() -> None:
    window = ReceiveWindow(100, 100, Budget(0))
    assert window.receive(100)
    assert window.consume(49, 0.0, None) == 0
    assert window.consume(1, 0.0, None) == 50
    assert window.consume(50, 0.0, None) == 50
    assert window.receive(100)


def test_a_window_grows_when_half_is_used_within_two_round_trips() -> None:
    budget = Budget(1000)
    window = ReceiveWindow(100, 400, budget)
    now = 0.0
    sizes = []
    for _ in range(6):
        assert window.receive(window.size // 2)
        window.consume(window.size // 2, now, 1.0)
        now += 1.9
        sizes.append(window.size)
    # The first time there is nothing to measure from; then it doubles up to its maximum.
    assert sizes == [100, 200, 400, 400, 400, 400]
    assert budget.left == 700
    window.close()
    assert budget.left == 1000
    window.close()
    assert budget.left == 1000


@pytest.mark.parametrize(
    ("gap", "round_trip"),
    [(2.0, 1.0), (0.1, None)],
    ids=["slow reader", "unknown round trip"],
)
def test_a_window_does_not_grow(gap: float, round_trip: float | None) -> None:
    window = ReceiveWindow(100, 400, Budget(1000))
    assert window.receive(50)
    window.consume(50, 0.0, round_trip)
    assert window.receive(100)
    assert window.consume(50, gap, round_trip) == 50
    assert window.size == 100


def test_growth_ends_with_the_budget_and_initial_windows_do_not_come_out_of_it() -> None:
    budget = Budget(50)
    grown = ReceiveWindow(100, 400, budget)
    for now in (0.0, 0.1):
        assert grown.receive(50)
        grown.consume(50, now, 1.0)
    assert (grown.size, budget.left) == (150, 0)
    other = ReceiveWindow(100, 400, budget)
    assert other.receive(100)
    assert other.consume(100, 0.0, 1.0) == 100


@given(
    st.integers(1, 200),
    st.integers(0, 500),
    st.lists(st.tuples(st.booleans(), st.integers(0, 80), st.floats(0, 3)), max_size=60),
)
def test_the_peer_never_stalls_and_never_overfills(
    initial: int, spare: int, steps: list[tuple[bool, int, float]]
) -> None:
    budget = Budget(spare)
    window = ReceiveWindow(initial, 1000, budget)
    credit = initial  # what the peer believes
    now = 0.0
    for receive, nbytes, pause in steps:
        now += pause
        if receive:
            nbytes = min(nbytes, credit)
            assert window.receive(nbytes)
            credit -= nbytes
        else:
            credit += window.consume(min(nbytes, window.held), now, 1.0)
        assert not window.receive(credit + 1)
        assert 0 <= window.held <= window.size <= 1000 + initial
        assert window.size - initial == spare - budget.left
    credit += window.consume(window.held, now, 1.0)
    assert credit * 2 >= window.size or credit > window.size // 2 or window.size == 1
    window.close()
    assert budget.left == spare


def test_no_window_grows_while_all_connections_hold_too_much() -> None:
    common = Buffered(200)
    others = Budget(0, common)
    budget = Budget(1000, common)
    window = ReceiveWindow(100, 400, budget)

    def read_half(now: float) -> int:
        assert window.receive(50)
        return window.consume(50, now, 1.0)

    assert read_half(0.0) == 50
    others.hold(200)
    assert read_half(0.1) == 50
    others.hold(-1)
    assert read_half(0.2) == 50 + 100
    assert window.size == 200


def test_who_holds_at_least_an_even_share() -> None:
    common = Buffered(100)
    one, two, three = (Budget(0, common) for _ in range(3))
    one.hold(60)
    two.hold(39)
    assert not one.overdrawn  # there is room yet
    two.hold(1)
    assert (common.total, common.holders) == (100, 2)
    assert one.overdrawn
    assert not two.overdrawn  # 40 of 50
    assert not three.overdrawn
    two.hold(10)
    assert two.overdrawn
    one.close()
    one.close()
    one.hold(500)
    assert (common.total, common.holders) == (50, 1)
    two.hold(-50)
    assert (common.total, common.holders) == (0, 0)


def test_nothing_is_counted_for_nobody() -> None:
    budget = Budget(10)
    budget.hold(5)
    assert budget.may_grow
    assert not budget.overdrawn
    budget.close()
