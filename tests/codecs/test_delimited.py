"""Messages with a separator between them."""

from __future__ import annotations

from restsock.codecs import Piece, before_decoding
from tests.codecs.framings import NOW, decoded, encoded, run


def separate(**options: object) -> list[dict[str, object]]:
    return [{"name": "separate", "config": options}]


def test_lines() -> None:
    assert decoded(["separate"], [b"a\nb", b"c\n\nd"]) == [b"a", b"bc", b"", b"d"]
    assert decoded(["separate"], [b"a\n"]) == [b"a"]
    assert decoded(["separate"], [b""]) == []
    assert encoded(["separate"], [b"a", b""]) == [b"a\n", b"\n"]


def test_other_separators() -> None:
    assert decoded(separate(separator="|"), [b"a|b\n|"]) == [b"a", b"b\n"]
    assert decoded(separate(separator="\r\n"), [b"a\rb\n\r", b"\nc\r", b"\n"]) == [b"a\rb\n", b"c"]
    assert decoded(separate(separator="aa"), [b"xaaa", b"ay"]) == [b"x", b"", b"y"]
    assert encoded(separate(separator="\0"), [b"a"]) == [b"a\0"]


def test_pieces_that_end_a_message_by_themselves() -> None:
    assert decoded(separate(buffered=False), [b"hello\nworld", b"again"]) == [
        b"hello",
        b"world",
        b"again",
    ]


def test_a_message_that_is_too_long_is_passed_over() -> None:
    steps = separate(max_length=3)
    assert decoded(steps, [b"abc\nabcd\nab\n"]) == [b"abc", "too_large", b"ab"]
    assert decoded(steps, [b"abcdefgh", b"ijk", b"l\nab\nabcde"]) == [
        "too_large",
        b"ab",
        "too_large",
    ]
    assert encoded(steps, [b"abc", b"abcd", b"ab"]) == [b"abc\n", "too_large", b"ab\n"]


def test_what_is_passed_over_takes_no_memory() -> None:
    chain = before_decoding(separate(max_length=10))
    split = chain._steps[0]
    found = run(chain, [b"x" * 1000] * 50, end=False)
    assert len(found) == 1
    assert len(split._buffer) < 1000  # type: ignore[attr-defined]


def test_a_long_message_in_small_pieces_is_searched_once() -> None:
    """The search goes on where it was; from the start each time it would take a minute."""
    assert decoded(["separate"], [b"x"] * 200_000 + [b"\n"]) == [b"x" * 200_000]


def test_a_message_with_a_separator_in_it_is_not_written() -> None:
    assert encoded(["separate"], [b"a\nb", b"c"]) == ["value", b"c\n"]
    assert encoded(separate(separator="aa"), [b"xa", b"xb"]) == ["value", b"xbaa"]


def test_the_time_is_that_of_the_last_byte() -> None:
    found = run(before_decoding(["separate"]), [b"a", b"b\nc\nd", b"e"])
    assert found == [Piece(b"ab", NOW + 1), Piece(b"c", NOW + 1), Piece(b"de", NOW + 2)]
