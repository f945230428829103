"""Messages that are put together into larger ones."""

from __future__ import annotations

from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from restsock.codecs import Piece, after_encoding
from tests.codecs.framings import encoded


def step(name: str, **options: Any) -> list[dict[str, Any]]:
    return [{"name": name, "config": options}]


def test_chunks_are_as_large_as_they_may_be() -> None:
    chunk = step("chunk", max_bytes=5)
    assert encoded(chunk, [b"ab", b"cd", b"e", b"fghij", b"k"]) == [b"abcde", b"fghij", b"k"]
    assert encoded(chunk, [b"ab", b"cdef", b"gh"]) == [b"ab", b"cdef", b"gh"]
    assert encoded(chunk, []) == []
    # What is too large is in the way of nothing.
    assert encoded(chunk, [b"ab", b"123456", b"cd"]) == ["too_large", b"abcd"]


def test_what_is_collected_goes_at_the_end_or_when_it_is_enough() -> None:
    assert encoded(["collect"], [b"ab", b"cd"]) == [b"abcd"]
    assert encoded(step("collect", max_bytes=3), [b"a", b"b", b"cd", b"e"]) == [b"ab", b"cde"]
    # What is larger passes by itself, after what was before it.
    assert encoded(step("collect", max_bytes=3), [b"a", b"12345", b"b"]) == [b"a", b"12345", b"b"]
    # It waits for no more than the bound.
    assert encoded(step("collect", max_length=4), [b"abc", b"de", b"12345"]) == [
        b"abc",
        "too_large",
        b"de",
    ]


@given(st.lists(st.binary(max_size=12), max_size=12), st.integers(1, 20))
def test_nothing_is_lost_and_nothing_is_too_large(messages: list[bytes], most: int) -> None:
    for name in ("chunk", "collect"):
        found = encoded(step(name, max_bytes=most), messages)
        sent = [each for each in found if isinstance(each, bytes)]
        kept = [each for each in messages if name == "collect" or len(each) <= most]
        assert b"".join(sent) == b"".join(kept)
        assert all(len(each) <= most or each in messages for each in sent)
        assert found.count("too_large") == len(messages) - len(kept)


def test_it_goes_on_after_a_flush() -> None:
    chain = after_encoding(["collect"])
    assert list(chain.feed(Piece(b"a", 1))) == []
    assert list(chain.finish(2)) == [Piece(b"a", 2)]
    assert list(chain.finish(3)) == []
    assert list(chain.feed(Piece(b"b", 4))) == []
    assert list(chain.finish(5)) == [Piece(b"b", 5)]
