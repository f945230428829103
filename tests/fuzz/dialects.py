"""Dialects: what a foreign peer sends is an envelope or counted, and can be said to another one.

An input is a byte that says which dialect, and messages of a WebSocket, parted by RS: text where
they are UTF-8. Each message that is made of them is sent in the same dialect, and has to arrive as
it was; where there are acknowledgements, that of it has to name it.
"""

from __future__ import annotations

import json
from collections.abc import Iterator

from restsock.messaging import Dialect, Raw, Semstreams, Tremor, WasmCloud
from restsock.messaging.dialects import End, Garbled
from restsock.messaging.engine import Malformed, Outgoing, decode_payload, encode_content
from restsock.messaging.engine._payloads import Data
from restsock.protocol import Envelope

MAX_LEN = 512
DICTIONARY = (
    *(b'{"type":"data","id":"1","timestamp":1,"payload":1}', b'"type":"ack"', b'"type":"nack"'),
    *(
        b'"type":"reply"',
        b'"type":"request"',
        b'"type":"slow"',
        b'"id":"msg-1-1"',
        b'"status":"ok"',
    ),
    *(b'{"subject":"a","body":"b"}', b'"encoding":"hex"', b'"encoding":"base64"', b'"body":[0,1]'),
    *(b'"reply_to":"a"', b'"headers":{"a":"b"}', b"\x1e", b"\n", b"\xff", b"\\ud800", b"1e999"),
)
RS = b"\x1e"
DIALECTS: tuple[Dialect, ...] = (
    Raw(),
    Semstreams(),
    Tremor(),
    Tremor(before=["separate", "remove-empty"], after=["separate"]),
    WasmCloud(),
    WasmCloud(hex=True),
)
_NOW = 1_764_000_000_000_000_000
_ID = "12345678-90ab-4cde-8f01-234567890abc"
_END = End("session", False, "10.0.0.7", 1234, False, lambda: "new")


def test_one(data: bytes) -> None:
    dialect = DIALECTS[data[0] % len(DIALECTS)] if data else DIALECTS[0]
    wire = dialect.wire(_END)
    for piece in data[1:].split(RS):
        for found in wire.receive(_message(piece), _NOW):
            _check(dialect, found)
    for found in wire.receive_end(_NOW):
        _check(dialect, found)


def _message(piece: bytes) -> str | bytes:
    try:
        return piece.decode()
    except UnicodeDecodeError:
        return piece


def _check(dialect: Dialect, found: Envelope | Garbled) -> None:
    read = _read(found)
    if not isinstance(read, Data):
        return
    try:
        content = encode_content(read.body, read.headers, read.reply_to)
        size = len(content.encode())
    except (Malformed, UnicodeEncodeError):
        return  # half a character: a program cannot send it
    channel = json.dumps(read.channel)
    payload = f'{{"channel":{channel},"delivery":"at_least_once",{content}}}'
    text = f'{{"type":"data","id":"{_ID}","timestamp":1,"payload":{payload}}}'
    outgoing = Outgoing("data", _ID, 1, text, size, urgent=False, channel=read.channel)
    here, there = dialect.wire(_END), dialect.wire(_END)
    sent = [*here.encode(outgoing, _NOW), *here.flush(_NOW)]
    arrived = [each for message in sent for each in there.receive(message, _NOW)]
    [again] = arrived
    told = _read(again)
    assert isinstance(told, Data), again
    assert told.body == read.body
    if isinstance(dialect, WasmCloud):
        assert (told.channel, told.reply_to) == (read.channel, read.reply_to)
        assert told.headers == read.headers
    if dialect.acknowledges:
        assert [each.id for each in _envelopes(here.receive(_ack(sent[0]), _NOW))] == [_ID]


def _read(found: Envelope | Garbled) -> object:
    if isinstance(found, Garbled):
        return None
    try:
        return decode_payload(found.type, found.id, found.timestamp, found.payload, foreign=True)
    except Malformed:
        return None


def _ack(message: str | bytes) -> str:
    return json.dumps({"type": "ack", "id": json.loads(message)["id"]})


def _envelopes(found: Iterator[Envelope | Garbled]) -> list[Envelope]:
    return [each for each in found if isinstance(each, Envelope)]
