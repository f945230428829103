"""The fuzz targets without a fuzzer: what was found stays found, and some chance for each.

`make fuzz` searches. Here the seeds, the kept inputs and a few hundred mutations of them, the same
ones each time, run in every suite; and each target is shown a fault, to know that it sees one.
"""

from __future__ import annotations

import itertools
import math
import random
import re
from collections.abc import Iterator

import pytest

from restsock import _go_duration as go_durations
from restsock.codecs import _influx as influx
from restsock.codecs import _transforms as transforms
from restsock.gateway.backends import _websocket_events as grip_events
from restsock.gateway.dialects import _http as gateway_http
from restsock.http1 import _chunked as chunked
from restsock.http1 import _plain_exchange as plain_exchanges
from restsock.messaging.dialects import _semstreams as semstreams
from restsock.messaging.engine import _reading as reading
from restsock.protocol import ResetCode, StreamFailed
from restsock.protocol import _deflate as deflates
from restsock.protocol import _frames as frame_layout
from restsock.protocol import _handshake as handshakes
from restsock.protocol import _heads as strict_heads
from restsock.protocol import _heads_fast as short_heads
from restsock.protocol import _upgrade as upgrades
from restsock.protocol import _websocket as websockets
from restsock.protocol._stream import Stream
from restsock.protocol._stream_table import StreamTable
from restsock.protocol._websocket_fast import FrameHeader, parse_header
from restsock.swaggersocket.engine import _layer as swaggersocket_layer
from tests.fuzz.mutate import mutate
from tests.fuzz.seeds import seeds
from tests.fuzz.targets import CORPUS, TARGETS, corpus, target

_MUTATIONS = 1500


def inputs(name: str) -> list[bytes]:
    return seeds(name, target(name).MAX_LEN) + corpus(name)


def mutations(name: str) -> Iterator[bytes]:
    rng = random.Random(name)
    module = target(name)
    pool = inputs(name)
    for _ in range(_MUTATIONS):
        yield mutate(rng, pool, module.DICTIONARY, module.MAX_LEN)


def run(name: str, data: bytes) -> None:
    try:
        target(name).test_one(data)
    except Exception as exc:
        # Said in a form that can be pasted into a test.
        exc.args = (*exc.args, f"the target {name} with the input {data!r}")
        raise


@pytest.mark.parametrize("name", TARGETS)
def test_nothing_that_was_found_comes_back(name: str) -> None:
    for data in inputs(name):
        run(name, data)


@pytest.mark.parametrize("name", TARGETS)
def test_small_changes_find_nothing(name: str) -> None:
    for data in mutations(name):
        run(name, data)


def test_what_is_kept_is_small() -> None:
    files = [path for path in CORPUS.rglob("*") if path.is_file()]
    assert {path.parent.name for path in files} <= set(TARGETS)
    assert len(files) <= 500
    assert sum(path.stat().st_size for path in files) < 500_000
    assert all(path.stat().st_size <= target(path.parent.name).MAX_LEN for path in files)


def _take_any_binary(data: bytes | bytearray, at: int, *, masked: bool) -> FrameHeader | None:
    header = parse_header(data, at, masked=masked)
    return header and header._replace(plain=header.plain or data[at] == 0x02)


def _tell_too_late(
    self: StreamTable, stream: Stream, code: ResetCode, reason: str, limit: str | None = None
) -> None:
    self.remove(stream)
    self.events.ready.append(StreamFailed(stream.id, code, reason, by_peer=False))


# For each target one fault of the kind that it is there for.
_FAULTS: dict[str, tuple[object, str, object]] = {
    "heads_fast": (short_heads, "_SPECIAL", re.compile(rb"\n(host|content-length): (.*)\r")),
    "websocket_fast": (websockets, "parse_header", _take_any_binary),
    "frames": (frame_layout, "MAX_CREDIT", 2**31 - 2),
    "heads": (strict_heads, "_check_length", lambda _: None),
    "handshake": (handshakes, "_is_name", lambda _: True),
    "messages": (reading, "is_name", lambda _: True),
    "dialects": (semstreams, "_engine_id", lambda id: id),
    "gateway_dialects": (gateway_http, "_DOTS", re.compile("(?!)")),
    "websocket_events": (grip_events, "_TYPES", ("OPEN", "TEXT", "BINARY")),
    "plain_exchange": (plain_exchanges, "_BODILESS", frozenset()),
    "multiplexer": (StreamTable, "fail", _tell_too_late),
    "listener": (upgrades, "websocket_key", lambda headers: b""),
    "codecs": (influx, "_ESCAPED_IN_STRING", re.compile(r'\\(["])')),
    "framings": (transforms, "check_length", lambda length, most: None),
    "connectors": (go_durations, "_MOST", math.inf),
    "websocket_served": (deflates, "_TAIL", b"\x01\x00\x00\xff\xff"),
    "swaggersocket": (swaggersocket_layer, "_TEXT", 0x82),
    "plain_http": (chunked, "_SIZE", re.compile(rb"([0-9A-Fa-f]{1,16}).*", re.DOTALL)),
}


@pytest.mark.parametrize("name", TARGETS)
def test_a_fault_is_found(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    where, attribute, fault = _FAULTS[name]
    monkeypatch.setattr(where, attribute, fault)
    with pytest.raises(Exception, match=f"the target {name} with the input"):
        for data in itertools.chain(inputs(name), mutations(name)):
            run(name, data)


@pytest.mark.parametrize("name", TARGETS)
def test_its_words_are_not_empty(name: str) -> None:
    assert all(target(name).DICTIONARY)
