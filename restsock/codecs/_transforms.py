"""Framings that make one message of each, or none."""

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
    """Makes one message of each by a function, which may raise `CodecError`.

    Args:
        convert: The function.
        most_in: Bytes of a message before.
        most_out: Bytes of a message after; by default there is no bound of its own.
    """

    def __init__(
        self, convert: Callable[[bytes], bytes], most_in: int, most_out: int | None = None
    ) -> None:
        self._convert = convert
        self._most_in = most_in
        self._most_out = most_out

    def feed(self, piece: Piece) -> Iterator[Piece | CodecError]:
        """The message that is made of this one, or the error."""
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
        """Nothing: no message waits for another one."""
        return iter(())


def base64_encoder(*, max_length: int = MAX_LENGTH) -> Framing:
    """Writes each message in Base64 (RFC 4648, section 4), without line breaks.

    Args:
        max_length: Bytes of a message that is not encoded.
    """
    return PerMessage(base64.b64encode, max_length_of(max_length))


def base64_decoder(*, max_length: int = MAX_LENGTH) -> Framing:
    """Reads Base64, with its padding and nothing beside it.

    Args:
        max_length: Bytes of a message that is not encoded.
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
    """Compresses each message by itself.

    Args:
        algorithm: `"gzip"`, `"zlib"`, `"xz"`, `"zstd"`, `"lz4"`, `"snappy"` (with framing) or
            `"brotli"`.
        level: What the algorithm has; by default its own.
        max_length: Bytes of a message that is not compressed.
    """
    name = one_of("algorithm", algorithm, tuple(ALGORITHMS), ALIASES)
    return PerMessage(compressor(name, level), max_length_of(max_length))


def decompression(*, algorithm: str | None = None, max_length: int = MAX_LENGTH) -> Framing:
    """Decompresses messages, each of which was compressed by itself.

    Args:
        algorithm: As in `compression`. By default it is found by how the message begins, and what
            begins like none of them passes as it is. Brotli cannot be found that way.
        max_length: Bytes of a message that is not compressed. What would be larger is refused while
            it is decompressed.
    """
    most = max_length_of(max_length)
    if algorithm is None:

        def convert(data: bytes) -> bytes:
            found = algorithm_of(data)
            return data if found is None else decompress(found, data, most)

    else:
        name = one_of("algorithm", algorithm, tuple(ALGORITHMS), ALIASES)
        ALGORITHMS[name].expand()  # its library is there

        def convert(data: bytes) -> bytes:
            return decompress(name, data, most)

    # What cannot be compressed grows a little.
    return PerMessage(convert, most + most // 8 + 1024, most)


class IngestTimeEncoder:
    """Puts before each message when it is sent: nanoseconds since 1970, in 8 bytes.

    Args:
        max_length: Bytes of a message, without the time.
    """

    def __init__(self, *, max_length: int = MAX_LENGTH) -> None:
        self._max_length = max_length_of(max_length)

    def feed(self, piece: Piece) -> Iterator[Piece | CodecError]:
        """The message with its time."""
        if not 0 <= piece.time < 2**64:
            yield CodecError("a time that 8 bytes cannot hold", kind="value")
        elif len(piece.data) > self._max_length:
            yield CodecError(f"more than {self._max_length} bytes", kind="too_large")
        else:
            yield Piece(piece.time.to_bytes(_TIME, "big") + piece.data, piece.time)

    def finish(self, now: int) -> Iterator[Piece | CodecError]:
        """Nothing: no message waits for another one."""
        return iter(())


class IngestTimeDecoder:
    """Takes the time off each message, which goes with it from then on, as a peer has it.

    Args:
        max_length: Bytes of a message, without the time.
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
        """Nothing: no message waits for another one."""
        return iter(())


class RemoveEmpty:
    """Lets messages without bytes fall away.

    Args:
        max_length: Bytes of a message.
    """

    def __init__(self, *, max_length: int = MAX_LENGTH) -> None:
        self._max_length = max_length_of(max_length)

    def feed(self, piece: Piece) -> Iterator[Piece | CodecError]:
        """The message, if it has any bytes."""
        if len(piece.data) > self._max_length:
            yield CodecError(f"more than {self._max_length} bytes", kind="too_large")
        elif piece.data:
            yield piece

    def finish(self, now: int) -> Iterator[Piece | CodecError]:
        """Nothing: no message waits for another one."""
        return iter(())
