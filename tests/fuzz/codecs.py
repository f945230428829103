"""All codecs: a message is values or the one error, within the bounds; and what they write is read.

An input is a byte that says which codec, and the message.
"""

from __future__ import annotations

from typing import Any

from restsock._exceptions import CodecError
from restsock.codecs import CODECS, Codec, codec
from tests.codecs.values import KINDS, count, same
from tests.fuzz.choices import Choices

MAX_LEN = 512
DICTIONARY = (
    *(b'{"a":', b"[1,", b"null", b"\\u00e9", b"1e9", b"\x81\xa1a", b"\xdd\0\0\0\1", b"\xd6\xff"),
    *(b"\xa1aa", b"\x9f", b"\xff", b"\xc1\x1a", b"\xbf", b"- ", b"a: ", b"&a ", b"*a", b"!!int "),
    *(b"\n", b'"', b",", b"=", b"\\", b"|c", b"|g", b"|@0.5", b"|#a:b", b"_e{1,1}:", b"_sc|a|0"),
    *(b"<13>1 ", b"- - - - ", b'[a b="c"]', b"Jan  1 01:02:03 h ", b"1i", b"t=1 ", b" 1465839830"),
    *(b"Obj\x01", b"\x16avro.schema", b"\x14avro.codec", b'"int"', b"\x0edeflate"),
)

MAX_ITEMS = 20
NOW = 1_700_000_000_000_000_000

RECORD = {
    "type": "record",
    "name": "r",
    "fields": [
        {"name": "a", "type": ["null", "long", "string"]},
        {"name": "b", "type": {"type": "array", "items": {"type": "map", "values": "bytes"}}},
        {"name": "c", "type": {"type": "long", "logicalType": "timestamp-millis"}},
        {
            "name": "d",
            "type": {"type": "bytes", "logicalType": "decimal", "precision": 9, "scale": 2},
        },
    ],
}


def made() -> list[Codec]:
    """Each with bounds that inputs of this size can reach."""
    bounds = {"max_length": 400, "max_depth": 5, "max_items": MAX_ITEMS}
    found = [codec(name, **bounds) for name in CODECS if name != "avro"]
    for schema, container in (("int", True), (RECORD, True), (RECORD, False)):
        found.append(codec("avro", schema=schema, container=container, **bounds))
    return found


CASES = made()
# What has another form once it was written: keys of JSON are text, a YAML key is of any type, and
# the times of syslog and Graphite are those of now.
_LOOSE = {"syslog", "graphite", "dogstatsd"}


def test_one(data: bytes) -> None:
    choices = Choices(data)
    chosen = choices.pick(CASES)
    message = choices.rest()
    values = _decode(chosen, message)
    if values is None:
        return
    assert len(message) <= 400
    # Values have at most as many others in them as their keys of fixed names.
    assert count(values) <= 12 * MAX_ITEMS
    for value in values:
        _write(chosen, value)


def _decode(chosen: Codec, message: bytes) -> list[Any] | None:
    try:
        return chosen.decode(message, NOW)
    except CodecError as exc:
        assert exc.kind in KINDS
        assert not exc.fatal
        assert len(str(exc)) < 100
        return None


def _write(chosen: Codec, value: Any) -> None:
    try:
        data = chosen.encode(value)
    except CodecError as exc:
        assert exc.kind in KINDS
        return
    again = _decode(chosen, data)
    # It may be longer than it was, and so may it have more values.
    if again is not None and chosen.name not in _LOOSE:
        assert len(again) == 1
        assert same(again[0], value)
