"""`--filter`: which rows of a listing are shown."""

from __future__ import annotations

from typing import Any

import click
import pytest

from restsock.cli._filter import Filter

KEYS = ("name", "state", "in_flight", "round_trip", "tls")
ROW: dict[str, Any] = {
    "name": "edge-1",
    "state": "open",
    "in_flight": 3,
    "round_trip": None,
    "tls": False,
}


@pytest.mark.parametrize(
    ("texts", "shown"),
    [
        ([], True),
        (["name:edge-1"], True),
        (["name:edge"], False),
        (["name:edge-*"], True),
        (["name:*-1"], True),
        (["!name:edge-*"], False),
        (["!name:other"], True),
        (["in_flight:3"], True),
        (["in_flight:>2"], True),
        (["in_flight:>3"], False),
        (["in_flight:>=3"], True),
        (["in_flight:<3"], False),
        (["in_flight:<=3.5"], True),
        (["!in_flight:>3"], True),
        (["round_trip:null"], True),
        (["round_trip:>0"], False),
        (["round_trip:<1"], False),
        (["tls:false"], True),
        (["name:edge-* in_flight:>2"], True),
        (["name:edge-* in_flight:>3"], False),
        (["name:edge-*", "state:leaving"], False),
        (["'name:edge-*'"], True),
        (["name:"], False),
    ],
)
def test_conditions(texts: list[str], shown: bool) -> None:
    chosen = Filter(texts, KEYS)
    assert chosen.matches(ROW) is shown
    assert bool(chosen) is bool(texts)


def test_a_value_with_blanks_is_in_quotes() -> None:
    assert Filter(['name:"my app"'], KEYS).matches({"name": "my app"})


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("nonsense", "neither key:pattern nor key:>number"),
        ("nam:x", "did you mean 'name'"),
        ("zzz:x", "there are name, state"),
        ("in_flight:>much", "'much' is not a number"),
        ("name:'x", "No closing quotation"),
    ],
)
def test_what_is_none(text: str, words: str) -> None:
    with pytest.raises(click.UsageError, match=words):
        Filter([text], KEYS)
