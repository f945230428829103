"""Gets a document from the peer that serves it."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from contextlib import closing
from functools import partial
from typing import TYPE_CHECKING

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
"""The paths at which frameworks serve their documents, in the order in which they are tried."""

_HEADERS: FieldsLike = {"Accept": "application/json, application/yaml;q=0.8, */*;q=0.1"}
_TIMEOUT = 30.0  # seconds for each attempt: some frameworks generate the document on request


async def discover(
    requester: Requester, where: str | None = None, *, timeout: float | None = _TIMEOUT
) -> Document:
    """Gets the document of a peer, on the loop. It is parsed and checked in a thread.

    A retry is safe, since it only sends GET requests. If cancelled, the thread stops soon after.

    Args:
        requester: The requester for the peer.
        where: The path of the document there; `None` tries those in `WELL_KNOWN`.
        timeout: Seconds for each attempt, including the whole response.

    Raises:
        SpecError: There is no document, or it cannot be used; it exceeds a limit, for example.
        RestsockError: A request to the peer failed.
    """
    for target in _targets(where):
        response = await _get(requester, target, timeout)
        if _may_be_one(response, where):
            read = partial(parse, response.content, source=f"{target} of the peer")
            return await beside_the_loop(read, seconds=PEER_SECONDS)
    raise SpecError(_NOWHERE)


def discover_blocking(
    requester: Requester, where: str | None = None, *, timeout: float | None = _TIMEOUT
) -> Document:
    """The same, with the same errors, for a thread other than the loop's."""
    return search_blocking(partial(_get_blocking, requester, timeout), where)


def search_blocking(get: Callable[[str], Response], where: str | None) -> Document:
    """Gets the document with *get*, which requests a target; otherwise as `discover_blocking`."""
    for target in _targets(where):
        response = get(target)
        if _may_be_one(response, where):
            return parse(response.content, source=f"{target} of the peer")
    raise SpecError(_NOWHERE)


_NOWHERE = f"the peer has no OpenAPI document at any of {', '.join(WELL_KNOWN)}: say where it is"


def _targets(where: str | None) -> tuple[str, ...]:
    return WELL_KNOWN if where is None else (where,)


def _may_be_one(response: Response, where: str | None) -> bool:
    """Whether it looks like a document, and not like the fallback page of some servers."""
    kind = essence_of(response.header("content-type") or "")
    if response.status == 200 and kind != "text/html":
        return True
    if where is not None:
        raise SpecError(f"the peer answered {response.status} when asked for {where}")
    return False


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
    """Adds a part of a document, up to the size limit."""
    content += part
    if len(content) > MAX_PEER_SIZE:
        raise SpecError(f"{target} of the peer is larger than {MAX_PEER_SIZE} bytes")
