"""Framings that make one message of each, or none."""

from __future__ import annotations

import base64
import sys
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from restsock.codecs import CodecError, Piece, after_encoding, before_decoding
from restsock.codecs._compression import ALGORITHMS, compressor
from tests.codecs.framings import NOW, decoded, encoded, results, run


def step(name: str, **options: Any) -> list[dict[str, Any]]:
    return [{"name": name, "config": options}]


@given(st.binary(max_size=40))
def test_base64(data: bytes) -> None:
    assert encoded(["base64"], [data]) == [base64.b64encode(data)]
    assert decoded(["base64"], [base64.b64encode(data)]) == [data]


@pytest.mark.parametrize(
    "data",
    [
        b"YQ",
        b"YQ=",
        b"YQ===",
        b"YR==",
        b"Y Q==",
        b"YQ==\n",
        b"YQ==YQ==",
        b"_w==",
        b"=",
        b"\xff",
        b"A",
    ],
)
def test_what_is_not_base64(data: bytes) -> None:
    assert decoded(["base64"], [data]) == ["malformed"]


def test_the_length_is_that_of_the_message_itself() -> None:
    for algorithm in ALGORITHMS:
        noise = bytes(range(200))  # which nothing makes shorter
        packed = encoded(
            step("compress", algorithm=algorithm, max_length=200), [noise, noise + b"x"]
        )
        assert packed[1] == "too_large"
        assert isinstance(packed[0], bytes)
        steps = step("decompress", algorithm=algorithm, max_length=200)
        assert decoded(steps, [packed[0]]) == [noise]
        assert decoded(steps, [compressor(algorithm)(noise + b"x")]) == ["too_large"]
        assert decoded(steps, [bytes(5000)]) == ["too_large"]
    assert encoded(step("base64", max_length=3), [b"abc", b"abcd"]) == [b"YWJj", "too_large"]
    assert decoded(step("base64", max_length=3), [b"YWJj", b"YWJjZA=="]) == [b"abc", "too_large"]


def test_compression_is_found_by_how_a_message_begins() -> None:
    plain = [b"{}", b"", b"plain text"]
    packed = [compressor(name)(b"abc") for name in ALGORITHMS if name != "brotli"]
    assert decoded(["decompress"], [*packed, *plain]) == [b"abc"] * len(packed) + plain
    assert decoded(step("decompress", max_length=4), [b"plain"]) == ["too_large"]
    assert decoded(["decompress"], [b"\x1f\x8bnot gzip"]) == ["malformed"]


def test_a_message_of_another_algorithm_than_the_one_that_is_configured() -> None:
    assert decoded(step("decompress", algorithm="gzip"), [b"{}"]) in (["malformed"], ["truncated"])


def test_levels_and_other_names() -> None:
    assert decoded(["decompress"], encoded(step("compress", algorithm="xz2", level=9), [b"a"])) == [  # type: ignore[arg-type]
        b"a"
    ]
    small, fast = (
        len(encoded(step("compress", algorithm="zlib", level=level), [b"abcd" * 999])[0])
        for level in (9, 0)
    )
    assert small < fast


def test_a_library_that_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    packed = compressor("lz4")(b"abc")
    monkeypatch.setitem(sys.modules, "lz4.frame", None)
    for steps, make in (
        (step("decompress", algorithm="lz4"), before_decoding),
        (step("compress", algorithm="lz4"), after_encoding),
    ):
        with pytest.raises(ImportError, match=r"'(de)?compress' needs lz4: pip install"):
            make(steps)
    # Where it is only found when such a message comes, the others are still read.
    [error, rest] = run(before_decoding(["decompress"]), [packed, b"abc"])
    assert isinstance(error, CodecError)
    assert error.kind == "unsupported"
    assert str(error) == "lz4 needs lz4: pip install 'restsock[codecs]'"
    assert results([rest]) == [b"abc"]


def test_the_time_of_a_message() -> None:
    [sent] = run(after_encoding(["ingest-ns"]), [b"abc"])
    assert sent == Piece(NOW.to_bytes(8, "big") + b"abc", NOW)
    back = before_decoding(["ingest-ns"])
    assert list(back.feed(Piece(NOW.to_bytes(8, "big") + b"abc", 5))) == [Piece(b"abc", NOW)]
    assert list(back.feed(Piece(bytes(8), 5))) == [Piece(b"", 0)]
    assert results(back.feed(Piece(bytes(7), 5))) == ["truncated"]


def test_the_time_has_eight_bytes_and_does_not_count() -> None:
    out = after_encoding(step("ingest-ns", max_length=3))
    assert results(out.feed(Piece(b"abcd", 5))) == ["too_large"]
    for wrong in (-1, 2**64):
        assert results(out.feed(Piece(b"abc", wrong))) == ["value"]
    [sent] = out.feed(Piece(b"abc", 2**64 - 1))
    assert isinstance(sent, Piece)
    back = before_decoding(step("ingest-ns", max_length=3))
    assert list(back.feed(sent)) == [Piece(b"abc", 2**64 - 1)]
    assert results(back.feed(Piece(bytes(12), 5))) == ["too_large"]


def test_messages_without_bytes_fall_away() -> None:
    assert decoded(["remove-empty"], [b"", b"a", b""]) == [b"a"]
    assert encoded(["remove-empty"], [b"", b"a", b""]) == [b"a"]
    assert decoded(step("remove-empty", max_length=1), [b"ab", b"a"]) == ["too_large", b"a"]
