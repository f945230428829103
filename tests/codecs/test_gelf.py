"""Chunks of GELF."""

from __future__ import annotations

import random
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from restsock.codecs import Piece, after_encoding, before_decoding
from tests.codecs.framings import NOW, decoded, encoded, results, run

SECOND = 10**9


def step(**options: Any) -> list[dict[str, Any]]:
    return [{"name": "gelf-chunking", "config": options}]


def chunk(number: int, count: int, data: bytes, identity: int = 1) -> bytes:
    return b"\x1e\x0f" + identity.to_bytes(8, "big") + bytes([number, count]) + data


def test_what_fits_is_not_cut() -> None:
    assert encoded(step(max_bytes=20), [b"x" * 20, b""]) == [b"x" * 20, b""]
    assert decoded(["gelf-chunking"], [b"plain", b"", b"\x1e"]) == [b"plain", b"", b"\x1e"]


def test_what_begins_like_a_chunk_is_one() -> None:
    message = b"\x1e\x0fabc"
    [sent] = run(after_encoding(["gelf-chunking"]), [message])
    assert isinstance(sent, Piece)
    assert sent.data == chunk(0, 1, message, NOW)
    assert decoded(["gelf-chunking"], [sent.data]) == [message]


@given(st.lists(st.binary(max_size=300), max_size=5), st.randoms(use_true_random=False))
def test_chunks_in_any_order(messages: list[bytes], chance: random.Random) -> None:
    sent = [each for each in encoded(step(max_bytes=20), messages) if isinstance(each, bytes)]
    assert all(len(each) <= 20 for each in sent)
    chance.shuffle(sent)
    assert sorted(decoded(["gelf-chunking"], sent), key=repr) == sorted(messages, key=repr)


def test_a_chunk_that_comes_twice_counts_once() -> None:
    first, second = chunk(0, 2, b"a"), chunk(1, 2, b"b")
    assert decoded(["gelf-chunking"], [first, first, second]) == [b"ab"]
    # And the rest of it once more is the beginning of another one.
    assert decoded(["gelf-chunking"], [first, second, second]) == [b"ab", "truncated"]


@pytest.mark.parametrize(
    "data",
    [
        b"\x1e\x0f",
        b"\x1e\x0f123456789",
        chunk(0, 0, b"a"),
        chunk(2, 2, b"a"),
        chunk(0, 129, b"a"),
        chunk(255, 255, b"a"),
    ],
)
def test_what_is_no_chunk(data: bytes) -> None:
    assert decoded(["gelf-chunking"], [data, chunk(0, 1, b"x")]) == ["malformed", b"x"]


def test_chunks_that_say_different_things() -> None:
    assert decoded(["gelf-chunking"], [chunk(0, 2, b"a"), chunk(1, 3, b"b")]) == ["malformed"]


def test_a_message_has_five_seconds() -> None:
    chain = before_decoding(["gelf-chunking"])
    assert results(chain.feed(Piece(chunk(0, 2, b"a"), NOW))) == []
    assert results(chain.feed(Piece(chunk(1, 2, b"b"), NOW + 5 * SECOND))) == [b"ab"]
    assert results(chain.feed(Piece(chunk(0, 2, b"a"), NOW))) == []
    late = NOW + 5 * SECOND + 1
    assert results(chain.feed(Piece(chunk(0, 1, b"x", 2), late))) == ["truncated", b"x"]
    assert results(chain.feed(Piece(chunk(1, 2, b"b"), late))) == []
    assert results(chain.finish(late)) == ["truncated"]
    assert results(chain.finish(late)) == []


def test_a_clock_that_is_set_back_loses_nothing() -> None:
    chain = before_decoding(["gelf-chunking"])
    assert results(chain.feed(Piece(chunk(0, 2, b"a"), NOW))) == []
    assert results(chain.feed(Piece(chunk(1, 2, b"b"), NOW - 3600 * SECOND))) == [b"ab"]


def test_what_waits_is_bounded() -> None:
    chain = before_decoding(step(max_length=100))
    found = []
    for identity in range(10):
        found += results(chain.feed(Piece(chunk(0, 2, b"x" * 30, identity), NOW)))
    assert found == ["too_large"] * 7
    assert results(chain.finish(NOW)) == ["truncated"] * 3
    # Chunks without anything in them, too.
    found = []
    for identity in range(100):
        found += results(chain.feed(Piece(chunk(0, 2, b"", identity), NOW)))
    assert found == ["too_large"] * 36
    whole = [chunk(0, 2, b"x" * 60), chunk(1, 2, b"x" * 60)]
    assert decoded(step(max_length=100), whole) == ["too_large"]
    assert decoded(step(max_length=100), [b"x" * 101, b"x" * 100]) == ["too_large", b"x" * 100]


def test_there_are_128_chunks_at_most() -> None:
    assert len(encoded(step(max_bytes=20), [b"x" * 1024])) == 128
    assert encoded(step(max_bytes=20), [b"x" * 1025]) == ["too_large"]
    assert encoded(step(max_bytes=20, max_length=100), [b"x" * 101]) == ["too_large"]


def test_no_two_messages_have_one_identity() -> None:
    chain = after_encoding(step(max_bytes=20))
    sent = [
        item
        for time in (NOW, NOW, NOW - SECOND, NOW + 1, 2**64 - 1, 2**64 - 1)
        for item in chain.feed(Piece(b"x" * 30, time))
    ]
    identities = [item.data[2:10] for item in sent if isinstance(item, Piece)]
    assert len(identities) == 24
    assert len(set(identities)) == 6
