"""Numbers in formats of text."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from restsock.codecs._numbers import number_of, written
from tests.codecs.values import finite, kind_of, same


@given(st.integers(-(10**90), 10**90) | finite)
def test_what_is_written_is_read(number: float) -> None:
    assert same(number_of(written(number)), number)


@pytest.mark.parametrize(
    ("text", "number"),
    [("7", 7), ("+7", 7), ("-7", -7), ("7.", 7.0), (".5", 0.5), ("7e2", 700.0), ("7E-1", 0.7)],
)
def test_numbers(text: str, number: float) -> None:
    assert same(number_of(text), number)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "+",
        ".",
        "e5",
        "7e",
        "0x7",
        "7_0",
        " 7",
        "7 ",
        "nan",
        "inf",
        "1e999",
        "\u0667",
        "1" * 101,
    ],
)
def test_what_is_no_number(text: str) -> None:
    assert kind_of(lambda: number_of(text)) == "malformed"


class Number(float):
    """A number that shows itself in another way, as those of numpy do."""

    def __repr__(self) -> str:
        return f"Number({float(self)})"


def test_a_subclass_is_written_as_the_number_that_it_is() -> None:
    assert written(Number(1.5)) == "1.5"


@pytest.mark.parametrize("value", [True, None, "7", float("nan"), float("inf"), 10**101, 1j])
def test_what_cannot_be_written(value: Any) -> None:
    assert kind_of(lambda: written(value)) == "value"
