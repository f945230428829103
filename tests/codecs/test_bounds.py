"""Bounds of messages, and checks of options."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings

from restsock.codecs._bounds import Bounds, check_trees, flag, lines_of, one_of, text_of, whole
from tests.codecs.values import count, error_of, json_values, kind_of


@settings(deadline=None)
@given(json_values)
def test_values_and_keys_are_counted(value: Any) -> None:
    items = count([value])
    check_trees([value], Bounds(max_items=items))
    if items > 1:
        assert kind_of(lambda: check_trees([value], Bounds(max_items=items - 1))) == "too_many"


def test_the_depth_is_that_of_lists_and_mappings() -> None:
    check_trees([[{"a": (1,)}]], Bounds(max_depth=3))
    assert kind_of(lambda: check_trees([[{"a": (1,)}]], Bounds(max_depth=2))) == "too_deep"
    assert kind_of(lambda: check_trees([[[]]], Bounds(max_depth=1))) == "too_deep"
    check_trees([1, "a", None], Bounds(max_depth=1, max_items=3))
    assert kind_of(lambda: check_trees([1, "a", None], Bounds(max_items=2))) == "too_many"


def test_lines() -> None:
    bounds = Bounds(max_items=3)
    assert lines_of(b"a\r\n\n  \nb\rc\n\n", bounds) == ["a", "b\rc"]
    assert lines_of(b"", bounds) == []
    assert kind_of(lambda: lines_of(b"1\n2\n3\n4", bounds)) == "too_many"
    assert kind_of(lambda: lines_of(b"\xff", bounds)) == "malformed"


def test_text_says_where_it_is_none() -> None:
    assert text_of("é".encode()) == "é"
    assert str(error_of(lambda: text_of(b"ab\xff"))) == "not UTF-8 at byte 2"


def test_options() -> None:
    assert whole("a", 5, 1, 5) == 5
    assert flag("a", False) is False
    assert one_of("a", "x", ("x", "y")) == "x"
    assert one_of("a", "z", ("x", "y"), {"z": "y"}) == "y"
    for wrong in (0, 6, 2.0, "2", None, True):
        with pytest.raises(ValueError, match=r"^a must be a whole number in 1\.\.5, not "):
            whole("a", wrong, 1, 5)
    with pytest.raises(ValueError, match=r"^a must be true or false, not 0$"):
        flag("a", 0)
    with pytest.raises(ValueError, match=r"^a must be one of left, right, not 'lft'; did you"):
        one_of("a", "lft", ("left", "right"))
    with pytest.raises(ValueError, match=r"^a must be one of x, y, not \['x'\]$"):
        one_of("a", ["x"], ("x", "y"))
