"""What a client of plain HTTP is answered in place of an app, before its connection is closed."""

from __future__ import annotations

from http import HTTPStatus

__all__ = ["last_answer"]


def last_answer(
    status: int,
    date: bytes,
    text: str = "",
    fields: bytes = b"",
    *,
    head_only: bool = False,
    last: bool = True,
) -> bytes:
    """A whole response that says it is the last.

    Args:
        status: of it.
        date: the time now, as in a Date field.
        text: for people; by default what the status means.
        fields: more lines of its head, each with its end.
        head_only: whether it answers a HEAD, so that no body may follow.
        last: whether it says so; on a carrier where others may follow, it does not.
    """
    if last:
        fields += b"Connection: close\r\n"
    phrase = HTTPStatus(status).phrase
    body = (text or f"{phrase}.\n").encode()
    head = (
        b"HTTP/1.1 %d %s\r\nDate: %s\r\n%sContent-Type: text/plain; charset=utf-8\r\n"
        b"Content-Length: %d\r\n\r\n"
    ) % (status, phrase.encode(), date, fields, len(body))
    return head if head_only else head + body
