"""Fields: which are for one hop, and look-up without regard to case."""

from __future__ import annotations

import pytest

from restsock.protocol import (
    HOST,
    TOKEN,
    VALUE,
    connection_options,
    content_length,
    elements_of,
    end_to_end,
    values_of,
)
from restsock.protocol._fields import FIELD_LINE, field_lines

FIELDS = [(b"A", b"1"), (b"b", b"2"), (b"a", b"3, 4 ,,\t5")]


def test_look_up_takes_all_fields_of_a_name() -> None:
    assert values_of(FIELDS, b"a") == [b"1", b"3, 4 ,,\t5"]
    assert elements_of(FIELDS, b"a") == [b"1", b"3", b"4", b"5"]
    assert values_of(FIELDS, b"c") == elements_of(FIELDS, b"c") == []
    assert content_length(FIELDS) is None
    assert content_length([*FIELDS, (b"CONTENT-length", b"07")]) == 7


def test_what_connection_names_is_for_this_hop() -> None:
    fields = [(b"Connection", b"Close, X-One"), (b"connection", b",host ,content-length")]
    assert connection_options(fields) == {b"close", b"x-one", b"host", b"content-length"}
    crossing = [(b"Host", b"h"), (b"Content-Length", b"0"), (b"X-Two", b"2")]
    gone = [(b"x-ONE", b"1"), (b"TE", b"trailers"), (b"Keep-Alive", b"5")]
    assert end_to_end([*fields, *gone, *crossing], upgradable=True) == crossing


@pytest.mark.parametrize(
    ("fields", "kept"),
    [
        ([(b"connection", b"Keep-Alive, Upgrade"), (b"upgrade", b"WebSocket")], True),
        ([(b"upgrade", b"WebSocket")], False),
        ([(b"connection", b"upgrade")], False),
        ([(b"connection", b"upgrade"), (b"upgrade", b"WebSocket"), (b"upgrade", b"b")], False),
    ],
)
def test_a_wish_to_upgrade_has_one_spelling(fields: list[tuple[bytes, bytes]], kept: bool) -> None:
    wish = [(b"Connection", b"upgrade"), (b"Upgrade", b"WebSocket")]
    assert end_to_end(fields, upgradable=True) == (wish if kept else [])
    assert end_to_end(fields, upgradable=False) == []


def test_grammar() -> None:
    assert TOKEN.fullmatch(b"X-Name_1~")
    assert not any(map(TOKEN.fullmatch, (b"", b"a b", b"a:", b"a\x00", b"\xe9")))
    assert all(map(VALUE.fullmatch, (b"", b"a\tb", b"\xe9")))
    assert not any(map(VALUE.fullmatch, (b"a\r\nb", b"\x00", b"\x7f")))
    assert all(map(HOST.fullmatch, (b"a.example:80", b"[::1]", b"[::1]:443", b"a:")))
    assert not any(map(HOST.fullmatch, (b"", b"a/b", b"user@a", b"a:b", b"::1")))
    assert field_lines(FIELDS[:2]) == b"A: 1\r\nb: 2\r\n"
    assert FIELD_LINE.fullmatch(field_lines(FIELDS[:1]))
    assert not FIELD_LINE.fullmatch(field_lines([(b"a", b"1\r\nb: 2")]))
