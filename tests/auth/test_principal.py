"""What a principal may do; and that `*` alone is special, and nothing in its own name."""

from __future__ import annotations

import re
from dataclasses import FrozenInstanceError, replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from restsock import Principal


def test_by_default_its_own_name_and_calls() -> None:
    edge = Principal("edge-1")
    assert edge.registers("edge-1")
    assert edge.registers(None)
    assert not edge.registers("edge-2")
    assert not edge.registers("Edge-1")
    assert edge.calls("anything")


@pytest.mark.parametrize("name", ["*", "*.example", "a[b]", "a?"])
def test_its_own_name_is_no_pattern(name: str) -> None:
    principal = Principal(name)
    assert principal.registers(name)
    for other in ("x", "a.example", "ab", "a"):
        assert not principal.registers(other)


@pytest.mark.parametrize(
    ("patterns", "yes", "no"),
    [
        (["edge-*"], ["edge-", "edge-1", "edge-1\n2"], ["edge", "xedge-1", "EDGE-1"]),
        (["*"], ["", "x"], []),
        (["a*b*c"], ["abc", "aXbYc", "abbc"], ["ab", "acb", "abcd"]),
        (["a.c"], ["a.c"], ["abc"]),
        (["[ab]?"], ["[ab]?"], ["a", "ax"]),
        (["a", "b-*"], ["a", "b-1"], ["c", "b"]),
        ("edge-*", ["edge-1"], ["e", "-"]),
        ([], [], ["", "x", "*"]),
    ],
)
def test_patterns(patterns: Any, yes: list[str], no: list[str]) -> None:
    principal = Principal("p", may_register=patterns, may_call=patterns)
    for name in yes:
        assert principal.registers(name)
        assert principal.calls(name)
    for name in no:
        assert not principal.registers(name)
        assert not principal.calls(name)
    assert principal.registers(None)


@given(st.lists(st.sampled_from(["a", "b", "*", ".", "[", "\\"]), min_size=1), st.text("ab.[\\"))
def test_a_pattern_is_what_a_shell_would_take_it_for(parts: list[str], name: str) -> None:
    pattern = "".join(parts)
    expected = re.fullmatch("".join(".*" if p == "*" else re.escape(p) for p in parts), name)
    assert Principal("p", may_call=[pattern]).calls(name) is (expected is not None)


def test_it_cannot_be_changed_from_outside() -> None:
    claims = {"team": "blue"}
    names = ["a"]
    principal = Principal("p", may_register=names, claims=claims)
    claims["team"] = "red"
    names.append("b")
    assert principal.claims == {"team": "blue"}
    assert not principal.registers("b")
    with pytest.raises(FrozenInstanceError):
        principal.name = "q"  # type: ignore[misc]
    assert replace(principal) == principal
    assert hash(replace(principal)) == hash(principal)


def test_its_claims_are_not_shown() -> None:
    assert "s3cr3t" not in repr(Principal("p", claims={"token": "s3cr3t"}))


@pytest.mark.parametrize(
    ("make", "error"),
    [
        (lambda: Principal(""), ValueError),
        (lambda: Principal("a\nb"), ValueError),
        (lambda: Principal(None), TypeError),  # type: ignore[arg-type]
        (lambda: Principal("p", may_register=[""]), ValueError),
        (lambda: Principal("p", may_call=[1]), TypeError),  # type: ignore[list-item]
        (lambda: Principal("p", may_call=None), TypeError),  # type: ignore[arg-type]
    ],
)
def test_what_is_none(make: Any, error: type[Exception]) -> None:
    with pytest.raises(error):
        make()
