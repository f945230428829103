"""Gets a document from the peer that serves it."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Generator
from contextlib import closing
from functools import partial
from typing import TYPE_CHECKING, TypeAlias

import trio

from restsock._exceptions import RequestTimeout, SpecError
from restsock.connection import Requester, Response, head_for
from restsock.openapi.checks import beside_the_loop
from restsock.openapi.document import MAX_PEER_SIZE, PEER_SECONDS, Document, essence_of, parse
from restsock.threads import ThreadExchange

if TYPE_CHECKING:
    from restsock.connection import FieldsLike

__all__ = ["WELL_KNOWN", "add_part", "discover", "discover_blocking", "search_blocking"]

WELL_KNOWN = (
    "/openapi.json",  # OpenAPIHandler, FastAPI, APIFlask, Quart-Schema, Connexion
    "/schema/openapi.json",  # Litestar
    "/openapi.yaml",
    "/v3/api-docs",  # Spring
    "/swagger.json",  # Flask-RESTX: Swagger 2.0, which gets a clear refusal
)
"""Where frameworks serve their documents, in the order in which they are tried."""

_HEADERS: FieldsLike = {"Accept": "application/json, application/yaml;q=0.8, */*;q=0.1"}
_TIMEOUT = 30.0  # seconds for each attempt: some frameworks make the document when it is asked for

# Asks for a target, is sent the response, returns the bytes of the document and where it is from.
_Search: TypeAlias = "Generator[str, Response, tuple[bytes, str]]"


async def discover(
    requester: Requester, where: str | None = None, *, timeout: float | None = _TIMEOUT
) -> Document:
    """Gets the document of a peer, on the loop. It is read and checked in a thread.

    Safe to try again: it only sends GET requests. If cancelled, the thread stops soon after.

    Args:
        requester: leads to the peer.
        where: the path of the document there; `None` tries those in `WELL_KNOWN`.
        timeout: seconds for each attempt, with the whole answer.

    Raises:
        SpecError: there is none, or it cannot be used; for example, it exceeds a bound.
        RestsockError: the peer could not be asked.
    """
    search = _search(where)
    target = next(search)
    while True:
        response = await _get(requester, target, timeout)
        try:
            target = search.send(response)
        except StopIteration as stop:
            data, source = stop.value
            break
    return await beside_the_loop(partial(parse, data, source=source), seconds=PEER_SECONDS)


def discover_blocking(
    requester: Requester, where: str | None = None, *, timeout: float | None = _TIMEOUT
) -> Document:
    """The same, with the same errors, from a thread that is not the loop's."""
    return search_blocking(partial(_get_blocking, requester, timeout), where)


def search_blocking(get: Callable[[str], Response], where: str | None) -> Document:
    """Gets the document by *get*, which asks for a target; otherwise as `discover_blocking`."""
    search = _search(where)
    target = next(search)
    while True:
        response = get(target)
        try:
            target = search.send(response)
        except StopIteration as stop:
            data, source = stop.value
            return parse(data, source=source)


def _search(where: str | None) -> _Search:
    """The search, without the asking."""
    targets = WELL_KNOWN if where is None else (where,)
    for target in targets:
        response = yield target
        if response.status == 200 and _may_be_one(response):
            return response.content, f"{target} of the peer"
        if where is not None:
            raise SpecError(f"the peer answered {response.status} when asked for {target}")
    raise SpecError(
        f"the peer has no OpenAPI document at any of {', '.join(targets)}: say where it is"
    )


def _may_be_one(response: Response) -> bool:
    """Whether it looks like a document, rather than the page that some servers give for all."""
    return essence_of(response.header("content-type") or "") != "text/html"


async def _get(requester: Requester, target: str, timeout: float | None) -> Response:
    with trio.move_on_after(math.inf if timeout is None else timeout):
        async with requester.stream("GET", target, headers=_HEADERS) as response:
            content = bytearray()
            async for part in response:
                add_part(content, part, target)
            return Response(response.status, response.headers, bytes(content))
    raise _too_late(target, timeout)


def _get_blocking(requester: Requester, timeout: float | None, target: str) -> Response:
    end = math.inf if timeout is None else time.monotonic() + timeout
    head = head_for(requester, "GET", target, _HEADERS, b"")
    with closing(ThreadExchange.open(requester, head)) as exchange:
        answer = exchange.receive_head(requester.timeouts.connect, timeout)
        content = bytearray()
        while part := exchange.receive_data(timeout):
            add_part(content, part, target)
            if time.monotonic() > end:
                raise _too_late(target, timeout)
        return Response(answer.status, answer.headers, bytes(content))


def _too_late(target: str, timeout: float | None) -> RequestTimeout:
    return RequestTimeout(f"{target} of the peer was not there within {timeout} s", phase="body")


def add_part(content: bytearray, part: bytes, target: str) -> None:
    """Adds a part of a document, up to the largest one that is taken."""
    content += part
    if len(content) > MAX_PEER_SIZE:
        raise SpecError(f"{target} of the peer is larger than {MAX_PEER_SIZE} bytes")
