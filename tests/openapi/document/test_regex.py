"""Patterns of documents: what ECMA-262 says of them, in linear time."""

from __future__ import annotations

import re
import time
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from restsock import SpecError
from restsock.openapi import load
from restsock.openapi.document._regex import BadPattern, compiled
from restsock.openapi.document._work import TooMuchWork, within
from tests.openapi.documents import VERSIONS, document

# As a JavaScript engine has it, with the flag `u`: `new RegExp(pattern, "u").test(text)`.
ECMA: list[tuple[str, str, bool]] = [
    # classes: of ASCII, but for white space
    (r"^\d$", "1", True),
    (r"^\d$", "\u0661", False),
    (r"^\w$", "é", False),
    (r"^\W$", "é", True),
    (r"\ba\b", "éa", True),
    (r"^\s$", "\u00a0", True),
    (r"^\s$", "\ufeff", True),
    (r"^\s$", "\v", True),
    (r"^\s$", "\u180e", False),
    (r"^\S$", "\u2028", False),
    (r"^[\s]$", "\u3000", True),
    (r"^[\S]$", "\u3000", False),
    (r"^[^\s]$", "\u00a0", False),
    (r"^[^\S]$", "\u00a0", True),
    (r"^[\s\S]$", "\n", True),
    # ends and lines
    ("^a$", "a\n", False),
    ("^a$", "b\na", False),
    ("^.$", "\r", False),
    ("^.$", "\u2028", False),
    ("^.$", "\u0085", True),
    # characters
    ("^.$", "😀", True),
    ("^é$", "é", True),
    (r"^\u0061$", "a", True),
    (r"^\u{1F600}$", "😀", True),
    (r"^\uD83D\uDE00$", "😀", True),
    (r"^[\u4e00-\u9fa5]+$", "中", True),
    (r"^\x41\t\cJ\0$", "A\t\n\0", True),
    (r"^\v\f\r$", "\v\f\r", True),
    (r"^\/\-\.\$$", "/-.$", True),
    ("^{$", "{", True),
    ("^a{,3}$", "a{,3}", True),
    (r"^\p{L}\P{L}$", "é1", True),
    (r"^\p{Letter}+$", "é", True),
    (r"^\p{General_Category=Decimal_Number}$", "\u0661", True),
    (r"^\p{Script=Greek}$", "\u03b1", True),
    # groups
    (r"^(?<year>\d{4})-(?<month>\d\d)$", "2024-01", True),
    (r"^(?:a|(b))+?$", "abab", True),
    # sets
    (r"^[\w.-]+$", "a.b-c", True),
    (r"^[\w-.]+$", "a.b-c", True),
    ("^[a-z-]+$", "a-c", True),
    ("^[-a]$", "-", True),
    ("^[^-a]$", "-", False),
    ("^[+--]$", ",", True),
    ("^[+--]$", ".", False),
    (r"^[a\]b]$", "]", True),
    (r"^[\b]$", "\b", True),
    ("^[.^$|]$", "|", True),
    ("[]", "a", False),
    ("^[^]$", "\n", True),
    # repetitions
    ("^a{2}$", "aaa", False),
    ("^.{1,2500}$", "a" * 2500, True),
    ("^.{1,2500}$", "a" * 2501, False),
    ("^.{1500,2500}$", "a" * 1499, False),
    ("^.{1500,}$", "a" * 1500, True),
    ("^.{2000}$", "a" * 1999, False),
    # lookahead at the beginning
    (r"^(?=.*[A-Z])(?=.*\d).{8,}$", "Passw0rd", True),
    (r"^(?=.*[A-Z])(?=.*\d).{8,}$", "passw0rd", False),
    (r"^(?=.*[A-Z])(?=.*\d).{8,}$", "Passw0r", False),
    ("^(?!aws:)[a-z:]+$", "aws:x", False),
    ("^(?!aws:)[a-z:]+$", "ws:x", True),
    ("^(?!a|b)", "cb", True),
    ("^(?!a|b)", "bc", False),
    # not ECMA-262, but Python
    (r"\Aa\Z", "a", True),
    (r"\Aa\Z", "a\n", False),
    ("(?i)abc", "ABC", True),
    ("^(?P<n>a)$", "a", True),
    # halves of surrogate pairs, which JSON can have
    ("^.$", "\ud800", True),
]


@pytest.mark.parametrize(("pattern", "text", "matches"), ECMA)
def test_what_ecma_262_says(pattern: str, text: str, matches: bool) -> None:
    assert compiled(pattern).search(text) is matches


@pytest.mark.parametrize(
    ("pattern", "words"),
    [
        ("a(?=b)", "looks ahead or behind"),
        ("(?=a)b", "looks ahead or behind"),
        ("^(?=a)b|c", "looks ahead or behind"),
        ("(?<=a)b", "looks ahead or behind"),
        ("(?<!a)b", "looks ahead or behind"),
        ("^(?=a)+b", "repeated"),
        (r"(a)\1", "backreference"),
        (r"(?<n>a)\k<n>", "backreference"),
        ("(", r"\( without"),
        (")", r"\) without"),
        ("[", r"\[ without"),
        ("[a-", r"\[ without"),
        ("a**", "repeated"),
        ("a++", "repeated"),
        ("a^*", "repeated"),
        ("^*", "nothing to repeat"),
        ("*a", "nothing to repeat"),
        ("a|*", "nothing to repeat"),
        ("\\", "ends with a backslash"),
        (r"\Qa\E", "means nothing"),
        (r"\uD800", "surrogate"),
        (r"\u00", "followed"),
        ("a{3,1}", "ends before"),
        ("a{99999}", "more than 10000"),
        ("(?:a{1000}){1000}", "multiply"),
        ("(((a{100}){100}){100}){100}", "multiply"),
        ("(?s).", "not known"),
        ("(?>a)", "not known"),
        (r"\p{Nonsense}", "Nonsense"),
        (r"\p", "braces"),
        ("(" * 200 + ")" * 200, "nested"),
        ("a" * 30_000, "longer"),
        ("[z-a]", "range"),
    ],
)
def test_what_cannot_be_used(pattern: str, words: str) -> None:
    with pytest.raises(BadPattern, match=words):
        compiled(pattern)


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("check", [True, False])
def test_a_document_with_such_a_pattern_is_refused_and_told_where(
    version: str, check: bool
) -> None:
    schema = {"type": "object", "properties": {"a/b": {"type": "string", "pattern": "x(?=y)"}}}
    mapping = document({}, version, components={"schemas": {"A": schema}})
    with pytest.raises(SpecError, match=r"'x\(\?=y\)' at #/components/schemas/A/properties/a~1b/p"):
        load(mapping, check=check)
    schema = {"type": "object", "patternProperties": {"(a)\\1": {}}}
    mapping = document({}, version, components={"schemas": {"A": schema}})
    with pytest.raises(SpecError, match="backreference"):
        load(mapping, check=False)


def test_what_only_looks_like_a_pattern() -> None:
    properties = {"pattern": {"type": "string"}, "example": {"type": "string"}}
    schema: Any = {
        "properties": properties,
        "example": {"pattern": "("},
        "enum": [{"pattern": "("}],
    }
    load(document({}, components={"schemas": {"A": schema, "pattern": {}}}, **{"x-a": schema}))


_ATOMS = ["a", "b", "[ab]", "[^a]", "[a-c]", "(a|b)", "(?:ab)", r"\d", r"\w", "-", r"[\w-]", "[a-]"]
_TIMES = ["", "*", "+", "?", "{2}", "{1,3}", "{0,2}", "{2,}", "*?"]


@settings(deadline=None, max_examples=60)
@given(
    st.sampled_from(["", "^"]),
    st.lists(st.tuples(st.sampled_from(_ATOMS), st.sampled_from(_TIMES)), max_size=5),
    st.sampled_from(["", "$"]),
    st.text("abc-1 _\n", max_size=8),
)
def test_as_another_engine_has_it(
    start: str, parts: list[tuple[str, str]], end: str, text: str
) -> None:
    pattern = start + "".join(map("".join, parts)) + end
    expected = re.search(pattern.replace("$", r"\Z"), text, re.ASCII) is not None
    assert compiled(pattern).search(text) is expected


@settings(deadline=None, max_examples=60)
@given(st.text(r"()[]{}*+?|^$.\-,:=!<>Pabku019 ", max_size=20))
def test_any_text_is_a_pattern_or_is_refused(text: str) -> None:
    try:
        compiled(text).search(text)
    except BadPattern:
        pass


@pytest.mark.parametrize(
    "pattern", ["^(a+)+$", "^(a|aa)+$", "(a*)*b", "^(([a-z])+.)+[A-Z]([a-z])+$"]
)
def test_no_pattern_backtracks(pattern: str) -> None:
    start = time.thread_time()
    assert not compiled(pattern).search("a" * 200_000 + "!")
    assert time.thread_time() - start < 2


def test_a_search_that_would_take_too_long_is_not_begun() -> None:
    start = time.thread_time()
    with pytest.raises(TooMuchWork), within(1.0):
        compiled("a.{900}c").search("ab" * 500_000)
    assert time.thread_time() - start < 0.5
