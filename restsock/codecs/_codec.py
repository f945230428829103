"""The interface of codecs, how to make one by name, and the mapping of errors to `CodecError`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields
from typing import Any, Protocol

from restsock._exceptions import CodecError

from ._bounds import Bounds, check_length, is_panic
from ._registry import Registry, named

__all__ = ["CODECS", "Codec", "RawCodec", "codec"]

_REGISTRY = Registry(
    "codec",
    {
        "json": "_json:JSON",
        "msgpack": "_msgpack:MessagePack",
        "cbor": "_cbor:CBOR",
        "yaml": "_yaml:YAML",
        "csv": "_csv:CSV",
        "string": "_plain:String",
        "binary": "_plain:Binary",
        "null": "_plain:Null",
        "influx": "_influx:Influx",
        "statsd": "_statsd:StatsD",
        "dogstatsd": "_dogstatsd:DogStatsD",
        "graphite": "_graphite:Graphite",
        "syslog": "_syslog:Syslog",
        "avro": "_avro:Avro",
    },
    {"graphite-plaintext": "graphite"},
)

CODECS: tuple[str, ...] = _REGISTRY.names
"""The names of all codecs."""


class Codec(Protocol):
    """Decodes and encodes messages. It has no state, so one can be used for all connections.

    Attributes:
        name: Its name in configurations.
    """

    @property
    def name(self) -> str:
        """Its name in configurations."""

    def decode(self, data: bytes, now: int | None = None) -> list[Any]:
        """Decodes a message to values: one, or in line-based formats one for each line.

        Args:
            data: The message.
            now: The time of arrival, in nanoseconds since 1970; for times without a year, or that
                mean the time of the receiver.

        Raises:
            CodecError: It is not a message of this format, or exceeds a limit. No other error is
                raised, whatever the peer sends.
        """

    def encode(self, value: Any) -> bytes:
        """Encodes a value as a message; `decode` returns it, if the format has its types.

        Raises:
            CodecError: The format cannot represent the value, or it exceeds a limit.
        """


class RawCodec(Protocol):
    """The implementation of a codec: it parses and writes a format, and may raise any error.

    Its constructor takes `bounds`, and the options of the codec as keywords.
    """

    def decode(self, data: bytes, now: int | None) -> list[Any]:
        """Decodes a message that is not too long."""

    def encode(self, value: Any) -> bytes:
        """Encodes a value; the message may be too long."""


def codec(config: str | Mapping[str, Any], /, **options: Any) -> Codec:
    """Makes a codec.

        codec("json")
        codec("avro", schema={"type": "record", ...}, compression="deflate")
        codec({"name": "json", "config": {"mode": "sorted", "max_length": 65536}})

    Args:
        config: The name of the codec, or a mapping with `name` and optionally `config`, a mapping
            of options.
        options: Other options. Each codec has `max_length` (1 MiB), `max_depth` (64) and
            `max_items` (100,000; 10,000 for YAML). docs/connectors.md lists the others.

    Raises:
        ValueError: There is no such codec or option, or a value is not valid. The message suggests
            the most similar name.
        ImportError: The codec needs a library that is not installed; the message says which extra
            has it.
    """
    name, configured = named(config, "codec")
    name, kind = _REGISTRY.find(name)
    options = {**configured, **options}
    limits = {each.name for each in fields(Bounds)}
    try:
        given = {option: options.pop(option) for option in limits & options.keys()}
        bounds = Bounds(**{**getattr(kind, "default_bounds", {}), **given})
    except ValueError as exc:
        raise ValueError(f"the codec {name!r}: {exc}") from exc
    return _Checked(name, _REGISTRY.build(name, kind, options, bounds=bounds), bounds)


# Errors that a library or a value may raise, besides its own.
_FOREIGN: tuple[tuple[type[Exception], str, str], ...] = (
    (RecursionError, "nested too deeply", "too_deep"),
    (MemoryError, "takes too much memory", "too_large"),
    (EOFError, "ends too early", "truncated"),
)


class _Checked:
    """A codec: a format with its limits, and with one kind of error.

    Other errors are not kept as causes: many of them quote the data, or refer to all of it.
    """

    def __init__(self, name: str, raw: RawCodec, bounds: Bounds) -> None:
        self.name = name
        self._raw = raw
        self._bounds = bounds

    def __repr__(self) -> str:
        return f"<codec {self.name}>"

    def decode(self, data: bytes, now: int | None = None) -> list[Any]:
        try:
            check_length(len(data), self._bounds.max_length)
            return self._raw.decode(data, now)
        # A library may raise anything for hostile bytes.
        except BaseException as exc:  # noqa: BLE001
            raise self._error(exc, "not valid", "malformed") from None

    def encode(self, value: Any) -> bytes:
        try:
            data = self._raw.encode(value)
            check_length(len(data), self._bounds.max_length)
        # A value may have any type, with methods that raise anything.
        except BaseException as exc:  # noqa: BLE001
            raise self._error(exc, "no such value", "value") from None
        return data

    def _error(self, error: BaseException, problem: str, kind: str) -> CodecError:
        """The `CodecError` for an error; raises the error again if it is not of the format."""
        if not isinstance(error, Exception) and not is_panic(error):
            raise error
        if isinstance(error, CodecError):
            return CodecError(f"{self.name}: {error}", kind=error.kind)
        for foreign, words, its_kind in _FOREIGN:
            if isinstance(error, foreign):
                return CodecError(f"{self.name}: {words}", kind=its_kind)
        return CodecError(f"{self.name}: {problem} ({type(error).__name__})", kind=kind)
