"""How the end of a response is told to a client of HTTP/1.1 (RFC 9112, section 6.3)."""

from __future__ import annotations

import re

from ._request_head import ParsedHead

__all__ = ["ResponseFraming", "without_length"]

_LENGTH = re.compile(rb"\r\ncontent-length:[ \t]*[0-9]+[ \t]*\r\n", re.IGNORECASE)


def without_length(head: bytes) -> bytes:
    """A head without its Content-Length, which a 1xx and a 204 have not (RFC 9110, 8.6)."""
    return _LENGTH.sub(b"\r\n", head)


class ResponseFraming:
    """What a final head says about its body on this hop.

    Args:
        lower: the head in lower case.
        status: of the response.
        request: what is answered.
        whole: the size of the body, if all of it is there; `None` if not.
        keep_alive: whether another request may follow, as far as the client and this side are
            concerned.
        last: whether the head says so where none may follow.

    Attributes:
        fields: the lines that the head needs for it.
        chunked: whether the body goes in chunks.
        bodiless: whether no byte of a body may follow.
        ends_with_connection: whether only the end of the connection ends the body.
        keep_alive: whether another request may follow.
        begun: whether the head has been dealt with: a further one has trailers.
    """

    __slots__ = ("begun", "bodiless", "chunked", "ends_with_connection", "fields", "keep_alive")

    def __init__(
        self,
        lower: bytes,
        status: int,
        request: ParsedHead,
        whole: int | None,
        *,
        keep_alive: bool,
        last: bool = True,
    ) -> None:
        self.fields = b""
        self.chunked = False
        self.ends_with_connection = False
        self.keep_alive = keep_alive
        self.begun = False
        self.bodiless = request.head.method == b"HEAD" or status in (204, 304)
        if status == 101:
            self.bodiless = False
            return
        if not self.bodiless and b"\r\ncontent-length:" not in lower:
            if whole is not None:
                self.fields = b"Content-Length: %d\r\n" % whole
            elif request.old:
                self.ends_with_connection = True
                self.keep_alive = False
            else:
                self.chunked = True
                self.fields = b"Transfer-Encoding: chunked\r\n"
        if not self.keep_alive and last:
            self.fields += b"Connection: close\r\n"
        elif request.old and self.keep_alive:
            self.fields += b"Connection: keep-alive\r\n"
