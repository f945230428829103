"""A body in chunks as it comes from a client (RFC 9112, section 7.1), read to the letter.

What two readers may understand differently ends the connection: a bare LF or CR, a space that the
grammar does not have, a size with a sign, a chunk that is longer than its size.
"""

from __future__ import annotations

import re

from restsock._exceptions import RemoteProtocolError
from restsock.protocol import Headers, decode_trailers

from ._request_head import BadRequestError

__all__ = ["ChunkedBody"]

# Bytes of the line with a size, extensions included. Those that are in use sign a chunk with a
# hundred bytes.
_MAX_LINE = 1024
# Extensions are passed over, whatever they say (RFC 9112, section 7.1.1).
_SIZE = re.compile(rb"([0-9A-Fa-f]{1,16})(?:[ \t]*;[\t\x20-\x7e\x80-\xff]*)?")


class ChunkedBody:
    """Takes one body in chunks out of a buffer, piece by piece.

    Args:
        max_trailers: bytes of the longest trailer section.

    Attributes:
        trailers: what came after the last chunk; `None` until all has come.
    """

    __slots__ = ("_in_chunk", "_last", "_left", "_max_trailers", "trailers")

    def __init__(self, max_trailers: int) -> None:
        self.trailers: Headers | None = None
        self._left = 0  # bytes of the present chunk that have not come
        self._in_chunk = False  # and the line end after it has not, either
        self._last = False  # whether the chunk of size 0 has come
        self._max_trailers = max_trailers

    def take(self, buffer: bytearray, most: int) -> bytes:
        """Takes the next piece of the body, of at most so many bytes, and what is in front of it.

        Returns:
            The piece; empty when it takes more bytes or credit, or when all has come.

        Raises:
            BadRequestError: the body is malformed.
        """
        while self.trailers is None:
            if self._left:
                size = min(self._left, len(buffer), most)
                data = bytes(buffer[:size])
                del buffer[:size]
                self._left -= size
                return data
            if not (self._take_trailers(buffer) if self._last else self._take_size(buffer)):
                break
        return b""

    def _take_size(self, buffer: bytearray) -> bool:
        """Takes the line with the size of the next chunk; tells whether all of it was there."""
        if self._in_chunk:
            if not b"\r\n".startswith(buffer[:2]):
                raise BadRequestError(400, "a chunk that is longer than its size")
            if len(buffer) < 2:
                return False
            del buffer[:2]
            self._in_chunk = False
        at = buffer.find(b"\r\n", 0, _MAX_LINE)
        if at < 0:
            if len(buffer) >= _MAX_LINE or b"\n" in buffer:
                raise BadRequestError(400, "a malformed chunk")
            return False
        match = _SIZE.fullmatch(buffer, 0, at)
        if match is None:
            raise BadRequestError(400, "a malformed chunk")
        self._left = int(match[1], 16)
        self._in_chunk = True
        self._last = not self._left
        del match  # which would keep the buffer from being cut
        del buffer[: at + 2]
        return True

    def _take_trailers(self, buffer: bytearray) -> bool:
        """Takes the trailer section; tells whether all of it was there."""
        end = 2
        if buffer[:2] != b"\r\n":
            end += buffer.find(b"\r\n\r\n", 0, self._max_trailers) + 2
            if end < 4:
                if len(buffer) >= self._max_trailers:
                    raise BadRequestError(431, "a trailer section that is too long")
                return False
        section = bytes(buffer[:end])
        del buffer[:end]
        try:
            self.trailers = decode_trailers(section)
        except RemoteProtocolError:
            raise BadRequestError(400, "a malformed trailer section") from None
        return True
