"""Answers of an API for administrators: JSON that nothing keeps, pages of lists, problems."""

from __future__ import annotations

import json
from collections.abc import AsyncIterable, Callable, Iterable
from http import HTTPStatus
from typing import Any, TypeVar

from restsock.connection import Response

__all__ = [
    "MAX_ITEMS",
    "Problem",
    "answer_json",
    "answer_nothing",
    "answer_stream",
    "answer_text",
    "page_of",
]

MAX_ITEMS = 200
"""The most that one answer lists."""

_COMMON = (
    ("Cache-Control", "no-store"),
    ("X-Content-Type-Options", "nosniff"),
    ("Content-Security-Policy", "default-src 'none'; frame-ancestors 'none'"),
)

_T = TypeVar("_T")


class Problem(Exception):
    """What an operation raises to be answered with a problem (RFC 9457).

    Args:
        status: 400 to 599.
        detail: for people.
        members: further ones of the problem.
    """

    def __init__(self, status: int, detail: str, **members: Any) -> None:
        super().__init__(detail)
        self.status = status
        self.detail = detail
        self.members = members

    def response(self) -> Response:
        """The answer."""
        title = HTTPStatus(self.status).phrase
        problem = {"title": title, "status": self.status, "detail": self.detail, **self.members}
        return answer_json(problem, self.status, kind="application/problem+json")


def answer_json(value: Any, status: int = 200, *, kind: str = "application/json") -> Response:
    """An answer of JSON that nothing keeps or takes for a page."""
    return Response(status, [("Content-Type", kind), *_COMMON], json.dumps(value))


def answer_text(text: str, status: int = 200, kind: str = "text/plain; charset=utf-8") -> Response:
    """An answer of text."""
    return Response(status, [("Content-Type", kind), *_COMMON], text)


def answer_nothing(status: int = 204) -> Response:
    """An answer without a body."""
    return Response(status, _COMMON)


def answer_stream(body: AsyncIterable[bytes]) -> Response:
    """An answer of server-sent events."""
    return Response(200, [("Content-Type", "text/event-stream"), *_COMMON], body)


def page_of(
    items: Iterable[_T],
    cursor: str | None,
    limit: int,
    key: Callable[[_T], str],
    show: Callable[[_T], Any],
) -> dict[str, Any]:
    """A page of a list in the order of its keys, which stay what they are while it changes.

    Args:
        items: all there are.
        cursor: the key after which the page begins; `None` is the first one.
        limit: how many to show.
        key: of an item; the cursor is that of the last one shown.
        show: makes JSON of an item.
    """
    found = sorted((item for item in items if key(item) > (cursor or "")), key=key)
    shown = found[:limit]
    more = key(shown[-1]) if len(found) > len(shown) else None
    return {"items": [show(item) for item in shown], "next": more}
