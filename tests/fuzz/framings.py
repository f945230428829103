"""All framings, in rows: pieces are messages or the one error, within the bounds.

An input says which row, and then either a stream, which is cut at places that it names itself and
has to give the same as in one piece; or messages, which have to come back after they were written.
"""

from __future__ import annotations

import itertools
from typing import Any

from restsock._exceptions import CodecError
from restsock.codecs import Chain, Piece, after_encoding, before_decoding
from restsock.codecs._compression import ALGORITHMS
from tests.codecs.values import KINDS
from tests.fuzz.choices import Choices

MAX_LEN = 1024
DICTIONARY = (
    *(b"\n", b"\r\n", b"\0\0\0\0\0\0\0\1a", b"\0\0\0\1a", b"5 ", b"0 ", b"YQ==", b"\xff" * 8),
    *(
        b"\x1e\x0f12345678\0\1",
        b"\x1e\x0f12345678\1\2",
        b"\x1f\x8b\x08",
        b"\x78\x9c",
        b"\xfd7zXZ\0",
    ),
    *(b"\x28\xb5\x2f\xfd", b"\x04\x22\x4d\x18", b"\xff\x06\0\0sNaPpY", b"\0\0\0\0\0\0\xff\xff"),
)

MOST = 300
NOW = 1_700_000_000_000_000_000


def step(name: str, **options: Any) -> dict[str, Any]:
    return {"name": name, "config": options}


# Rows that read a stream, and give the same however it is cut.
STREAMS: tuple[list[Any], ...] = (
    ["separate"],
    [step("separate", separator="\r\n")],
    [step("separate", separator="aa")],
    ["length-prefixed"],
    [step("length-prefixed", width=4)],
    ["textual-length-prefixed"],
    ["separate", "base64", "remove-empty"],
    [step("length-prefixed", width=4), "decompress", "separate"],
    [step("length-prefixed", width=4), "gelf-chunking"],
    ["textual-length-prefixed", "ingest-ns"],
)
# Rows that read messages.
MESSAGES: tuple[list[Any], ...] = (
    *([step("decompress", algorithm=name)] for name in ALGORITHMS),
    ["decompress", "decompress"],
    ["base64", "decompress", "gelf-chunking", "ingest-ns"],
    ["gelf-chunking"],
    [step("separate", buffered=False), "remove-empty"],
)
# Out and back.
PAIRS: tuple[tuple[list[Any], list[Any]], ...] = (
    *(
        ([step("compress", algorithm=name)], [step("decompress", algorithm=name)])
        for name in ALGORITHMS
    ),
    (["base64", "separate"], ["separate", "base64"]),
    (["ingest-ns", "length-prefixed"], ["length-prefixed", "ingest-ns"]),
    ([step("gelf-chunking", max_bytes=40)], ["gelf-chunking"]),
    (
        ["textual-length-prefixed", step("chunk", max_bytes=120), "length-prefixed"],
        ["length-prefixed", "textual-length-prefixed"],
    ),
    (
        [step("length-prefixed", width=4), step("collect", max_bytes=120)],
        [step("length-prefixed", width=4)],
    ),
)

STREAM, MESSAGE, PAIR = range(3)

# Once, so that all that there is of them is loaded, and guides the fuzzer.
for each in (*STREAMS, *MESSAGES, *(back for _, back in PAIRS)):
    before_decoding(each)
for each, _ in PAIRS:
    after_encoding(each)


def test_one(data: bytes) -> None:
    choices = Choices(data)
    kind = choices.byte() % 3
    if kind == STREAM:
        steps = choices.pick(STREAMS)
        pieces = choices.pieces()
        cut = _read(steps, pieces)
        assert cut == _read(steps, [b"".join(pieces)])
    elif kind == MESSAGE:
        _read(choices.pick(MESSAGES), choices.pieces())
    else:
        out, back = choices.pick(PAIRS)
        messages = [message[:100] for message in choices.pieces()]
        sent = _run(after_encoding(out, max_length=MOST), messages)
        wire = [each for each in sent if isinstance(each, bytes)]
        assert len(wire) == len(sent)
        assert _run(before_decoding(back, max_length=MOST), wire) == messages


def _read(steps: list[Any], pieces: list[bytes]) -> list[bytes | str]:
    found = _run(before_decoding(steps, max_length=MOST), pieces)
    assert all(len(each) <= MOST for each in found)
    return found


def _run(chain: Chain, pieces: list[bytes]) -> list[bytes | str]:
    fed = (chain.feed(Piece(piece, NOW)) for piece in pieces)
    items = itertools.chain(itertools.chain.from_iterable(fed), chain.finish(NOW))
    return [_outcome(item) for item in items]


def _outcome(item: Piece | CodecError) -> bytes | str:
    if isinstance(item, CodecError):
        assert item.kind in KINDS
        return f"{item.kind} {item.fatal}"
    return item.data
