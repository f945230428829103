"""One call of an operation, and the answers that operations give."""

from __future__ import annotations

import json
from collections.abc import AsyncIterable, Awaitable, Callable, Iterable, Mapping
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any, TypeAlias, TypeVar
from urllib.parse import parse_qs

from restsock.auth import Refused, Upgrade
from restsock.connection import Request, Response
from restsock.hub._tokens import scopes_of

from ._interface import HubLike

__all__ = ["MAX_ITEMS", "Call", "OperationFunction", "Problem", "answer_json", "page"]

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


@dataclass(frozen=True, slots=True)
class Call:
    """A request whose operation is known, and which keeps to the document.

    Attributes:
        hub: whose API it is.
        request: as it came.
        variables: those of its path.
    """

    hub: HubLike
    request: Request
    variables: Mapping[str, str]

    def query(self, name: str) -> str | None:
        """A parameter of the query; `None` if it is not there."""
        return parse_qs(self.request.query, keep_blank_values=True).get(name, [None])[0]

    @property
    def limit(self) -> int:
        """How many items are asked for."""
        return min(int(self.query("limit") or MAX_ITEMS), MAX_ITEMS)

    def may_go_on(self) -> bool:
        """Whether its token would be accepted now, too. For answers that go on for long."""
        try:
            principal = self.hub.admin_principal(
                Upgrade(self.request.target, self.request.headers, "", 0)
            )
        except Refused:
            return False
        return principal is not None and "read" in scopes_of(principal)

    async def body(self) -> dict[str, Any]:
        """The body, an object; empty where there is none."""
        content = await self.request.read()
        found: dict[str, Any] = json.loads(content) if content else {}
        return found


OperationFunction: TypeAlias = Callable[[Call], Awaitable[Response]]
"""Answers the calls of one operation; may raise `Problem`."""


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


def page(
    items: Iterable[_T], call: Call, key: Callable[[_T], str], show: Callable[[_T], Any]
) -> Response:
    """A page of a list in the order of its keys, which stay what they are while it changes.

    Args:
        items: all there are.
        call: says where to begin, and how many to show.
        key: of an item; the cursor is that of the last one shown.
        show: makes JSON of an item.
    """
    after = call.query("cursor") or ""
    found = sorted((item for item in items if key(item) > after), key=key)
    shown = found[: call.limit]
    more = key(shown[-1]) if len(found) > len(shown) else None
    return answer_json({"items": [show(item) for item in shown], "next": more})
