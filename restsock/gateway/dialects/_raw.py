"""`RawDialect`: messages without any structure."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ._dialect import BadMessage, Dialect, Parsed, ParsedCall
from ._json import problem_of, write

if TYPE_CHECKING:
    from restsock.gateway._message import Reply

__all__ = ["RawDialect"]


class RawDialect(Dialect):
    """Text and bytes as they are. Answers are sent in the order of the messages, one at a time.

    The key is `"text"` or `"binary"`, the body the message. An answer is the body of the reply, a
    value that is neither text nor bytes as JSON; a failure is the JSON of a problem (RFC 9457).
    Parts of an answer cannot be told from the last one.
    """

    def parse(self, data: str | bytes) -> Parsed:
        """See `Dialect.parse`."""
        return ParsedCall("text" if isinstance(data, str) else "binary", data)

    def reply(
        self, to: ParsedCall | BadMessage, reply: Reply, *, more: bool = False
    ) -> str | bytes:
        """See `Dialect.reply`, also for its errors."""
        return write(problem_of(reply)) if reply.failed else self.push(reply.body)

    def push(self, body: Any) -> str | bytes:
        """See `Dialect.push`."""
        if body is None:
            return ""
        if isinstance(body, (bytes, bytearray, memoryview)):
            return bytes(body)
        if not isinstance(body, str):
            return write(body)
        if not body.isascii():
            _check_text(body)
        return body


def _check_text(text: str) -> None:
    """Raises `ValueError` for half of a pair, which escapes of JSON may be."""
    try:
        text.encode()
    except UnicodeEncodeError:
        raise ValueError("a text that UTF-8 cannot have") from None
