"""`HTTPBackend`: what the backends that speak HTTP have in common."""

from __future__ import annotations

from abc import abstractmethod
from contextlib import closing
from typing import TYPE_CHECKING, ClassVar

import trio

from restsock._exceptions import ConnectionClosed, RequestTimeout, StreamRefused
from restsock.connection import AsyncExchange, Requester, Response, head_for, pause_before, until
from restsock.gateway._backend import Backend
from restsock.gateway._errors import CallFailed
from restsock.gateway._message import Message, Reply
from restsock.protocol import ResetCode

from ._http_mapping import HTTPMapping, HTTPRequest

if TYPE_CHECKING:
    from restsock.protocol import RequestHead

__all__ = ["MAX_BODY", "HTTPBackend", "ask", "rooted"]

MAX_BODY = 1024 * 1024


class HTTPBackend(Backend):
    """A backend that speaks HTTP, for `Operations` and `Balance`.

    Args:
        mapping: How messages become requests; by default as `HTTPMapping` says.

    Raises:
        TypeError: This is no mapping.

    Attributes:
        speaks_http: True.
    """

    speaks_http: ClassVar[bool] = True

    def __init__(self, mapping: HTTPMapping | None) -> None:
        self._mapping = HTTPMapping() if mapping is None else mapping
        if not isinstance(self._mapping, HTTPMapping):
            raise TypeError(f"mapping is an HTTPMapping, not {type(mapping).__name__}")

    async def call(self, message: Message) -> Reply:
        """See `Backend.call`.

        Raises:
            CallFailed: There is no answer, or the message is no request.
            RestsockError: Likewise.
        """
        response = await self.exchange(message, self._mapping.request_of(message))
        return self._mapping.reply_to(message, response)

    async def exchange(self, message: Message, request: HTTPRequest) -> Response:
        """Sends a request on behalf of a message, and reads the whole answer.

        The request may also come from `Operations`: then the mapping only adds who asks. If
        cancelled, the request is cut off; it may still have had an effect.

        Args:
            message: On whose behalf; its deadline bounds it.
            request: What to send.

        Raises:
            CallFailed: There is no answer.
            RestsockError: Likewise.
        """
        if message.deadline <= trio.current_time():
            raise CallFailed(504, "no answer in time")
        return await self._send(message, self._mapping.completed(message, request))

    @abstractmethod
    async def _send(self, message: Message, request: HTTPRequest) -> Response: ...


async def ask(
    requester: Requester,
    request: HTTPRequest,
    *,
    wait: float,
    deadline: float,
    max_body: int,
) -> Response:
    """Sends a request over a `Requester`, and again as long as it provably has not run.

    Args:
        requester: What sends it.
        request: The request.
        wait: Seconds in which it has to begin to run, with all attempts.
        deadline: When it is given up, on trio's clock.
        max_body: Bytes of the largest body of an answer.

    Raises:
        RestsockError: There is no answer.
    """
    head = head_for(
        requester, request.method, rooted(request.target), request.headers, request.body,
        request.scheme,
    )  # fmt: skip
    start_by = min(trio.current_time() + wait, deadline)
    attempt = 0
    while True:
        attempt += 1
        try:
            return await _attempt(requester, head, request.body, start_by, deadline, max_body)
        except (StreamRefused, ConnectionClosed) as exc:
            pause = pause_before(attempt)
            if exc.may_have_run is not False or trio.current_time() + pause >= start_by:
                raise
        except RequestTimeout as exc:
            if exc.may_have_run is not False:
                raise
            raise _not_begun() from exc
        await trio.sleep(pause)


async def _attempt(
    requester: Requester,
    head: RequestHead,
    body: bytes,
    start_by: float,
    deadline: float,
    max_body: int,
) -> Response:
    exchange = AsyncExchange.open(requester, head, body=body, end=True)
    with closing(exchange):
        with until(deadline):
            await exchange.wait_started(max(0.0, start_by - trio.current_time()))
            answer = await exchange.receive_head()
            content = bytearray()
            while data := await exchange.receive_data():
                content += data
                if len(content) > max_body:
                    exchange.close(ResetCode.TOO_LARGE, "the answer is too large")
                    raise CallFailed(
                        502, f"an answer of more than {max_body} bytes", may_have_run=True
                    )
            return Response(answer.status, answer.headers, bytes(content), exchange.trailers)
        if not exchange.started:
            raise _not_begun()
        raise CallFailed(504, "no answer in time", may_have_run=True)


def _not_begun() -> CallFailed:
    return CallFailed(503, "what this goes to is not connected, or takes no more", retry_after=1)


def rooted(target: str) -> str:
    """A target that is nothing but a query is that of the root."""
    return target if target.startswith("/") else f"/{target}"
