"""The shape of a binary message."""

from __future__ import annotations

import pytest

from restsock.codecs._bounds import Bounds
from restsock.codecs._shape import Shape
from tests.codecs.values import kind_of


def shape(size: int = 100, **bounds: int) -> Shape:
    return Shape(Bounds(**bounds), size)


def test_it_is_done_after_one_value() -> None:
    one = shape(1)
    one.scalar(1)
    assert one.done
    one.finish(1)
    assert kind_of(lambda: one.finish(0)) == "malformed"


def test_lists_and_mappings_are_done_with_their_last_value() -> None:
    one = shape()
    one.begin(1, 2, keyed=False)
    one.begin(2, 1, keyed=True)
    one.scalar(3, may_be_key=True)
    one.begin(4, 0, keyed=False)
    assert not one.done
    one.scalar(5)
    assert one.done


def test_what_has_no_length_is_done_with_its_end() -> None:
    one = shape()
    one.begin(1, None, keyed=True)
    one.scalar(2, may_be_key=True)
    assert kind_of(one.end) == "malformed"  # the key has no value
    one.begin(3, None, keyed=False)
    one.end()
    assert not one.done
    one.end()
    assert one.done


@pytest.mark.parametrize("keyed", [False, True])
def test_an_end_of_what_has_a_length(keyed: bool) -> None:
    one = shape()
    assert kind_of(one.end) == "malformed"
    one.begin(1, 2, keyed=keyed)
    assert kind_of(one.end) == "malformed"


def test_nothing_announces_more_than_can_follow() -> None:
    assert kind_of(lambda: shape(10).begin(1, 10, keyed=False)) == "truncated"
    assert kind_of(lambda: shape(10).begin(1, 5, keyed=True)) == "truncated"
    assert kind_of(lambda: shape(10).begin(11, 0, keyed=True)) == "truncated"
    assert kind_of(lambda: shape(10).scalar(11)) == "truncated"
    shape(10).begin(1, 9, keyed=False)


def test_keys_are_what_may_be_one() -> None:
    one = shape()
    one.begin(1, 1, keyed=True)
    assert kind_of(lambda: one.scalar(2)) == "unsupported"
    assert kind_of(lambda: one.begin(2, 0, keyed=False)) == "unsupported"
    one.scalar(2, may_be_key=True)
    one.scalar(3)
    assert one.done


def test_bounds() -> None:
    assert kind_of(lambda: shape(max_items=3).begin(1, 3, keyed=False)) == "too_many"
    endless = shape(max_items=3)
    endless.begin(1, None, keyed=False)
    endless.scalar(2)
    endless.scalar(3)
    assert kind_of(lambda: endless.scalar(4)) == "too_many"
    one = shape(max_depth=1)
    one.begin(1, 2, keyed=False)
    assert kind_of(lambda: one.begin(1, 0, keyed=False)) == "too_deep"
