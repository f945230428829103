"""An API for administrators that an OpenAPI document describes: its handler, and one call of it."""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable, Mapping
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Generic, TypeVar
from urllib.parse import parse_qs

from restsock.apps import Responder
from restsock.auth import Refused
from restsock.connection import Request, Response, ignore
from restsock.openapi import OpenAPIHandler
from restsock.openapi.document import NoSuchMethod, NoSuchPath

from ._answers import MAX_ITEMS, Problem

if TYPE_CHECKING:
    from restsock.connection import Exchange
    from restsock.openapi import Document

    from ._guard import Guard

__all__ = ["OperationAPI", "OperationCall"]


@dataclass(frozen=True, slots=True)
class OperationCall:
    """A request whose operation is known, and which keeps to the document.

    Attributes:
        request: As it came.
        variables: Those of its path.
    """

    request: Request
    variables: Mapping[str, str]

    def query(self, name: str) -> str | None:
        """A parameter of the query; `None` if it is not there."""
        return parse_qs(self.request.query, keep_blank_values=True).get(name, [None])[0]

    @property
    def limit(self) -> int:
        """How many items are asked for."""
        return min(int(self.query("limit") or MAX_ITEMS), MAX_ITEMS)

    async def body(self) -> dict[str, Any]:
        """The body, an object; empty where there is none."""
        content = await self.request.read()
        found: dict[str, Any] = json.loads(content) if content else {}
        return found


_C = TypeVar("_C", bound=OperationCall)


class OperationAPI(Generic[_C]):
    """Asks its guard about each request, and calls the function of the operation. A `Handler`.

    Args:
        document: Has the operations.
        functions: One for each operation, by its id; may raise `Problem`.
        call: Makes what a function gets, of a request and the variables of its path.
        guard: Lets requests pass, or refuses them.
        wrong_response: What is done with an answer that breaks the document; see `OpenAPIHandler`.
        publish: The path at which the document is served.
    """

    def __init__(
        self,
        document: Document,
        functions: Mapping[str, Callable[[_C], Awaitable[Response]]],
        call: Callable[[Request, Mapping[str, str]], _C],
        guard: Guard,
        *,
        wrong_response: str,
        publish: str = "/openapi.json",
    ) -> None:
        self._document = document
        self._functions = functions
        self._call = call
        self._guard = guard
        self._inner = OpenAPIHandler(
            self.answer,
            document,
            responses=True,
            wrong_response=wrong_response,
            publish=publish,
            threads=2,
            interface="function",
        )

    def handle(self, exchange: Exchange) -> None:
        """Takes over a request; see `Handler`."""
        try:
            self._guard.check(exchange)
        except Refused as exc:
            exchange.observer = ignore
            headers = [*exc.headers, (b"Cache-Control", b"no-store")]
            Responder(exchange, exchange.request.method).problem(exc.status, exc.text, headers)
        else:
            self._inner.handle(exchange)

    def running(self) -> AbstractAsyncContextManager[None]:
        """Runs what answers; see `Handler`."""
        return self._inner.running()

    async def answer(self, request: Request) -> Response:
        """Answers a request that keeps to the document, and that the guard has let pass."""
        path = request.target.partition("?")[0]
        try:
            match = self._document.match(request.method, path)
        except (NoSuchPath, NoSuchMethod):  # OPTIONS, which is left to apps
            return Problem(405, "Nothing here answers to this method.").response()
        assert match.operation.id is not None
        try:
            return await self._functions[match.operation.id](self._call(request, match.variables))
        except Problem as exc:
            return exc.response()
