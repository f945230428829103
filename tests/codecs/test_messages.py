"""Codec and framings together."""

from __future__ import annotations

import gzip
import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from restsock.codecs import CodecError, Decoded, Decoder, Format, codec
from tests.codecs.framings import cuts, pieces
from tests.codecs.values import json_values


def all_of(decoder: Decoder) -> list[Decoded | str]:
    """All messages that there are by now, or the kinds of errors."""
    found: list[Decoded | str] = []
    while True:
        try:
            message = decoder.next_message()
        except CodecError as exc:
            found.append(exc.kind)
            continue
        if message is None:
            return found
        found.append(message)


def values_of(found: list[Decoded | str]) -> list[Any]:
    return [each if isinstance(each, str) else each.value for each in found]


@settings(deadline=None)
@given(st.lists(json_values, max_size=5), cuts)
def test_what_is_written_is_read(values: list[Any], places: list[int]) -> None:
    lines = Format("json", before=["separate"], after=["separate"])
    encoder, decoder = lines.encoder(), lines.decoder()
    wire = b"".join(b"".join(encoder.encode(value, 0)) for value in values)
    found = []
    for piece in pieces(wire, places):
        decoder.receive_data(piece, 1)
        found += all_of(decoder)
    assert values_of(found) == values


def test_a_wrong_message_is_an_error_in_its_place() -> None:
    decoder = Format("json", before=["separate"]).decoder()
    decoder.receive_data(b'1\n{"a":\n2\n', 7)
    assert all_of(decoder) == [Decoded(1, 7), "malformed", Decoded(2, 7)]
    assert decoder.failed is None


def test_after_a_fatal_error_nothing_is_read() -> None:
    decoder = Format("json", before=["length-prefixed"]).decoder()
    decoder.receive_data(bytes(7) + b"\x011" + b"\xff" * 8 + bytes(7) + b"\x012", 7)
    decoder.receive_data(bytes(7) + b"\x013", 8)
    assert all_of(decoder) == [Decoded(1, 7), "too_large"]
    assert decoder.failed is not None
    assert decoder.failed.fatal
    decoder.receive_data(bytes(7) + b"\x014", 9)
    decoder.receive_end(9)
    assert all_of(decoder) == []


def test_a_message_of_several_values() -> None:
    decoder = Format("influx").decoder()
    decoder.receive_data(b"m f=1 5\nm f=2 6", 9)
    first, second = all_of(decoder)
    assert isinstance(first, Decoded)
    assert isinstance(second, Decoded)
    assert (first.value["timestamp"], second.value["timestamp"]) == (5, 6)
    assert (first.time, second.time) == (9, 9)


def test_the_end_of_a_stream() -> None:
    decoder = Format("string", before=["separate"]).decoder()
    decoder.receive_data(b"a\nb", 1)
    assert all_of(decoder) == [Decoded("a", 1)]
    decoder.receive_end(2)
    assert all_of(decoder) == [Decoded("b", 2)]
    decoder = Format("string", before=["textual-length-prefixed"]).decoder()
    decoder.receive_data(b"5 abc", 1)
    decoder.receive_end(2)
    assert all_of(decoder) == ["truncated"]


def test_the_time_goes_to_the_codec() -> None:
    decoder = Format("graphite", before=["ingest-ns"]).decoder()
    decoder.receive_data((5 * 10**9).to_bytes(8, "big") + b"a 1 -1", 77)
    assert all_of(decoder) == [Decoded({"metric": "a", "value": 1, "timestamp": 5}, 5 * 10**9)]


def test_a_format_does_for_many_connections() -> None:
    lines = Format(codec("string"), before="separate", after={"name": "collect"})
    one, other = lines.decoder(), lines.decoder()
    one.receive_data(b"a", 1)
    other.receive_data(b"b\n", 1)
    one.receive_data(b"c\n", 1)
    assert (values_of(all_of(one)), values_of(all_of(other))) == (["ac"], ["b"])
    first, second = lines.encoder(), lines.encoder()
    assert first.encode("x", 0) == []
    assert second.flush(0) == []
    assert first.flush(0) == [b"x"]
    assert repr(lines) == "<format string>"


def test_it_is_checked_when_it_is_made() -> None:
    with pytest.raises(ValueError, match="did you mean 'json'"):
        Format("jsn")
    with pytest.raises(ValueError, match="did you mean 'separate'"):
        Format("json", before=["separat"])
    with pytest.raises(ValueError, match="no framing after encoding 'decompress'"):
        Format("json", after=["decompress"])


def test_what_was_waiting_is_not_lost_with_what_is_wrong() -> None:
    chunks = Format("string", after=[{"name": "chunk", "config": {"max_bytes": 3}}, "base64"])
    encoder = chunks.encoder()
    assert encoder.encode("ab", 0) == []
    with pytest.raises(CodecError, match="more than 3 bytes"):
        encoder.encode("12345", 0)
    with pytest.raises(CodecError, match="only text"):
        encoder.encode(5, 0)
    assert encoder.encode("cd", 0) == [b"YWI="]
    assert encoder.flush(0) == [b"Y2Q="]


def test_what_comes_before_an_error_comes_with_the_next_call() -> None:
    collect = {"name": "collect", "config": {"max_bytes": 4}}
    encoder = Format("string", after=[collect, "separate"]).encoder()
    assert encoder.encode("abc", 0) == []
    with pytest.raises(CodecError, match="separator"):
        encoder.encode("line\nline", 0)  # after what was collected
    assert encoder.flush(0) == [b"abc\n"]


def test_json_with_compression_is_what_others_read() -> None:
    packed = Format("json", after=[{"name": "compress", "config": {"algorithm": "gzip"}}])
    [data] = packed.encoder().encode({"t": 21.5}, 0)
    assert json.loads(gzip.decompress(data)) == {"t": 21.5}
    decoder = Format("json", before=["decompress"]).decoder()
    decoder.receive_data(gzip.compress(b'{"t": 21.5}'), 1)
    decoder.receive_data(b'{"t": 22}', 2)
    assert values_of(all_of(decoder)) == [{"t": 21.5}, {"t": 22}]
