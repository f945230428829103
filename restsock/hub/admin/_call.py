"""One call of an operation, and a page of a list as its answer."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass
from typing import Any, TypeAlias, TypeVar

from restsock.auth import Refused, Upgrade, scopes_of
from restsock.connection import Response
from restsock.gateway.management import OperationCall, answer_json, page_of

from ._interface import HubLike

__all__ = ["Call", "OperationFunction", "page"]

_T = TypeVar("_T")


@dataclass(frozen=True, slots=True)
class Call(OperationCall):
    """One call of an operation.

    Attributes:
        hub: whose API it is.
    """

    hub: HubLike

    def may_go_on(self) -> bool:
        """Whether its token would be accepted now, too. For answers that go on for long."""
        try:
            principal = self.hub.admin_principal(
                Upgrade(self.request.target, self.request.headers, "", 0)
            )
        except Refused:
            return False
        return principal is not None and "read" in scopes_of(principal)


OperationFunction: TypeAlias = Callable[[Call], Awaitable[Response]]
"""Answers the calls of one operation; may raise `Problem`."""


def page(
    items: Iterable[_T], call: Call, key: Callable[[_T], str], show: Callable[[_T], Any]
) -> Response:
    """A page of a list; see `page_of`."""
    return answer_json(page_of(items, call.query("cursor"), call.limit, key, show))
