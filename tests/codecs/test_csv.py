"""CSV, against the reader and the writer of the standard library."""

from __future__ import annotations

import csv
import io
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from restsock.codecs import codec
from tests.codecs.values import kind_of, outcome

CSV = codec("csv")
fields = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=8)
rows = st.lists(fields, min_size=1, max_size=5)


@settings(deadline=None)
@given(rows)
def test_a_record_that_is_written_is_read(row: list[str]) -> None:
    assert CSV.decode(CSV.encode(row)) == [row]


@settings(deadline=None)
@given(st.lists(rows, max_size=5))
def test_all_lines_are_read(table: list[list[str]]) -> None:
    text = io.StringIO(newline="")
    csv.writer(text).writerows(table)
    assert CSV.decode(text.getvalue().encode()) == table
    assert CSV.decode(b"\n".join(map(CSV.encode, table))) == table


def test_fields_are_quoted_where_they_must_be() -> None:
    assert CSV.encode(["a,b", 'c"d', 1, 2.5, None, "e\nf"]) == b'"a,b","c""d",1,2.5,,"e\nf"'
    assert CSV.decode(b'some,"a "" b",1\r\n\r\n"x\r\ny",2') == [
        ["some", 'a " b', "1"],
        ["x\r\ny", "2"],
    ]


def test_another_delimiter() -> None:
    semicolons = codec("csv", delimiter=";")
    assert semicolons.decode(b"a,b;c") == [["a,b", "c"]]
    assert semicolons.encode(["a;b", "c"]) == b'"a;b";c'
    for wrong in ("", ",,", "\n", '"', "é", 1):
        with pytest.raises(ValueError, match="delimiter must be one character of ASCII"):
            codec("csv", delimiter=wrong)


@pytest.mark.parametrize(
    ("data", "kind"),
    [
        (b'"a', "malformed"),
        (b'"a"b', "malformed"),
        (b"a\xff", "malformed"),
        (b"a" * 200_000, "malformed"),  # csv.field_size_limit
        (b"," * 200_000, "too_many"),
        (b"a\n" * 60_000, "too_many"),
    ],
)
def test_what_it_does_not_take(data: bytes, kind: str) -> None:
    assert outcome(CSV, data) == kind


@pytest.mark.parametrize("value", ["abc", [], {}, None, [["a"]], [b"a"]])
def test_what_it_cannot_write(value: Any) -> None:
    assert kind_of(lambda: CSV.encode(value)) == "value"
