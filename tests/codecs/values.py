"""Values and bytes for the tests of codecs, and what all of them have to keep to."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

from hypothesis import strategies as st

from restsock._exceptions import CodecError
from restsock.codecs import Codec

KINDS = {"malformed", "truncated", "too_large", "too_deep", "too_many", "unsupported", "value"}

texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=12)
finite = st.floats(allow_nan=False, allow_infinity=False)
int64 = st.integers(-(2**63), 2**64 - 1)


def trees(
    leaves: st.SearchStrategy[Any], keys: st.SearchStrategy[Any] = texts
) -> st.SearchStrategy[Any]:
    """Lists and mappings of these leaves."""
    return st.recursive(
        leaves,
        lambda inner: st.lists(inner, max_size=4) | st.dictionaries(keys, inner, max_size=4),
        max_leaves=12,
    )


json_values = trees(st.none() | st.booleans() | st.integers() | finite | texts)


def outcome(codec: Codec, data: bytes, now: int | None = None) -> list[Any] | str:
    """The values, or the kind of the error; whatever else is raised passes."""
    try:
        return codec.decode(data, now)
    except CodecError as exc:
        error = exc
    assert error.kind in KINDS
    assert str(error).startswith(codec.name)
    return error.kind


def error_of(work: Callable[[], object]) -> CodecError:
    """The error that it raises."""
    try:
        found = work()
    except CodecError as exc:
        return exc
    raise AssertionError(f"no error, but {found!r}")


def kind_of(work: Callable[[], object]) -> str:
    """The kind of the error that it raises."""
    return error_of(work).kind


def count(values: list[Any]) -> int:
    """Values in these, and keys, they themselves included."""
    total = 0
    left = list(values)
    while left:
        value = left.pop()
        total += 1
        if isinstance(value, dict):
            total += len(value)
            left += value.values()
        elif isinstance(value, (list, tuple)):
            left += value
    return total


def same(one: Any, other: Any) -> bool:
    """Equal, of the same types, and NaN is NaN."""
    if type(one) is not type(other):
        return False
    if isinstance(one, dict):
        return one.keys() == other.keys() and all(same(one[key], other[key]) for key in one)
    if isinstance(one, list):
        return len(one) == len(other) and all(map(same, one, other))
    if isinstance(one, float) and math.isnan(one):
        return math.isnan(other)
    return bool(one == other)
