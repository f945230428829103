"""Each option of each codec and framing has an effect: their names are those of configurations."""

from __future__ import annotations

import dataclasses
import inspect
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from restsock.codecs import _codec, _framing, codec
from restsock.codecs._bounds import Bounds
from restsock.codecs._registry import Registry
from tests.codecs.framings import decoded, encoded
from tests.codecs.values import kind_of

REGISTRIES = {"codec": _codec._REGISTRY, "before": _framing._BEFORE, "after": _framing._AFTER}
BOUNDS = [field.name for field in dataclasses.fields(Bounds)]
RECORD = {"type": "record", "name": "r", "fields": [{"name": "n", "type": "int"}]}
OLDER = {"type": "record", "name": "r", "fields": [{"name": "n", "type": "int"}]} | {
    "fields": [{"name": "n", "type": "int"}, {"name": "old", "type": "string"}]
}

# Codecs whose values a peer can nest.
NESTED = ("json", "msgpack", "cbor", "yaml")
SYSLOG = b'<165>1 2003-10-11T22:14:15Z h a 7 I [i@1 a="b"] text'
SEVERAL: dict[str, bytes] = {
    "csv": b"a\nb",
    "statsd": b"a:1|c\nb:1|c",
    "dogstatsd": b"a:1|c\nb:1|c",
    "graphite": b"a 1 1\nb 1 1",
    "influx": b"a b=1\na b=2",
    "syslog": SYSLOG,
}


def keys() -> set[str]:
    """All options there are, as `codec json.mode` or `before separate.separator`."""
    found = set()
    for what, registry in REGISTRIES.items():
        for name in registry.names:
            parameters = inspect.signature(registry.find(name)[1]).parameters.values()
            options = {one.name for one in parameters if one.kind is one.KEYWORD_ONLY}
            if "bounds" in options:
                options = options - {"bounds"} | {*BOUNDS}
            found |= {f"{what} {name}.{option}" for option in options}
    return found


def _make(name: str, **options: Any) -> Any:
    return codec(name, **({"schema": RECORD} if name == "avro" else {}), **options)


def _bounds_of(name: str) -> Iterator[tuple[str, Callable[[], None]]]:
    def length() -> None:
        assert kind_of(lambda: _make(name, max_length=4).decode(b"12345")) == "too_large"

    def depth() -> None:
        if name in NESTED:
            data = _make(name).encode([[1]])
            assert _make(name).decode(data)
            assert kind_of(lambda: _make(name, max_depth=1).decode(data)) == "too_deep"
        elif name == "avro":
            nested = {"type": "array", "items": RECORD}
            assert codec(name, schema=nested).encode([{"n": 1}])
            with pytest.raises(ValueError, match="nested more than 1 deep"):
                codec(name, schema=nested, max_depth=1)
        else:  # the shape of its values is fixed, and no peer can make them deeper
            assert _make(name, max_depth=1).name == name

    def items() -> None:
        if name in SEVERAL or name in NESTED:
            data = SEVERAL.get(name) or _make(name).encode([[1]])
            assert _make(name).decode(data)
            assert kind_of(lambda: _make(name, max_items=1).decode(data)) == "too_many"
        elif name == "avro":
            data = _make(name).encode({"n": 1})
            assert kind_of(lambda: _make(name, max_items=1).decode(data)) == "too_many"
        else:  # a message is one value
            assert _make(name, max_items=1).name == name

    yield from zip(BOUNDS, (length, depth, items), strict=True)


def _json_mode() -> None:
    assert codec("json", mode="sorted").encode({"b": 1, "a": 2}) == b'{"a":2,"b":1}'
    assert codec("json").encode({"b": 1, "a": 2}) == b'{"b":1,"a":2}'


def _csv_delimiter() -> None:
    assert codec("csv", delimiter=";").decode(b"a;b,c") == [["a", "b,c"]]


def _avro_schema() -> None:
    made = codec("avro", schema=RECORD)
    assert made.decode(made.encode({"n": 1})) == [{"n": 1}]
    assert kind_of(lambda: made.encode({"n": "x"})) == "value"


def _avro_writers() -> None:
    data = codec("avro", schema=OLDER).encode({"n": 1, "old": "x"})
    assert codec("avro", schema=RECORD, writers=[OLDER]).decode(data) == [{"n": 1}]
    assert kind_of(lambda: codec("avro", schema=RECORD).decode(data)) == "unsupported"


def _avro_compression() -> None:
    assert b"deflate" in codec("avro", schema=RECORD, compression="deflate").encode({"n": 1})
    assert b"deflate" not in codec("avro", schema=RECORD).encode({"n": 1})


def _avro_container() -> None:
    assert codec("avro", schema=RECORD, container=False).encode({"n": 1}) == b"\x02"


def _before(step: Any, data: list[bytes], expected: list[bytes | str]) -> Callable[[], None]:
    def check() -> None:
        assert decoded([step], data) == expected

    return check


def _after(step: Any, data: list[bytes], expected: list[bytes | str]) -> Callable[[], None]:
    def check() -> None:
        assert encoded([step], data) == expected

    return check


def _step(name: str, **config: Any) -> dict[str, Any]:
    return {"name": name, "config": config}


def _compressed() -> bytes:
    [data] = encoded([_step("compress", algorithm="gzip")], [b"x" * 100])
    assert isinstance(data, bytes)
    return data


def _gelf(data: bytes) -> bytes:
    return b"\x1e\x0f" + b"12345678" + bytes([0, 1]) + data


def _level() -> None:
    text = bytes(range(256)) * 40 + b"abc" * 4000
    [quick], [small] = (
        encoded([_step("compress", algorithm="gzip", level=level)], [text]) for level in (1, 9)
    )
    assert quick != small


def _gelf_size() -> None:
    made = encoded([_step("gelf-chunking", max_bytes=64)], [b"x" * 200])
    assert len(made) > 1
    assert all(len(one) <= 64 for one in made)


FIRST = {
    "before separate.separator": _before(_step("separate", separator=";"), [b"a;b"], [b"a", b"b"]),
    "before separate.max_length": _before(
        _step("separate", max_length=2), [b"abc\nd\n"], ["too_large", b"d"]
    ),
    "before separate.buffered": _before(
        _step("separate", buffered=False), [b"a", b"b\nc"], [b"a", b"b", b"c"]
    ),
    "before length-prefixed.width": _before(
        _step("length-prefixed", width=4), [b"\0\0\0\1a"], [b"a"]
    ),
    "before length-prefixed.max_length": _before(
        _step("length-prefixed", width=4, max_length=1), [b"\0\0\0\2ab"], ["too_large"]
    ),
    "before textual-length-prefixed.max_length": _before(
        _step("textual-length-prefixed", max_length=1), [b"2 ab"], ["too_large"]
    ),
    "before base64.max_length": _before(_step("base64", max_length=2), [b"YWJj"], ["too_large"]),
    "before decompress.algorithm": _before(
        _step("decompress", algorithm="zlib"), [_compressed()], ["malformed"]
    ),
    "before decompress.max_length": _before(
        _step("decompress", max_length=99), [_compressed()], ["too_large"]
    ),
    "before gelf-chunking.max_length": _before(
        _step("gelf-chunking", max_length=2), [_gelf(b"abc")], ["too_large"]
    ),
    "before ingest-ns.max_length": _before(
        _step("ingest-ns", max_length=2), [bytes(8) + b"abc"], ["too_large"]
    ),
    "before remove-empty.max_length": _before(
        _step("remove-empty", max_length=2), [b"abc"], ["too_large"]
    ),
    "after separate.separator": _after(_step("separate", separator=";"), [b"a"], [b"a;"]),
    "after length-prefixed.width": _after(
        _step("length-prefixed", width=4), [b"a"], [b"\0\0\0\1a"]
    ),
    "after compress.algorithm": _after(
        _step("compress", algorithm="gzip"), [b"x" * 100], [_compressed()]
    ),
    "after compress.level": _level,
    "after chunk.max_bytes": _after(
        _step("chunk", max_bytes=4), [b"ab", b"cd", b"ef"], [b"abcd", b"ef"]
    ),
    "after collect.max_bytes": _after(
        _step("collect", max_bytes=3), [b"ab", b"cd", b"e"], [b"ab", b"cde"]
    ),
    "after gelf-chunking.max_bytes": _gelf_size,
    "codec json.mode": _json_mode,
    "codec csv.delimiter": _csv_delimiter,
    "codec avro.schema": _avro_schema,
    "codec avro.writers": _avro_writers,
    "codec avro.compression": _avro_compression,
    "codec avro.container": _avro_container,
}


def _after_length(name: str) -> Callable[[], None]:
    configs: dict[str, dict[str, Any]] = {
        "compress": {"algorithm": "gzip"},
        "chunk": {"max_bytes": 2},
    }
    more = configs.get(name, {})
    return _after(_step(name, max_length=2, **more), [b"abc"], ["too_large"])


def cases() -> dict[str, Callable[[], None]]:
    """A check for each option."""
    found = dict(FIRST)
    for name in REGISTRIES["codec"].names:
        found |= {f"codec {name}.{bound}": check for bound, check in _bounds_of(name)}
    for name in REGISTRIES["after"].names:
        found[f"after {name}.max_length"] = _after_length(name)
    return found


CASES = cases()


def test_each_option_is_covered() -> None:
    assert set(CASES) == keys()


@pytest.mark.parametrize("key", sorted(CASES))
def test_each_option_has_an_effect(key: str, monkeypatch: pytest.MonkeyPatch) -> None:
    used: set[str] = set()
    build = Registry.build

    def noted(self: Registry, name: str, made_by: Any, options: Any, **given: Any) -> Any:
        used.update(f"{name}.{option}" for option in options)
        bounds = given.get("bounds")
        if bounds is not None:
            used.update(f"{name}.{bound}" for bound in BOUNDS)
        return build(self, name, made_by, options, **given)

    monkeypatch.setattr(Registry, "build", noted)
    CASES[key]()
    assert key.partition(" ")[2] in used
