"""Gets a document from the peer that serves it."""

from __future__ import annotations

from collections.abc import Generator
from contextlib import closing
from typing import TYPE_CHECKING, TypeAlias

from restsock._exceptions import SpecError
from restsock.connection import Dispatcher, ThreadExchange, head_for
from restsock.connection._messages import Response

from ._document import Document, parse

if TYPE_CHECKING:
    from restsock.connection import FieldsLike

__all__ = ["WELL_KNOWN", "discover", "discover_blocking"]

WELL_KNOWN = (
    "/openapi.json",  # OpenAPIHandler, FastAPI, APIFlask, Quart-Schema, Connexion
    "/schema/openapi.json",  # Litestar
    "/openapi.yaml",
    "/v3/api-docs",  # Spring
    "/swagger.json",  # Flask-RESTX: Swagger 2.0, which gets a clear refusal
)
"""Where frameworks serve their documents, in the order in which they are tried."""

_HEADERS: FieldsLike = {"Accept": "application/json, application/yaml;q=0.8, */*;q=0.1"}
_MAX_SIZE = 32 * 1024 * 1024
_TIMEOUT = 30.0  # seconds for each attempt: some frameworks make the document when it is asked for

# Asks for a target, is sent the response, returns the document.
_Search: TypeAlias = "Generator[str, Response, Document]"


async def discover(dispatcher: Dispatcher, where: str | None = None) -> Document:
    """Gets the document of a peer, on the loop.

    Args:
        dispatcher: leads to the peer.
        where: the path of the document there; `None` tries those in `WELL_KNOWN`.

    Raises:
        SpecError: there is none, or it cannot be used.
        RestsockError: the peer could not be asked.
    """
    search = _search(where)
    target = next(search)
    while True:
        response = await _get(dispatcher, target)
        try:
            target = search.send(response)
        except StopIteration as stop:
            document: Document = stop.value
            return document


def discover_blocking(
    dispatcher: Dispatcher, where: str | None = None, *, timeout: float | None = _TIMEOUT
) -> Document:
    """The same, from a thread that is not the loop's.

    Args:
        dispatcher: leads to the peer.
        where: the path of the document there; `None` tries those in `WELL_KNOWN`.
        timeout: seconds for each attempt.

    Raises:
        SpecError: there is none, or it cannot be used.
        RestsockError: the peer could not be asked.
    """
    search = _search(where)
    target = next(search)
    while True:
        response = _get_blocking(dispatcher, target, timeout)
        try:
            target = search.send(response)
        except StopIteration as stop:
            document: Document = stop.value
            return document


def _search(where: str | None) -> _Search:
    """The search itself, whoever does the asking."""
    targets = WELL_KNOWN if where is None else (where,)
    for target in targets:
        response = yield target
        if response.status == 200 and _may_be_one(response):
            return parse(response.content, source=f"{target} of the peer")
        if where is not None:
            raise SpecError(f"the peer answered {response.status} when asked for {target}")
    raise SpecError(
        f"the peer has no OpenAPI document at any of {', '.join(targets)}: say where it is"
    )


def _may_be_one(response: Response) -> bool:
    """Whether it looks like a document, rather than the page that some servers give for all."""
    kind = (response.header("content-type") or "").partition(";")[0].strip().lower()
    return kind != "text/html"


async def _get(dispatcher: Dispatcher, target: str) -> Response:
    async with dispatcher.stream("GET", target, headers=_HEADERS) as response:
        parts = []
        size = 0
        async for part in response:
            size += len(part)
            _check_size(size, target)
            parts.append(part)
        return Response(response.status, response.headers, b"".join(parts))


def _get_blocking(dispatcher: Dispatcher, target: str, timeout: float | None) -> Response:
    head = head_for(dispatcher, "GET", target, _HEADERS, b"")
    with closing(ThreadExchange.open(dispatcher, head)) as exchange:
        answer = exchange.receive_head(dispatcher.timeouts.connect, timeout)
        parts = []
        size = 0
        while part := exchange.receive_data(timeout):
            size += len(part)
            _check_size(size, target)
            parts.append(part)
        return Response(answer.status, answer.headers, b"".join(parts))


def _check_size(size: int, target: str) -> None:
    if size > _MAX_SIZE:
        raise SpecError(f"{target} of the peer is larger than {_MAX_SIZE} bytes")
