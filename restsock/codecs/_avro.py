"""Avro, by fastavro: object container files, or single values without a header."""

from __future__ import annotations

import hashlib
import io
import json
from collections.abc import Mapping, Sequence
from typing import Any

from restsock._exceptions import CodecError
from restsock._strict_json import read_json

from ._avro_schema import check_schema, with_bounded_decimals
from ._bounds import Bounds, check_length, check_trees, flag, one_of
from ._compression import AVRO_ALGORITHMS, compressor, decompress
from ._registry import library
from ._shape import malformed, truncated

__all__ = ["Avro"]

_MAGIC = b"Obj\x01"
_SYNC = 16
_MAX_METADATA = 64
# How many forms of schemas are cached, and how long they may be.
_MAX_KNOWN = 16
_MAX_KNOWN_LENGTH = 64 * 1024
_MAX_BLOCKS = 10_000
_COMPRESSIONS = ("null", *AVRO_ALGORITHMS)
_ALIASES = {"zstd": "zstandard", "xz2": "xz"}


class Avro:
    """Each record is a value, as in fastavro; a message is one record, or a file of several.

    The schema must be known in advance. A file also contains the schema of its writer, which would
    let a peer choose what is parsed; it must be the same, or one of `writers`.

    Args:
        bounds: The limits of a message.
        schema: The schema of the values: a mapping, a list, or JSON text.
        writers: Older schemas with which messages may be written. Their values are resolved to
            `schema`, as in the specification of Avro.
        compression: `"null"`, `"deflate"`, `"bzip2"`, `"xz"`, `"zstandard"` or `"snappy"`, for
            writing. All of them can be read.
        container: Whether a message is an object container file. If not, it is one value without a
            header, always written with `schema` and not compressed.
    """

    def __init__(
        self,
        *,
        bounds: Bounds,
        schema: Any,
        writers: Sequence[Any] = (),
        compression: str = "null",
        container: bool = True,
    ) -> None:
        self._bounds = bounds
        self._fastavro = library("fastavro", "fastavro")
        self._schema = self._parsed(schema)
        if not isinstance(writers, (list, tuple)):
            raise ValueError(f"writers must be a list of schemas, not {writers!r}")
        own = self._canonical(self._schema)
        parsed = map(self._parsed, writers)
        self._writers = {self._canonical(each): each for each in parsed} | {own: self._schema}
        self._known: dict[bytes, Any] = {}  # schema as received -> the equal one of ours
        self._container = flag("container", container)
        self._compression = one_of("compression", compression, _COMPRESSIONS, _ALIASES)
        self._compress = None
        if self._compression != "null":
            if not container:
                raise ValueError("compression is for containers only")
            self._compress = compressor(self._compression, table=AVRO_ALGORITHMS)
        self._sync = hashlib.blake2b(own.encode(), digest_size=_SYNC).digest()
        self._header = self._make_header(schema)

    def decode(self, data: bytes, now: int | None) -> list[Any]:
        if self._container:
            return self._read_file(data)
        stream = io.BytesIO(data)
        value = self._fastavro.schemaless_reader(stream, self._schema)
        if stream.tell() != len(data):
            raise malformed("more bytes after the value")
        check_trees([value], self._bounds)
        return [value]

    def encode(self, value: Any) -> bytes:
        stream = io.BytesIO()
        self._fastavro.schemaless_writer(stream, self._schema, value, strict_allow_default=True)
        block = stream.getvalue()
        if not self._container:
            return block
        check_length(len(block), self._bounds.max_length)
        if self._compress is not None:
            block = self._compress(block)
        return b"".join([self._header, _long(1), _long(len(block)), block, self._sync])

    def _parsed(self, schema: Any) -> Any:
        try:
            bounded = with_bounded_decimals(_loaded(schema), self._fastavro)
            parsed = self._fastavro.parse_schema(bounded)
            check_schema(parsed, self._bounds.max_depth)
        except ValueError:
            raise
        except Exception as exc:  # fastavro has no base for its errors
            raise ValueError(f"not a schema: {exc}") from exc
        return parsed

    def _canonical(self, parsed: Any) -> str:
        form: str = self._fastavro.schema.to_parsing_canonical_form(parsed)
        return form

    def _make_header(self, schema: Any) -> bytes:
        text = json.dumps(_loaded(schema), separators=(",", ":"))
        metadata = {b"avro.codec": self._compression.encode(), b"avro.schema": text.encode()}
        parts = [_MAGIC, _long(len(metadata))]
        for key, value in metadata.items():
            parts += [_long(len(key)), key, _long(len(value)), value]
        return b"".join([*parts, _long(0), self._sync])

    # --- object container files -------------------------------------------------------------------

    def _read_file(self, data: bytes) -> list[Any]:
        if not data.startswith(_MAGIC):
            raise malformed("not an object container file")
        metadata, at = _read_metadata(data, len(_MAGIC))
        writer = self._writer(metadata.get(b"avro.schema", b""))
        compression = metadata.get(b"avro.codec", b"null").decode()
        if compression not in _COMPRESSIONS:
            raise CodecError("an unknown compression", kind="unsupported")
        sync, at = _take(data, at, _SYNC)
        values: list[Any] = []
        room = self._bounds.max_length
        blocks = 0
        while at < len(data):
            blocks += 1
            if blocks > _MAX_BLOCKS:
                raise CodecError(f"more than {_MAX_BLOCKS} blocks", kind="too_many")
            count, at = _read_long(data, at)
            size, at = _read_long(data, at)
            block, at = _take(data, at, size)
            mark, at = _take(data, at, _SYNC)
            if mark != sync or count < 0:
                raise malformed("a block without its sync marker")
            if compression != "null":
                block = decompress(compression, block, room, table=AVRO_ALGORITHMS)
            room -= len(block)
            self._bounds.count(len(values) + count)
            self._read_block(block, count, writer, values)
        check_trees(values, self._bounds)
        return values

    def _read_block(self, block: bytes, count: int, writer: Any, into: list[Any]) -> None:
        stream = io.BytesIO(block)
        reader = None if writer is self._schema else self._schema
        read = self._fastavro.schemaless_reader
        into.extend(read(stream, writer, reader) for _ in range(count))
        if stream.tell() != len(block):
            raise malformed("a block with a wrong length")

    def _writer(self, schema: bytes) -> Any:
        """The one of our schemas that equals the schema in the message."""
        if (known := self._known.get(schema)) is not None:
            return known
        loaded = read_json(schema)
        check_trees([loaded], self._bounds)  # the library recurses in C
        writer = self._writers.get(self._canonical(self._fastavro.parse_schema(loaded)))
        if writer is None:
            raise CodecError("an unknown schema", kind="unsupported")
        if len(schema) <= _MAX_KNOWN_LENGTH:
            if len(self._known) >= _MAX_KNOWN:
                self._known.clear()
            self._known[schema] = writer
        return writer


def _loaded(schema: Any) -> Any:
    """The schema as a JSON value, if it is text or was parsed already."""
    if isinstance(schema, str) and schema.lstrip()[:1] in ("{", "[", '"'):
        return read_json(schema)
    if isinstance(schema, Mapping):
        return {key: value for key, value in schema.items() if not key.startswith("__")}
    return schema


def _read_metadata(data: bytes, at: int) -> tuple[dict[bytes, bytes], int]:
    metadata: dict[bytes, bytes] = {}
    while True:
        count, at = _read_long(data, at)
        if count == 0:
            return metadata, at
        if count < 0:
            _, at = _read_long(data, at)  # its size, for readers that skip it
        for _ in range(abs(count)):
            if len(metadata) >= _MAX_METADATA:
                raise CodecError("too much metadata", kind="too_many")
            size, at = _read_long(data, at)
            key, at = _take(data, at, size)
            size, at = _read_long(data, at)
            metadata[key], at = _take(data, at, size)


def _take(data: bytes, at: int, size: int) -> tuple[bytes, int]:
    if size < 0:
        raise malformed("a length below 0")
    if at + size > len(data):
        raise truncated()
    return data[at : at + size], at + size


def _read_long(data: bytes, at: int) -> tuple[int, int]:
    """An integer in zigzag encoding, with seven bits per byte."""
    number = 0
    for place, byte in enumerate(data[at : at + 10]):
        number |= (byte & 0x7F) << (7 * place)
        if byte < 0x80:
            return (number >> 1) ^ -(number & 1), at + place + 1
    raise truncated() if len(data) - at < 10 else malformed("an integer of more than 64 bits")


def _long(number: int) -> bytes:
    number <<= 1
    out = bytearray()
    while number > 0x7F:
        out.append(number & 0x7F | 0x80)
        number >>= 7
    out.append(number)
    return bytes(out)
