"""Framings that convert each message to one message, or drop it."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Callable, Iterator

from restsock._exceptions import CodecError

from ._bounds import MAX_LENGTH, check_length, max_length_of, one_of
from ._compression import ALGORITHMS, ALIASES, algorithm_of, compressor, decompress
from ._framing import Framing, Piece

__all__ = [
    "IngestTimeDecoder",
    "IngestTimeEncoder",
    "PerMessage",
    "RemoveEmpty",
    "base64_decoder",
    "base64_encoder",
    "compression",
    "decompression",
]

_TIME = 8  # bytes of a time


class PerMessage:
    """Converts each message with a function, which may raise `CodecError`.

    Args:
        convert: The function.
        most_in: The maximum size of a message before, in bytes.
        most_out: The maximum size of a message after, in bytes; by default there is no limit.
    """

    def __init__(
        self, convert: Callable[[bytes], bytes], most_in: int, most_out: int | None = None
    ) -> None:
        self._convert = convert
        self._most_in = most_in
        self._most_out = most_out

    def feed(self, piece: Piece) -> Iterator[Piece | CodecError]:
        """The converted message, or the error."""
        try:
            check_length(len(piece.data), self._most_in)
            data = self._convert(piece.data)
            if self._most_out is not None:
                check_length(len(data), self._most_out)
        except CodecError as exc:
            yield exc
        else:
            yield Piece(data, piece.time)

    def finish(self, now: int) -> Iterator[Piece | CodecError]:
        """Nothing, since no message waits."""
        return iter(())


def base64_encoder(*, max_length: int = MAX_LENGTH) -> Framing:
    """Writes each message in Base64 (RFC 4648, section 4), without line breaks.

    Args:
        max_length: The maximum size of a decoded message, in bytes.
    """
    return PerMessage(base64.b64encode, max_length_of(max_length))


def base64_decoder(*, max_length: int = MAX_LENGTH) -> Framing:
    """Decodes Base64, with padding and without any other characters.

    Args:
        max_length: The maximum size of a decoded message, in bytes.
    """
    most = max_length_of(max_length)
    return PerMessage(_from_base64, 4 * ((most + 2) // 3), most)


def _from_base64(data: bytes) -> bytes:
    try:
        decoded = base64.b64decode(data, validate=True)
    except binascii.Error:
        raise CodecError("not Base64", kind="malformed") from None
    if base64.b64encode(decoded) != data:  # bits in the last character, or text after the padding
        raise CodecError("not Base64", kind="malformed")
    return decoded


def compression(
    *, algorithm: str, level: int | None = None, max_length: int = MAX_LENGTH
) -> Framing:
    """Compresses each message separately.

    Args:
        algorithm: `"gzip"`, `"zlib"`, `"xz"`, `"zstd"`, `"lz4"`, `"snappy"` (with framing) or
            `"brotli"`.
        level: The level; by default that of the algorithm.
        max_length: The maximum size of an uncompressed message, in bytes.
    """
    name = one_of("algorithm", algorithm, tuple(ALGORITHMS), ALIASES)
    return PerMessage(compressor(name, level), max_length_of(max_length))


def decompression(*, algorithm: str | None = None, max_length: int = MAX_LENGTH) -> Framing:
    """Decompresses messages that were compressed separately.

    Args:
        algorithm: As for `compression`. By default it is detected from the first bytes of the
            message, and other messages pass unchanged. Brotli cannot be detected.
        max_length: The maximum size of an uncompressed message, in bytes. A larger message is
            refused during decompression.
    """
    most = max_length_of(max_length)
    if algorithm is None:

        def convert(data: bytes) -> bytes:
            found = algorithm_of(data)
            return data if found is None else decompress(found, data, most)

    else:
        name = one_of("algorithm", algorithm, tuple(ALGORITHMS), ALIASES)
        ALGORITHMS[name].expand()  # checks that its library is installed

        def convert(data: bytes) -> bytes:
            return decompress(name, data, most)

    # Incompressible data grows a little.
    return PerMessage(convert, most + most // 8 + 1024, most)


class IngestTimeEncoder:
    """Adds the time of sending before each message: nanoseconds since 1970, in 8 bytes.

    Args:
        max_length: The maximum size of a message without the time, in bytes.
    """

    def __init__(self, *, max_length: int = MAX_LENGTH) -> None:
        self._max_length = max_length_of(max_length)

    def feed(self, piece: Piece) -> Iterator[Piece | CodecError]:
        """The message with its time."""
        if not 0 <= piece.time < 2**64:
            yield CodecError("a time that does not fit into 8 bytes", kind="value")
        elif len(piece.data) > self._max_length:
            yield CodecError(f"more than {self._max_length} bytes", kind="too_large")
        else:
            yield Piece(piece.time.to_bytes(_TIME, "big") + piece.data, piece.time)

    def finish(self, now: int) -> Iterator[Piece | CodecError]:
        """Nothing, since no message waits."""
        return iter(())


class IngestTimeDecoder:
    """Removes the time before each message; it becomes the time of the message.

    Args:
        max_length: The maximum size of a message without the time, in bytes.
    """

    def __init__(self, *, max_length: int = MAX_LENGTH) -> None:
        self._max_length = max_length_of(max_length)

    def feed(self, piece: Piece) -> Iterator[Piece | CodecError]:
        """The message without its time."""
        if len(piece.data) < _TIME:
            yield CodecError("a message without its time", kind="truncated")
        elif len(piece.data) > self._max_length + _TIME:
            yield CodecError(f"more than {self._max_length} bytes", kind="too_large")
        else:
            yield Piece(piece.data[_TIME:], int.from_bytes(piece.data[:_TIME], "big"))

    def finish(self, now: int) -> Iterator[Piece | CodecError]:
        """Nothing, since no message waits."""
        return iter(())


class RemoveEmpty:
    """Drops empty messages.

    Args:
        max_length: The maximum size of a message, in bytes.
    """

    def __init__(self, *, max_length: int = MAX_LENGTH) -> None:
        self._max_length = max_length_of(max_length)

    def feed(self, piece: Piece) -> Iterator[Piece | CodecError]:
        """The message, if it is not empty."""
        if len(piece.data) > self._max_length:
            yield CodecError(f"more than {self._max_length} bytes", kind="too_large")
        elif piece.data:
            yield piece

    def finish(self, now: int) -> Iterator[Piece | CodecError]:
        """Nothing, since no message waits."""
        return iter(())
