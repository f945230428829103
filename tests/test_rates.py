"""Buckets of tokens, by a clock that the test moves."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from restsock._rates import Buckets, rate_of, whole_seconds

TIMES = st.lists(st.floats(0, 20, allow_nan=False), max_size=60)


@given(
    steps=TIMES,
    per_second=st.floats(0.01, 100),
    burst=st.floats(1, 20),
)
def test_there_are_never_more_than_the_burst_and_what_has_come_since(
    steps: list[float], per_second: float, burst: float
) -> None:
    buckets, now = Buckets(per_second, burst), 0.0
    taken: list[float] = []
    for step in steps:
        now += step
        while len(taken) < 500:
            wait = buckets.take("a", now)
            assert wait == buckets.wait("a", now) or not wait
            if wait:
                break
            taken.append(now)
        for start, since in enumerate(taken):  # in any span of time, not only from the beginning
            number = len(taken) - start
            assert number <= burst + per_second * (now - since) + 1e-3


@given(steps=TIMES, per_second=st.floats(0.1, 100), burst=st.floats(1, 20))
def test_after_the_wait_that_was_told_there_is_one(
    steps: list[float], per_second: float, burst: float
) -> None:
    buckets, now = Buckets(per_second, burst), 0.0
    for step in steps:
        now += step
        wait = buckets.take("a", now)
        if wait:
            now += wait
            assert buckets.take("a", now) == 0


def test_a_quiet_key_has_its_burst_and_no_more() -> None:
    buckets = Buckets(2, 3)
    assert [buckets.take("a", 0.0) for _ in range(4)] == [0, 0, 0, 0.5]
    assert [buckets.take("a", 1000.0) for _ in range(4)] == [0, 0, 0, 0.5]


def test_keys_that_are_full_again_are_forgotten() -> None:
    buckets = Buckets(1, 1)
    for number in range(100):
        buckets.take(number, 0.0)
    assert len(buckets) == 100
    for number in range(60):
        buckets.take("other", 10.0 + number)
    assert len(buckets) == 1


def test_no_more_keys_are_known_than_may_be() -> None:
    buckets = Buckets(1, 1, most=10)
    for number in range(1000):
        buckets.take(number, 0.0)
    assert len(buckets) == 10
    assert buckets.take(999, 0.0) == 1


@pytest.mark.parametrize(
    ("text", "per_second", "burst"), [("50/s", 50, 50), ("30/m", 0.5, 30), ("0.5/s", 0.5, 1)]
)
def test_a_rate_as_text(text: str, per_second: float, burst: float) -> None:
    assert rate_of(text) == (per_second, burst)


def test_whole_seconds_are_never_too_few() -> None:
    assert [whole_seconds(each) for each in (0, 0.1, 1, 1.0000000000001, 1.4, 60)] == [
        *(0, 1, 1, 1, 2, 60)
    ]
