"""How many requests a caller may make, by a clock that the test moves."""

from __future__ import annotations

import pytest

from restsock.ingress._rates import Rate


def test_so_many_at_once_and_then_as_they_come() -> None:
    rate = Rate("2/s")
    assert [rate.take("a", 0.0) for _ in range(3)] == [None, None, 1]
    assert rate.take("a", 0.4) == 1
    assert rate.take("a", 0.5) is None
    assert rate.take("a", 0.5) == 1
    assert [rate.take("a", 100.0) for _ in range(3)] == [None, None, 1]


def test_each_caller_has_its_own() -> None:
    rate = Rate("1/m")
    assert rate.take("a", 0.0) is None
    assert rate.take("b", 0.0) is None
    assert rate.take("a", 0.0) == 60
    assert rate.take("a", 59.0) == 1
    assert rate.take("b", 60.0) is None


def test_looking_takes_nothing() -> None:
    rate = Rate("1/m")
    assert rate.wait("a", 0.0) == 0
    assert rate.wait("a", 0.0) == 0
    rate.take("a", 0.0)
    assert rate.wait("a", 30.0) == 30
    assert rate.wait("a", 60.0) == 0


def test_a_rate_below_one_a_unit() -> None:
    rate = Rate("0.5/s")
    assert rate.take("a", 0.0) is None
    assert rate.take("a", 1.0) == 1
    assert rate.take("a", 2.0) is None


def test_callers_that_are_known_have_a_bound() -> None:
    rate = Rate("1/h")
    for number in range(20_000):
        assert rate.take(str(number), 0.0) is None
    assert len(rate) == 10_000
    assert rate.take("19999", 0.0) == 3600


@pytest.mark.parametrize("text", ["", "50", "50/d", "0/s", "-1/s", "1e3/s", "50 /s", "nan/s", "/s"])
def test_what_is_no_rate(text: str) -> None:
    with pytest.raises(ValueError, match="not a rate"):
        Rate(text)
