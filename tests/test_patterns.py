"""Patterns mean what the regular expression would, and take linear time."""

from __future__ import annotations

import re
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from restsock import Principal
from restsock._patterns import gaps, like
from restsock.openapi import Rules, allow, load
from restsock.openapi.document._routes import NoSuchPath
from tests.openapi.documents import document, operation, parameter

# Few letters, so that texts are found, found late, and overlap.
small = st.text("ab-", max_size=8)


@given(st.lists(st.text("ab-", max_size=3), min_size=1, max_size=5), small, st.sampled_from([0, 1]))
def test_gaps_are_those_of_lazy_groups(texts: list[str], subject: str, least: int) -> None:
    lazy = "(.*?)" if least == 0 else "(.+?)"
    found = re.fullmatch(lazy.join(map(re.escape, texts)), subject, re.DOTALL)
    assert gaps(texts, subject, least=least) == (None if found is None else list(found.groups()))


@given(st.text("ab*?[]\n", max_size=8), st.text("ab?[]\n", max_size=8))
def test_a_star_is_any_text_and_nothing_else_is_special(pattern: str, name: str) -> None:
    old = re.fullmatch(".*".join(map(re.escape, pattern.split("*"))), name, re.DOTALL)
    assert like(pattern, name) == (old is not None)


# --- time ---------------------------------------------------------------------------------

# Seconds. Each of these takes milliseconds; what backtracks takes hours.
BOUND = 2.0
LONG = 60_000


@pytest.mark.parametrize(
    ("texts", "subject"),
    [
        (["", "-", "-", ".csv"], "-" * LONG),
        ([""] * 20 + ["!"], "a" * LONG),
        (["", *["a"] * 50, "!"], "a" * LONG),
        (["", *["a" * 90 + "b"] * 20, ""], "a" * LONG),
        (["", *["a" * 2000 + "b"] * 2, ""], "a" * LONG),
        (["", *["ab"] * LONG], "ab" * LONG),
        (["x", "", "", "y"], "x" * LONG),
    ],
    ids=["dashes", "adjacent", "many", "nearly", "long", "many gaps", "empty texts"],
)
def test_the_time_grows_with_the_length_alone(texts: list[str], subject: str) -> None:
    begun = time.perf_counter()
    gaps(texts, subject)
    gaps(texts, subject, least=1)
    assert time.perf_counter() - begun < BOUND


def test_nobody_makes_a_listener_think() -> None:
    """A path of dashes, a name of one letter, a rule of stars."""
    names = [parameter("path", name, {"type": "string"}) for name in ("y", "m", "d")]
    item = {"parameters": names, "get": operation(operationId="day" + "y" * 200)}
    loaded = load(document({"/reports/{y}-{m}-{d}.csv": item}))
    stars = "*y" * 12 + "*n"
    begun = time.perf_counter()
    with pytest.raises(NoSuchPath):
        loaded.match("GET", "/reports/" + "-" * LONG)
    found = loaded.match("GET", "/reports/2024-01-02-03.csv")
    assert found.variables == {"y": "2024", "m": "01", "d": "02-03"}
    assert not Principal("a", may_register=[stars], may_call=[stars]).registers("y" * 255)
    assert not Principal("a", may_register=[stars], may_call=[stars]).calls("y" * 255)
    for rule in (allow(stars, "*", "*"), allow("*", stars, "*"), allow("*", "*", stars)):
        assert not Rules([rule]).allows("y" * 255, "y" * 255, found.operation)
    assert time.perf_counter() - begun < BOUND
