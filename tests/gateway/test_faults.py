"""`Faults`: how a client is slowed down, and when it is closed. Time is a number here."""

from __future__ import annotations

import math

from restsock.gateway._faults import Faults


def test_the_first_ones_hold_up_nothing() -> None:
    faults = Faults()
    assert not any(faults.note(100.0, 100) for _ in range(10))
    assert faults.until == -math.inf


def test_each_further_one_costs_half_a_second() -> None:
    faults = Faults()
    for _ in range(13):
        faults.note(100.0, 100)
    assert faults.until == 101.5
    faults.note(101.0, 100)
    assert faults.until == 102.0


def test_one_is_forgotten_each_second() -> None:
    faults = Faults()
    assert not any(faults.note(float(now), 1) for now in range(1000))
    assert faults.until == -math.inf
    assert faults.note(999.5, 1)


def test_whoever_waits_in_between_is_closed_all_the_same() -> None:
    """At two faults a second one more is added each second: behind 90 of these it is over."""
    faults, now = Faults(), 0.0
    while not faults.note(now, 100):
        now = max(now, faults.until)
    assert 85 < now < 95


def test_more_than_too_many_are_no_more_than_that() -> None:
    faults = Faults()
    assert [faults.note(0.0, 2) for _ in range(50)] == [False] * 2 + [True] * 48
    assert not faults.note(1.5, 2)
