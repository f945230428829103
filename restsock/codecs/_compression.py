"""Compression of whole messages, with a limit on the decompressed size.

A few kilobytes can expand to gigabytes. So every decompression has a maximum size, and fails before
it exceeds that.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, NamedTuple

from restsock._exceptions import CodecError

from ._bounds import is_panic, whole
from ._registry import library

__all__ = [
    "ALGORITHMS",
    "ALIASES",
    "AVRO_ALGORITHMS",
    "Algorithm",
    "algorithm_of",
    "compressor",
    "decompress",
]

ALIASES = {"xz2": "xz", "br": "brotli"}
"""Other names for the same."""

# The maximum number of concatenated parts in a message, like several members of a gzip file.
_MAX_MEMBERS = 64
# The window of a decompressor in bytes: enough for `xz -9`; and 8 MiB, which RFC 8878 (section
# 3.1.1.1.2) recommends for all decoders of zstd.
_XZ_MEMORY = 80 * 1024 * 1024
_ZSTD_WINDOW_LOG = 23

_SNAPPY_START = b"\xff\x06\x00\x00sNaPpY"
_SNAPPY_BLOCK = 65536


class Algorithm(NamedTuple):
    """One way to compress.

    Attributes:
        magic: The first bytes of its messages; empty if it cannot be detected.
        levels: The lowest and the highest level; both 0 without levels.
        default: The default level.
        compress: Makes the function that compresses, given the level.
        expand: Makes the function that decompresses, whose arguments are the data and the maximum
            size of the result.
    """

    magic: tuple[bytes, ...]
    levels: tuple[int, int]
    default: int
    compress: Callable[[int], Callable[[bytes], bytes]]
    expand: Callable[[], Callable[[bytes, int], bytes]]


def compressor(
    name: str, level: int | None = None, *, table: Mapping[str, Algorithm] | None = None
) -> Callable[[bytes], bytes]:
    """The function that compresses a message.

    Args:
        name: The name of the algorithm.
        table: The table with the algorithm; by default `ALGORITHMS`.
        level: The level; `None` is the default of the algorithm.

    Raises:
        ValueError: There is no such level.
        ImportError: Its library is not installed.
    """
    algorithm = (table or ALGORITHMS)[name]
    low, high = algorithm.levels
    if level is None:
        level = algorithm.default
    elif low == high:
        raise ValueError(f"{name} has no levels")
    else:
        whole("level", level, low, high)
    return algorithm.compress(level)


def decompress(
    name: str, data: bytes, most: int, *, table: Mapping[str, Algorithm] | None = None
) -> bytes:
    """Decompresses a message that was compressed as a whole.

    Args:
        name: The name of the algorithm.
        data: The message.
        most: The maximum size of the result, in bytes.
        table: The table with the algorithm; by default `ALGORITHMS`.

    Raises:
        CodecError: The data is damaged or incomplete, or the result is larger than `most`; or the
            library for it is not installed.
    """
    try:
        expand = (table or ALGORITHMS)[name].expand()
    except ImportError as exc:
        raise CodecError(f"{name} {exc}", kind="unsupported") from None
    try:
        return expand(data, most)
    except CodecError:
        raise
    except MemoryError:
        raise CodecError(f"{name} that takes too much memory", kind="too_large") from None
    # Each library has its own errors for damaged data and for excessive memory.
    except BaseException as exc:
        if not isinstance(exc, Exception) and not is_panic(exc):
            raise
        problem = f"{name} that cannot be decompressed ({type(exc).__name__})"
        raise CodecError(problem, kind="malformed") from None


def algorithm_of(data: bytes) -> str | None:
    """Detects the algorithm with which a message was compressed, from its first bytes."""
    for name, algorithm in ALGORITHMS.items():
        if data.startswith(algorithm.magic):
            return name
    return None


def _too_large(most: int) -> CodecError:
    return CodecError(f"more than {most} bytes once decompressed", kind="too_large")


def _expand_members(make: Callable[[], Any], data: bytes, most: int, *, one: bool = False) -> bytes:
    """Decompresses with the interface of the decompressors in the standard library.

    Args:
        make: Makes a decompressor.
        data: One part, or several concatenated parts.
        most: The maximum size of the result, in bytes.
        one: Whether it is one part, and anything after it is ignored.
    """
    out = bytearray()
    for _ in range(_MAX_MEMBERS):
        member = make()
        # One more than allowed, so that it is never 0, which means no limit in zlib.
        out += member.decompress(data, most - len(out) + 1)
        if len(out) > most:
            raise _too_large(most)
        if not member.eof:
            raise CodecError("compressed data that ends too early", kind="truncated")
        data = member.unused_data
        if one or not data:
            return bytes(out)
    raise CodecError(f"more than {_MAX_MEMBERS} compressed parts", kind="too_many")


# --- zlib: deflate with three kinds of envelopes ------------------------------------------------


def _zlib(wbits: int, level: int) -> Callable[[bytes], bytes]:
    def compress(data: bytes) -> bytes:
        packer = zlib.compressobj(level, zlib.DEFLATED, wbits)
        return packer.compress(data) + packer.flush()

    return compress


def _unzlib(wbits: int) -> Callable[[bytes, int], bytes]:
    # For raw deflate, some writers leave a part of a trailer after it.
    return partial(_expand_members, partial(zlib.decompressobj, wbits), one=wbits < 0)


# --- the others of the standard library -----------------------------------------------------------


def _xz(level: int) -> Callable[[bytes], bytes]:
    lzma = library("lzma", "a Python with lzma")
    return partial(lzma.compress, preset=level)


def _unxz() -> Callable[[bytes, int], bytes]:
    lzma = library("lzma", "a Python with lzma")
    make = partial(lzma.LZMADecompressor, format=lzma.FORMAT_XZ, memlimit=_XZ_MEMORY)
    return partial(_expand_members, make)


def _bzip2(level: int) -> Callable[[bytes], bytes]:
    return partial(library("bz2", "a Python with bz2").compress, compresslevel=level)


def _unbzip2() -> Callable[[bytes, int], bytes]:
    return partial(_expand_members, library("bz2", "a Python with bz2").BZ2Decompressor)


# --- libraries ------------------------------------------------------------------------------------


def _zstd_library() -> Any:
    try:
        return library("compression.zstd", "Python 3.14")
    except ImportError:
        return library("backports.zstd", "backports.zstd")


def _zstd(level: int) -> Callable[[bytes], bytes]:
    return partial(_zstd_library().compress, level=level)


def _unzstd() -> Callable[[bytes, int], bytes]:
    zstd = _zstd_library()
    window = {zstd.DecompressionParameter.window_log_max: _ZSTD_WINDOW_LOG}
    return partial(_expand_members, partial(zstd.ZstdDecompressor, options=window))


def _lz4(level: int) -> Callable[[bytes], bytes]:
    return partial(library("lz4.frame", "lz4").compress, compression_level=level)


def _unlz4() -> Callable[[bytes, int], bytes]:
    return partial(_expand_members, library("lz4.frame", "lz4").LZ4FrameDecompressor)


def _brotli(level: int) -> Callable[[bytes], bytes]:
    return partial(library("brotli", "brotli").compress, quality=level)


def _unbrotli() -> Callable[[bytes, int], bytes]:
    brotli = library("brotli", "brotli")

    def expand(data: bytes, most: int) -> bytes:
        member = brotli.Decompressor()
        out = bytearray(member.process(data, output_buffer_limit=most + 1))
        while not member.is_finished() and len(out) <= most:
            more = member.process(b"", output_buffer_limit=most - len(out) + 1)
            if not more:
                raise CodecError("compressed data that ends too early", kind="truncated")
            out += more
        if len(out) > most:
            raise _too_large(most)
        return bytes(out)

    return expand


def _snappy(level: int) -> Callable[[bytes], bytes]:
    snappy = library("cramjam", "cramjam").snappy
    # For empty input, the library returns nothing.
    return lambda data: bytes(snappy.compress(data)) or _SNAPPY_START


def _unsnappy() -> Callable[[bytes, int], bytes]:
    """The framing format of Snappy, chunk by chunk, each with 64 KiB at most."""
    snappy = library("cramjam", "cramjam").snappy

    def expand(data: bytes, most: int) -> bytes:
        if data and not data.startswith(_SNAPPY_START):
            raise CodecError("not a snappy stream", kind="malformed")
        out = bytearray()
        at = len(_SNAPPY_START)
        while at < len(data):
            kind, length = data[at], int.from_bytes(data[at + 1 : at + 4], "little")
            chunk = data[at : at + 4 + length]
            if len(chunk) != 4 + length:
                raise CodecError("compressed data that ends too early", kind="truncated")
            at += len(chunk)
            if kind < 2:
                size = _snappy_size(chunk, 8) if kind == 0 else length - 4
                if not 0 <= size <= _SNAPPY_BLOCK:
                    raise CodecError("a chunk of snappy that is too large", kind="malformed")
                if len(out) + size > most:
                    raise _too_large(most)
                # As a separate stream, whose checksum the library verifies.
                out += bytes(snappy.decompress(_SNAPPY_START + chunk))
            elif kind < 0x80:
                raise CodecError("a chunk of snappy that must not be skipped", kind="unsupported")
        return bytes(out)

    return expand


def _snappy_block(level: int) -> Callable[[bytes], bytes]:
    snappy = library("cramjam", "cramjam").snappy
    return lambda data: bytes(snappy.compress_raw(data)) + zlib.crc32(data).to_bytes(4, "big")


def _unsnappy_block() -> Callable[[bytes, int], bytes]:
    """Snappy without framing, followed by a checksum, as in Avro."""
    snappy = library("cramjam", "cramjam").snappy

    def expand(data: bytes, most: int) -> bytes:
        if _snappy_size(data, 0) > most:
            raise _too_large(most)
        out = bytes(snappy.decompress_raw(data[:-4]))
        if zlib.crc32(out).to_bytes(4, "big") != data[-4:]:
            raise CodecError("damaged snappy", kind="malformed")
        return out

    return expand


def _snappy_size(data: bytes, at: int) -> int:
    """The decompressed size that a block announces: seven bits per byte, the lowest first."""
    size = 0
    for place, byte in enumerate(data[at : at + 5]):
        size |= (byte & 0x7F) << (7 * place)
        if byte < 0x80:
            return size
    raise CodecError("damaged snappy", kind="malformed")


ALGORITHMS = {
    "gzip": Algorithm((b"\x1f\x8b",), (0, 9), 6, partial(_zlib, 31), partial(_unzlib, 31)),
    "zlib": Algorithm(
        (b"\x78\x01", b"\x78\x5e", b"\x78\x9c", b"\x78\xda"),
        *((0, 9), 6, partial(_zlib, 15), partial(_unzlib, 15)),
    ),
    "xz": Algorithm((b"\xfd7zXZ\x00",), (0, 9), 6, _xz, _unxz),
    "zstd": Algorithm((b"\x28\xb5\x2f\xfd",), (1, 19), 3, _zstd, _unzstd),
    "lz4": Algorithm((b"\x04\x22\x4d\x18",), (0, 16), 0, _lz4, _unlz4),
    "snappy": Algorithm((_SNAPPY_START,), (0, 0), 0, _snappy, _unsnappy),
    "brotli": Algorithm((), (0, 11), 5, _brotli, _unbrotli),
}
"""The algorithms for messages, in the order of detection."""

AVRO_ALGORITHMS = {
    "deflate": Algorithm((), (0, 9), 6, partial(_zlib, -15), partial(_unzlib, -15)),
    "bzip2": Algorithm((), (1, 9), 9, _bzip2, _unbzip2),
    "xz": ALGORITHMS["xz"],
    "zstandard": ALGORITHMS["zstd"],
    "snappy": Algorithm((), (0, 0), 0, _snappy_block, _unsnappy_block),
}
"""The algorithms for the blocks of Avro files, by their names in Avro."""
