"""Framings by name, with options, in rows; and what holds of all of them."""

from __future__ import annotations

import struct
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from restsock.codecs import (
    AFTER_ENCODING,
    BEFORE_DECODING,
    Chain,
    CodecError,
    Piece,
    after_encoding,
    before_decoding,
)
from tests.codecs.framings import NOW, cuts, decoded, encoded, pieces, results, run

NEEDED: dict[str, dict[str, Any]] = {
    "compress": {"algorithm": "gzip"},
    "chunk": {"max_bytes": 200},
}


def step(name: str, **options: Any) -> dict[str, Any]:
    return {"name": name, "config": {**NEEDED.get(name, {}), **options}}


def test_the_names() -> None:
    assert set(BEFORE_DECODING) == {
        *("separate", "length-prefixed", "textual-length-prefixed", "base64", "decompress"),
        *("gelf-chunking", "ingest-ns", "remove-empty"),
    }
    assert set(AFTER_ENCODING) == {
        *("separate", "length-prefixed", "textual-length-prefixed", "base64", "compress", "chunk"),
        *("collect", "gelf-chunking", "ingest-ns", "remove-empty"),
    }
    for name in BEFORE_DECODING:
        assert isinstance(before_decoding([step(name)]), Chain)
    for name in AFTER_ENCODING:
        assert isinstance(after_encoding([step(name)]), Chain)
    assert decoded("textual-length-prefix", [b"1 a"]) == [b"a"]


@pytest.mark.parametrize(
    ("steps", "words"),
    [
        (["seperate"], "there is no framing before decoding 'seperate'; did you mean 'separate'?"),
        (["chunk"], "there is no framing before decoding 'chunk'"),
        ([{"name": "separate", "config": {"seperator": ","}}], "did you mean 'separator'?"),
        ([{"name": "separate", "config": {"max_length": 0}}], "max_length must be a whole number"),
        ([{"name": "separate", "config": {"max_length": None}}], "max_length must be a whole"),
        ([{"name": "separate", "conf": {}}], "did you mean 'config'?"),
        ([{"name": "separate", "config": {"separator": ""}}], "separator must be text of 1 to 16"),
        ([{"name": "separate", "config": {"separator": "x" * 17}}], "separator must be text of 1"),
        ([{"name": "separate", "config": {"separator": 10}}], "separator must be text"),
        ([{"name": "separate", "config": {"buffered": "no"}}], "buffered must be true or false"),
        ([{"name": "length-prefixed", "config": {"width": 2}}], "width must be 8 or 4, not 2"),
        ([{"name": "decompress", "config": {"algorithm": "gz"}}], "algorithm must be one of"),
        ([{"name": "decompress", "config": {"algorithm": []}}], "algorithm must be one of"),
        ([7], "a framing is a name, or a mapping"),
        (["separate"] * 17, "more than 16 framings"),
    ],
)
def test_what_a_configuration_cannot_have(steps: Any, words: str) -> None:
    with pytest.raises(ValueError, match=words.replace("?", r"\?")):
        before_decoding(steps)


@pytest.mark.parametrize(
    ("steps", "words"),
    [
        (
            ["decompress"],
            "there is no framing after encoding 'decompress'; did you mean 'compress'?",
        ),
        (["compress"], "'compress' needs the option 'algorithm'"),
        (["chunk"], "'chunk' needs the option 'max_bytes'"),
        ([{"name": "chunk", "config": {"max_bytes": 2**20 + 1}}], "max_bytes must be a whole"),
        ([{"name": "collect", "config": {"max_bytes": -1}}], "max_bytes must be a whole number"),
        ([{"name": "gelf-chunking", "config": {"max_bytes": 12}}], "max_bytes must be a whole"),
        ([{"name": "compress", "config": {"algorithm": "gzip", "level": 10}}], "level must be a"),
        ([{"name": "compress", "config": {"algorithm": "snappy", "level": 1}}], "has no levels"),
    ],
)
def test_what_a_configuration_cannot_have_after_encoding(steps: Any, words: str) -> None:
    with pytest.raises(ValueError, match=words.replace("?", r"\?")):
        after_encoding(steps)


def test_a_length_for_all_steps_and_one_for_itself() -> None:
    chain = before_decoding(
        ["separate", {"name": "remove-empty", "config": {"max_length": 2}}], max_length=4
    )
    assert results(run(chain, [b"12345\n1234\n12\n\n"])) == ["too_large", "too_large", b"12"]


def test_each_passes_on_what_is_wrong_in_the_one_before() -> None:
    assert decoded(["separate", "base64", "remove-empty"], [b"YQ==\n!\n\nYg=="]) == [
        b"a",
        "malformed",
        b"b",
    ]


def test_what_is_left_at_the_end_passes_through_the_rest() -> None:
    assert decoded(["separate", "base64"], [b"YQ=", b"="]) == [b"a"]
    assert encoded([{"name": "collect"}, "length-prefixed"], [b"a", b"b"]) == [
        struct.pack(">Q", 2) + b"ab"
    ]


def test_messages_are_made_as_they_are_asked_for() -> None:
    """A megabyte of empty messages takes no memory for each of them."""
    chain = before_decoding(["separate"])
    items = chain.feed(Piece(b"\n" * 1_000_000, NOW))
    assert next(items) == Piece(b"", NOW)
    assert sum(1 for _ in items) == 999_999


# --- what holds of all -------------------------------------------------------------------------

# Those that read a stream, whatever pieces it comes in.
STREAMS: list[list[Any]] = [
    ["separate"],
    [step("separate", separator="ab", max_length=5)],
    [step("separate", separator="aa", max_length=3)],
    ["length-prefixed"],
    [step("length-prefixed", width=4, max_length=20)],
    [step("textual-length-prefixed", max_length=99)],
    ["separate", "base64", "remove-empty"],
    [step("length-prefixed", width=4), "decompress", "separate"],
    ["textual-length-prefixed", "separate"],
]
streams = st.binary(max_size=60) | st.lists(
    st.sampled_from(
        [
            b"a",
            b"b",
            b"ab",
            b"\n",
            b"\0\0\0\1",
            b"\0\0\0\0\0\0\0\2",
            b"1 ",
            b"2 ",
            b"0",
            b" ",
            b"YQ==",
            b"12 ",
            b"\xff",
            b"99 ",
            b"100 ",
        ]
    ),
    max_size=20,
).map(b"".join)


@pytest.mark.parametrize("steps", STREAMS, ids=str)
@settings(deadline=None, max_examples=200)
@given(data=streams, places=cuts)
def test_any_pieces_of_a_stream_give_the_same(
    steps: list[Any], data: bytes, places: list[int]
) -> None:
    whole = decoded(steps, [data])
    assert decoded(steps, pieces(data, places)) == whole
    assert decoded(steps, pieces(data, range(len(data)))) == whole


@pytest.mark.parametrize("name", BEFORE_DECODING)
@settings(deadline=None, max_examples=100)
@given(messages=st.lists(st.binary(max_size=40), max_size=6))
def test_garbage_is_the_one_error_and_within_the_bound(name: str, messages: list[bytes]) -> None:
    chain = before_decoding([step(name, max_length=30)])
    for item in run(chain, messages):
        assert isinstance(item, CodecError) or len(item.data) <= 30


# What is written is read again: the ways out and back, in rows.
PAIRS: list[tuple[list[Any], list[Any]]] = [
    (["separate"], ["separate"]),
    (["base64", "separate"], ["separate", "base64"]),
    (["length-prefixed"], ["length-prefixed"]),
    ([step("length-prefixed", width=4)], [step("length-prefixed", width=4)]),
    (["textual-length-prefixed"], ["textual-length-prefixed"]),
    (["ingest-ns", "length-prefixed"], ["length-prefixed", "ingest-ns"]),
    ([step("compress", algorithm="zstd"), "length-prefixed"], ["length-prefixed", "decompress"]),
    (
        [step("compress", algorithm="br"), "base64", "separate"],
        ["separate", "base64", step("decompress", algorithm="brotli")],
    ),
    (["length-prefixed", step("chunk", max_bytes=600)], ["length-prefixed"]),
    (["length-prefixed", "collect"], ["length-prefixed"]),
    (
        [step("gelf-chunking", max_bytes=20), "length-prefixed"],
        ["length-prefixed", "gelf-chunking"],
    ),
    (
        [
            *("textual-length-prefixed", step("collect", max_bytes=50)),
            *(step("compress", algorithm="xz2"), "ingest-ns", "length-prefixed"),
        ],
        ["length-prefixed", "ingest-ns", "decompress", "textual-length-prefixed"],
    ),
]


@pytest.mark.parametrize(("out", "back"), PAIRS, ids=str)
@settings(deadline=None, max_examples=60)
@given(messages=st.lists(st.binary(max_size=60), max_size=8), places=cuts)
def test_what_is_written_is_read(
    out: list[Any], back: list[Any], messages: list[bytes], places: list[int]
) -> None:
    if out == ["separate"]:  # which cannot write a message with a separator in it
        messages = [message.replace(b"\n", b"") for message in messages]
    sent = encoded(out, messages)
    assert all(isinstance(each, bytes) for each in sent)
    stream = b"".join(each for each in sent if isinstance(each, bytes))
    assert decoded(back, pieces(stream, places)) == messages


def test_a_chain_of_none_passes_all() -> None:
    assert decoded([], [b"a", b""]) == [b"a", b""]
    assert encoded([], [b"a", b""]) == [b"a", b""]
