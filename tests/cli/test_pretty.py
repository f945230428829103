"""`call --pretty`: JSON as people read it, and its values as they came."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from restsock.cli._output import Output
from restsock.cli._pretty import STYLES, Style, is_json, prettied, pretty
from tests.strategies import json_values

from .command import Run
from .conftest import Hub

LINES, COLORS, ALL = Style(lines=True), Style(colors=True), Style(True, True)
_ESCAPES = re.compile(r"\x1b\[[0-9;]*m")


def test_lines() -> None:
    text = '{"a":[1,2.50,{}],"b":{"c":null,"a":"x, [y]"},"d":[]}'
    assert pretty(text, LINES) == (
        "{\n"
        '  "a": [\n'
        "    1,\n"
        "    2.50,\n"
        "    {}\n"
        "  ],\n"
        '  "b": {\n'
        '    "c": null,\n'
        '    "a": "x, [y]"\n'
        "  },\n"
        '  "d": []\n'
        "}"
    )


def test_colors() -> None:
    text = ' {"a": ["x", 1, true]}\n'
    shown = pretty(text, COLORS)
    assert shown is not None
    assert _ESCAPES.sub("", shown) == text.rstrip()
    assert '\x1b[34m"a"\x1b[0m: [\x1b[32m"x"\x1b[0m, \x1b[36m1\x1b[0m, \x1b[35mtrue' in shown


def test_values_are_not_touched() -> None:
    """Numbers that Python would round, and keys that stand twice."""
    text = '{"n": 1.0000000000000000001, "n": 1e400, "u": "\\u00e9\\/"}'
    shown = pretty(text, LINES)
    assert shown is not None
    assert re.sub(r"\s", "", shown) == re.sub(r"\s", "", text)


def test_a_terminal_gets_no_command() -> None:
    shown = pretty('["\x9b2J\x7f"]', LINES)
    assert shown == '[\n  "\\u009b2J\\u007f"\n]'
    assert json.loads(shown) == ["\x9b2J\x7f"]


@given(json_values, st.sampled_from([LINES, COLORS, ALL]), st.sampled_from([None, 1]))
def test_it_stays_the_same_json(value: object, style: Style, indent: int | None) -> None:
    shown = pretty(json.dumps(value, indent=indent), style)
    assert shown is not None
    assert json.loads(_ESCAPES.sub("", shown)) == value


@pytest.mark.parametrize("text", ["", "{", "{'a': 1}", "[" * 100_000, "1 2"])
def test_what_is_no_json(text: str) -> None:
    assert pretty(text, ALL) is None


def test_deep_nesting_does_not_make_it_endless() -> None:
    text = "[" * 500 + "1" + ",1" * 500 + "]" * 500
    shown = pretty(text, LINES)
    assert shown is not None
    assert len(shown) < 100 * len(text)


@pytest.mark.parametrize(
    ("parts", "encoding", "shown"),
    [
        ([b"[1,", b"2]"], "utf-8", b"[\n  1,\n  2\n]\n"),
        ([b"nonsense"], "utf-8", b"nonsense"),
        ([b'["\xff"]'], "utf-8", b'["\xff"]'),
        ([b"[1]"], "no-such-encoding", b"[1]"),
        ([b"[", b"1," * 600_000, b"1]"], "utf-8", b"[" + b"1," * 600_000 + b"1]"),
        ([], "utf-8", b""),
    ],
)
def test_bodies(parts: list[bytes], encoding: str, shown: bytes) -> None:
    arriving: Iterator[bytes] = iter(parts)
    assert b"".join(prettied(arriving, encoding, LINES)) == shown


@pytest.mark.parametrize(
    ("kind", "found"),
    [
        ("application/json", True),
        ("Application/Problem+JSON; charset=utf-8", True),
        ("application/json-seq", False),
        ("text/html", False),
        ("", False),
    ],
)
def test_types(kind: str, found: bool) -> None:
    assert is_json(kind) is found


def test_the_default_depends_on_the_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    assert Style.of(None, Output()) == Style()
    monkeypatch.setattr("sys.stdout.isatty", lambda: True)
    assert Style.of(None, Output()) == ALL
    assert Style.of(None, Output(color=False)) == LINES
    assert Style.of("none", Output()) == Style()
    assert {Style(*values) for values in STYLES.values()} == {ALL, LINES, COLORS, Style()}


@pytest.mark.covers("call --pretty")
def test_call(run: Run, hub: Hub, demo: str) -> None:
    def shown(*args: str) -> str:
        done = run("call", demo, "/pets", "--hub", hub.url, *args)
        assert done.code == 0
        return done.out

    assert shown() == '["Rex", "Tom"]\n'
    assert shown("--pretty", "format") == '[\n  "Rex",\n  "Tom"\n]\n'
    assert shown("--pretty", "all").startswith('[\n  \x1b[32m"Rex"')
    assert shown("--pretty", "colors", "-i").startswith("\x1b[32mHTTP/1.1 200 OK\x1b[0m\n\x1b[36m")
    assert shown("--pretty", "all", "--stream") == '["Rex", "Tom"]\n'
    assert run("call", demo, "/nothing", "--hub", hub.url, "--pretty", "all").out == (
        "There is nothing here.\n"
    )
