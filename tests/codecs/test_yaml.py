"""YAML, against PyYAML's own loader."""

from __future__ import annotations

import datetime
from typing import Any

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from restsock.codecs import codec
from tests.codecs.values import kind_of, outcome, same, trees

YAML = codec("yaml")

printable = st.text(
    st.characters(exclude_categories=["Cs", "Cc"], exclude_characters="\ufeff\u2028\u2029"),
    max_size=12,
)
leaves = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False)
    | printable
    | st.binary(max_size=12)
    | st.dates()
    | st.datetimes()
)


@settings(deadline=None)
@given(trees(leaves, printable | st.integers(-(2**63), 2**63)))
def test_what_is_written_is_read_here_and_elsewhere(value: Any) -> None:
    data = YAML.encode(value)
    assert same(YAML.decode(data), [value])
    assert same(yaml.safe_load(data), value)


words = st.sampled_from(
    [
        "a",
        "1",
        "1.5",
        "~",
        "yes",
        "2026-01-02",
        "'q'",
        '"d"',
        "-",
        ":",
        "?",
        "[",
        "]",
        "{",
        "}",
        ",",
        "\n",
        "\n  ",
        " ",
        "|",
        ">",
        "#",
        "&x",
        "*x",
        "!t",
        "!!str",
        "<<",
        "=",
        "---",
        "...",
        "%",
        "0x1f",
        "1:30",
        ".inf",
        "\t",
        "é",
    ]
)


@settings(deadline=None, max_examples=500)
@given(st.lists(words, max_size=14).map("".join))
def test_a_document_is_what_the_librarys_own_loader_makes_of_it(text: str) -> None:
    found = outcome(YAML, text.encode())
    if isinstance(found, list) and "<<" not in text and "=" not in text:
        assert same(found, list(yaml.load_all(text, yaml.CSafeLoader)))


def test_documents_are_values_and_no_document_is_none() -> None:
    assert YAML.decode(b"--- 1\n--- [2]\n...\n---\n") == [1, [2], None]
    assert YAML.decode(b"# nothing\n") == []


def test_what_words_stand_for() -> None:
    text = b"{a: yes, b: 0x1f, c: 2026-01-02, d: !!binary aGk=, 5: ~, e: '5', f: !!str 5, <<: '='}"
    assert YAML.decode(text) == [
        {
            "a": True,
            "b": 31,
            "c": datetime.date(2026, 1, 2),
            "d": b"hi",
            5: None,
            "e": "5",
            "f": "5",
            "<<": "=",
        }
    ]


LAUGHS = b"a: &a [x, x]\nb: &b [*a, *a]\nc: [*b, *b]\n"


@pytest.mark.parametrize(
    ("data", "kind"),
    [
        (LAUGHS, "unsupported"),
        (b"&a [*a]", "unsupported"),
        (b"!!python/object/apply:os.system [ls]", "unsupported"),
        (b"!x {a: 1}", "unsupported"),
        (b"!x [a]", "unsupported"),
        (b"!x a", "unsupported"),
        (b"!!set {a}", "unsupported"),
        (b"!!omap [a: 1]", "unsupported"),
        (b"? [a]\n: b", "unsupported"),
        (b"1.5: b", "unsupported"),
        (b"99999999999999999999: b", "unsupported"),
        (b"{a: 1, a: 2}", "malformed"),
        (b"{1: 1, 0x1: 2}", "malformed"),
        (b"2026-99-99", "malformed"),
        (b"!!int x", "malformed"),
        (b"1" * 1001, "malformed"),
        (b"1" + b":1" * 100_000, "malformed"),  # base 60: the square of its length
        (b"0b" + b"1" * 100_000, "malformed"),
        (b"a: b: c", "malformed"),
        (b"'", "malformed"),
        ("a".encode("utf-16"), "malformed"),
        (b"\xff", "malformed"),
        (b"- " * 100_000, "too_deep"),
        (b"- a\n" * 10_001, "too_many"),
    ],
)
def test_what_it_does_not_take(data: bytes, kind: str) -> None:
    assert kind_of(lambda: YAML.decode(data)) == kind


def test_one_list_in_two_places_is_written_twice() -> None:
    shared = [1]
    assert YAML.decode(YAML.encode({"a": shared, "b": shared})) == [{"a": [1], "b": [1]}]


def test_a_set_cannot_be_written() -> None:
    assert kind_of(lambda: YAML.encode({1, 2})) == "value"


def test_it_works_without_the_parser_in_c(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(yaml, "CSafeLoader", raising=False)
    monkeypatch.delattr(yaml, "CSafeDumper", raising=False)
    plain = codec("yaml")
    value = {"a": [1, "é", None], "b": {"c": b"x"}}
    assert plain.decode(plain.encode(value)) == [value]
    assert outcome(plain, LAUGHS) == "unsupported"
    assert outcome(plain, b"[" * 2000) in {"too_deep", "malformed"}
