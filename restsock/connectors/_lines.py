"""Messages as lines of JSON, each with an LF at its end."""

from __future__ import annotations

import base64
from collections.abc import Iterator
from json import dumps
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from restsock.messaging import Message

__all__ = ["Lines", "TooLong", "line_of"]


class TooLong:
    """Stands for a line that has more bytes than it may have."""


def line_of(message: Message) -> bytes:
    """A message as a line: channel, id, timestamp, headers, peer, encoding (of bytes) and body."""
    value: dict[str, Any] = {
        "channel": message.channel,
        "id": message.id,
        "timestamp": message.timestamp,
    }
    if message.headers:
        value["headers"] = dict(message.headers)
    peer = message.session.metadata.get("peer")
    if peer is not None:
        value["peer"] = peer
    if isinstance(message.body, bytes):
        value["encoding"] = "base64"
        value["body"] = base64.b64encode(message.body).decode()
    else:
        value["body"] = message.body
    return dumps(value, ensure_ascii=False, separators=(",", ":")).encode() + b"\n"


class Lines:
    """Cuts bytes into lines. What is longer than `most` bytes is passed over; `TooLong` tells.

    lines = Lines(65536)
    for line in lines.feed(data): ...
    for line in lines.end(): ...        # the last one, if it has no LF
    """

    def __init__(self, most: int) -> None:
        self._most = most
        self._rest = bytearray()
        self._passing = False  # over a line that is too long, whose end has not come

    def feed(self, data: bytes) -> Iterator[bytes | TooLong]:
        """The lines that end in these bytes, without LF or CRLF. Raises nothing."""
        *ended, rest = data.split(b"\n")
        for piece in ended:
            self._add(piece)
            yield from self.end()
        self._add(rest)

    def end(self) -> Iterator[bytes | TooLong]:
        """What has no LF, at the end of all; nothing if there is nothing. Raises nothing."""
        line, passed = bytes(self._rest).rstrip(b"\r"), self._passing
        self._rest.clear()
        self._passing = False
        if passed:
            yield TooLong()
        elif line:
            yield line

    def _add(self, piece: bytes) -> None:
        if self._passing:
            return
        self._rest += piece
        if len(self._rest) > self._most:
            self._rest.clear()
            self._passing = True
