"""Codecs by name, with options; and what holds of all of them."""

from __future__ import annotations

import subprocess
import sys
import threading
from collections.abc import Iterator
from functools import partial
from typing import Any

import cbor2
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from restsock.codecs import CODECS, Codec, CodecError, codec
from restsock.codecs import _json as json_codec
from tests.codecs.values import count, error_of, kind_of, outcome

RECORD = {"type": "record", "name": "r", "fields": [{"name": "a", "type": "long"}]}
NEEDED: dict[str, dict[str, Any]] = {"avro": {"schema": RECORD}}
ALL = [codec(name, **NEEDED.get(name, {})) for name in CODECS]
NOW = 1_700_000_000_000_000_000


def test_each_is_there_by_its_name() -> None:
    assert [each.name for each in ALL] == list(CODECS)
    assert {"json", "msgpack", "cbor", "yaml", "csv", "string", "binary", "null"} <= set(CODECS)
    assert {"influx", "statsd", "dogstatsd", "graphite", "syslog", "avro"} <= set(CODECS)
    assert repr(codec("json")) == "<codec json>"
    assert codec("graphite-plaintext").name == "graphite"


@pytest.mark.parametrize(
    ("config", "options"),
    [
        ("json", {"mode": "sorted"}),
        ({"name": "json", "config": {"mode": "sorted"}}, {}),
        ({"name": "json", "config": {"mode": "unsorted"}}, {"mode": "sorted"}),
    ],
)
def test_options_come_from_a_mapping_or_beside_it(config: Any, options: dict[str, Any]) -> None:
    assert codec(config, **options).encode({"b": 1, "a": 2}) == b'{"a":2,"b":1}'


def test_a_dash_in_an_option_is_as_good_as_an_underscore() -> None:
    assert kind_of(lambda: codec({"name": "json", "config": {"max-length": 2}}).decode(b"100")) == (
        "too_large"
    )
    assert codec({"name": "json"}).decode(b"1") == [1]


@pytest.mark.parametrize(
    ("config", "words"),
    [
        ("jsn", "there is no codec 'jsn'; did you mean 'json'?"),
        ("nothing-like-it", "there is no codec 'nothing-like-it'$"),
        ({"name": "json", "config": {"mod": 1}}, "no option 'mod'; did you mean 'mode'?"),
        ({"name": "json", "config": {"mode": "sort"}}, "did you mean 'sorted'?"),
        ({"name": "json", "config": {"mode": 1}}, "mode must be one of unsorted, sorted, not 1"),
        ({"name": "json", "config": {"max_length": "1"}}, "'json': max_length must be a whole"),
        ({"name": "json", "config": {"max_length": None}}, "max_length must be a whole number"),
        ({"name": "json", "config": {"max_length": True}}, "max_length must be a whole number"),
        ({"name": "json", "config": {"max_length": 0}}, "max_length must be a whole number"),
        ({"name": "json", "config": {"max_depth": 257}}, "max_depth must be a whole number"),
        ({"name": "json", "config": {"max_items": -1}}, "max_items must be a whole number"),
        ({"name": "json", "config": []}, "the config of the codec 'json' must be a mapping"),
        ({"name": "json", "conf": {}}, "no 'conf'; did you mean 'config'?"),
        ({"name": "json", "bounds": {}}, "a codec has name and config, and no 'bounds'"),
        ({"config": {}}, "the name of a codec must be text, not None"),
        (7, "a codec is a name, or a mapping with name and config, not 7"),
        ({"name": "avro", "config": {"schema": "int", "compression": []}}, "compression must be"),
        ("avro", "the codec 'avro' needs the option 'schema'"),
        ({"name": "json", "config": {"bounds": {}}}, "no option 'bounds'"),
    ],
)
def test_what_a_configuration_cannot_have(config: Any, words: str) -> None:
    with pytest.raises(ValueError, match=words.replace("?", r"\?")):
        codec(config)


@pytest.mark.parametrize(
    ("name", "package"),
    [
        ("msgpack", "msgspec"),
        ("cbor", "cbor2"),
        ("yaml", "pyyaml"),
        ("avro", "fastavro"),
    ],
)
def test_a_missing_library_is_named_with_its_extra(
    name: str, package: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    modules = {"msgspec": "msgspec.msgpack", "pyyaml": "yaml"}
    monkeypatch.setitem(sys.modules, modules.get(package, package), None)
    with pytest.raises(ImportError) as caught:
        codec(name, **NEEDED.get(name, {}))
    assert str(caught.value) == (
        f"the codec {name!r} needs {package}: pip install 'restsock[codecs]'"
    )


def test_a_library_is_loaded_when_it_is_used() -> None:
    program = (
        "import sys; from restsock.codecs import Format; Format('json', before=['separate']);"
        "print(*sys.modules)"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], check=True, capture_output=True, text=True, timeout=30
    )
    loaded = {name.partition(".")[0] for name in done.stdout.split()}
    assert not loaded & {"msgspec", "cbor2", "yaml", "fastavro", "brotli", "cramjam", "lz4", "trio"}


# --- what holds of all -------------------------------------------------------------------------


@pytest.mark.parametrize("each", ALL, ids=str)
def test_a_message_may_be_as_long_as_it_may(each: Codec) -> None:
    tight = codec(each.name, max_length=10, **NEEDED.get(each.name, {}))
    assert outcome(tight, b"0" * 10) != "too_large"
    assert outcome(tight, b"0" * 11) == "too_large"


SMALL = [
    codec(name, max_length=300, max_items=20, max_depth=4, **NEEDED.get(name, {}))
    for name in CODECS
]


@pytest.mark.parametrize("each", SMALL, ids=str)
@settings(deadline=None, max_examples=150)
@given(data=st.binary(max_size=320), now=st.none() | st.just(NOW))
def test_garbage_is_a_value_or_the_one_error(each: Codec, data: bytes, now: int | None) -> None:
    found = outcome(each, data, now)
    assert len(data) <= 300 or found == "too_large"
    if isinstance(found, list):
        assert each.name == "syslog" or count(found) <= 4 * 20  # keys of fixed names come on top


anything = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.binary(),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.text() | st.integers() | st.none(), inner, max_size=3)
        | st.tuples(inner)
        | st.just(object())
    ),
    max_leaves=8,
)


def written(each: Codec, value: object) -> bytes | str:
    """The message, or the kind of the error."""
    try:
        return each.encode(value)
    except CodecError as exc:
        return exc.kind


@pytest.mark.parametrize("each", ALL, ids=str)
@settings(deadline=None, max_examples=80)
@given(value=anything)
def test_what_it_writes_it_reads(each: Codec, value: object) -> None:
    data = written(each, value)
    if isinstance(data, str):
        assert data in {"value", "too_large", "too_deep", "unsupported"}
        return
    if each.name == "yaml":  # writes any type as a key, and reads only few
        outcome(each, data)
    elif each.name != "json":  # writes the key 1 as "1", beside another one
        assert len(each.decode(data)) == 1


def cyclic() -> list[Any]:
    found: list[Any] = []
    found.append(found)
    return found


class Hostile:
    """Raises in whatever is asked of it."""

    def __getattr__(self, name: str) -> Any:
        raise ZeroDivisionError("from user code")

    def __len__(self) -> int:
        raise ZeroDivisionError("from user code")

    def __iter__(self) -> Iterator[Any]:
        raise ZeroDivisionError("from user code")


@pytest.mark.parametrize("each", [each for each in ALL if each.name != "null"], ids=str)
@pytest.mark.parametrize("make", [cyclic, Hostile, object, lambda: "\ud800", lambda: [object()]])
def test_what_cannot_be_written_is_the_one_error(each: Codec, make: Any) -> None:
    assert kind_of(lambda: each.encode(make())) in {"value", "too_deep"}


def nested(depth: int) -> Any:
    value: Any = []
    for _ in range(depth - 1):
        value = [value]
    return value


@pytest.mark.parametrize("name", ["json", "msgpack", "cbor", "yaml"])
def test_depth_and_number_of_values_are_bounded(name: str) -> None:
    wide = codec(name, max_depth=256)
    tight = codec(name, max_depth=10, max_items=30)
    assert tight.decode(wide.encode(nested(10))) == [nested(10)]
    assert kind_of(lambda: tight.decode(wide.encode(nested(11)))) == "too_deep"
    assert tight.decode(wide.encode(list(range(29)))) == [list(range(29))]
    assert kind_of(lambda: tight.decode(wide.encode(list(range(30))))) == "too_many"
    pairs = {str(number): number for number in range(14)}
    assert tight.decode(wide.encode(pairs)) == [pairs]
    assert kind_of(lambda: tight.decode(wide.encode({**pairs, "14": 14}))) == "too_many"


@pytest.mark.parametrize("name", ["json", "msgpack", "cbor", "yaml"])
def test_what_is_nested_without_end_is_refused_at_once(name: str) -> None:
    opening = {"json": b"[", "msgpack": b"\x91", "cbor": b"\x81", "yaml": b"- "}[name]
    assert outcome(codec(name), opening * 400_000) in {"too_deep", "malformed"}


def test_no_error_shows_what_was_in_the_message() -> None:
    for each in ALL:
        for data in (
            b"hunter2",
            b'{"hunter2": hunter2}',
            b"hunter2: *hunter2",
            b"hunter2:x|hunter2",
        ):
            if isinstance(outcome(each, data), str):
                error = error_of(partial(each.decode, data))
                assert "hunter2" not in str(error)
                assert error.__cause__ is None
                assert error.__suppress_context__


def test_the_memory_that_is_missing_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    def exhausted(data: bytes) -> Any:
        raise MemoryError

    monkeypatch.setattr(json_codec, "read_json", exhausted)
    assert kind_of(lambda: codec("json").decode(b"1")) == "too_large"


class PanicException(BaseException):
    """As libraries in Rust have it."""


def test_a_library_in_rust_that_gives_up_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    raised: type[BaseException] = PanicException

    def fail(*_: Any, **__: Any) -> Any:
        raise raised

    monkeypatch.setattr(cbor2, "loads", fail)
    monkeypatch.setattr(cbor2, "dumps", fail)
    cbor = codec("cbor")
    assert kind_of(lambda: cbor.decode(b"\x01")) == "malformed"
    assert kind_of(lambda: cbor.encode(1)) == "value"
    raised = KeyboardInterrupt
    with pytest.raises(KeyboardInterrupt):
        cbor.decode(b"\x01")
    with pytest.raises(KeyboardInterrupt):
        cbor.encode(1)


def test_an_error_tells_which_codec_and_what() -> None:
    error = error_of(lambda: codec("json").decode(b"[" + b"1," * 200_000 + b"1]"))
    assert (str(error), error.kind, error.fatal, error.may_have_run) == (
        "json: more than 100000 values",
        *("too_many", False, None),
    )


@pytest.mark.parametrize("each", ALL, ids=str)
def test_one_does_for_several_threads(each: Codec) -> None:
    value: Any = {"json": {"a": [1]}, "msgpack": {"a": [1]}, "cbor": {"a": [1]}, "yaml": {"a": [1]}}
    value = value.get(each.name)
    if value is None:
        return
    data = each.encode(value)
    wrong: list[object] = []

    def work() -> None:
        wrong.extend(found for _ in range(200) if (found := each.decode(data)) != [value])

    threads = [threading.Thread(target=work) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []
