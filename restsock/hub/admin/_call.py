"""One call of an operation, and the answers that operations give."""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, TypeAlias, TypeVar
from urllib.parse import parse_qs

from restsock.auth import Refused, Upgrade, scopes_of
from restsock.connection import Request, Response
from restsock.gateway.management import (
    MAX_ITEMS,
    Problem,
    answer_json,
    answer_nothing,
    answer_stream,
    answer_text,
    page_of,
)

from ._interface import HubLike

__all__ = [
    "MAX_ITEMS",
    "Call",
    "OperationFunction",
    "Problem",
    "answer_json",
    "answer_nothing",
    "answer_stream",
    "answer_text",
    "page",
]

_T = TypeVar("_T")


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


def page(
    items: Iterable[_T], call: Call, key: Callable[[_T], str], show: Callable[[_T], Any]
) -> Response:
    """A page of a list; see `page_of`."""
    return answer_json(page_of(items, call.query("cursor"), call.limit, key, show))
