"""`OpenAPIHandler`: serves an app, and validates its requests and responses."""

from __future__ import annotations

import random
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from copy import copy
from typing import TYPE_CHECKING, Any

import trio

from restsock._exceptions import SpecError
from restsock._options import Options
from restsock.apps import Responder, make_handler, on_asyncio
from restsock.connection import Exchange, Load, ignore, load_of
from restsock.openapi.checks import MAX_BODY, Contract, Refused, Threads, Validator
from restsock.openapi.document import SECONDS, Document, load

from ._answers import answer_problem, answer_wrong
from ._request_check import RequestCheck, hand_over
from ._response_check import Policy

if TYPE_CHECKING:
    from restsock.connection import Connection
    from restsock.openapi.document import SpecLike

__all__ = ["OpenAPIHandler"]


class OpenAPIHandler:
    """A `Handler` that serves an app, publishes its contract and validates both sides.

    ::

        handler = OpenAPIHandler(app, "petstore.yaml", responses=True)
        async with restsock.connect("wss://hub.example/", app=handler, name="edge-1"): ...

    A request that violates the contract is answered before it reaches the app, with
    `application/problem+json` (RFC 9457): 404 and 405 for a path or a method that is not in the
    document, 415 for a media type, 413 for a body that is too large to be validated, 400 for
    everything else, with a JSON Pointer to each error. A response that violates it is an ERROR in
    the log `restsock.openapi`, and a 500 for the caller.

    JSON, forms and text are validated if their schema forbids anything; such a body is complete
    before its receiver gets the first byte. All others are passed on as they arrive (uploads, event
    streams, XML), and only their media type is checked. Upgrades such as WebSockets go to the app,
    and so does `OPTIONS` if the document does not have it. `HEAD` counts as `GET`. `security` is
    left to the app.

    A few threads validate, never the loop. At most `max_body` bytes are held for each request and
    each response in flight.

    Args:
        app: An ASGI or WSGI app, a coroutine function, or another `Handler`.
        spec: The document: a file name, a mapping, a `Document`. `None` gets it from the app, from
            a FastAPI app for example.
        requests: Whether requests are validated.
        responses: Whether responses are validated, or the proportion of them, between 0 and 1.
        wrong_response: `"refuse"` answers 500 instead; `"log"` passes the response on at once, and
            logs its problems.
        unknown_paths: `"refuse"` answers 404; `"pass"` leaves paths that are not in the document to
            the app.
        publish: The path at which the document is served, for callers to find; `None` does not
            serve it.
        max_body: The largest body that is validated, in bytes. A larger request is refused (413); a
            larger response is not validated.
        max_time: Seconds of processor time for the validation of one message. A request that takes
            more is refused, and a response is invalid.
        threads: The maximum number of threads that validate; one connection uses at most half of
            them.
        interface: As for `connect`.
        options: The options of the connections.
        chance: Returns random numbers in [0, 1), for the proportion.
        app_options: As for `connect`: `workers`, for example.

    Raises:
        SpecError: The document cannot be used.
        TypeError: `app` is not an app; or there is no document in `spec` or the app.
        ValueError: A number or a choice is out of range.
    """

    def __init__(
        self,
        app: Any,
        spec: SpecLike | None = None,
        *,
        requests: bool = True,
        responses: bool | float = False,
        wrong_response: str = "refuse",
        unknown_paths: str = "refuse",
        publish: str | None = "/openapi.json",
        max_body: int = MAX_BODY,
        max_time: float = SECONDS,
        threads: int = 4,
        interface: str | None = None,
        options: Options | None = None,
        chance: Callable[[], float] = random.random,
        **app_options: Any,
    ) -> None:
        if wrong_response not in ("refuse", "log"):
            raise ValueError(f"wrong_response is 'refuse' or 'log', not {wrong_response!r}")
        if threads < 1:
            raise ValueError(f"threads must be at least 1, not {threads}")
        if publish is not None and not publish.startswith("/"):
            raise ValueError(f"publish is a path that begins with /, not {publish!r}")
        options = options or Options()
        self.document = _document_of(app) if spec is None else load(spec)
        self._contract = Contract(
            self.document,
            requests=requests,
            responses=responses,
            unknown_paths=unknown_paths,
            max_body=max_body,
            max_time=max_time,
            chance=chance,
        )
        self._inner = make_handler(app, interface=interface, options=options, **app_options)
        self._publish = None if publish is None else publish.encode("ascii")
        self._published = b""
        self._policy = Policy(
            Validator(self.document, seconds=max_time),
            Threads(number=threads, grace=options.timeouts.close, seconds=max_time),
            max_body=max_body,
            hold=wrong_response == "refuse",
            wrong=answer_wrong,
        )
        self._serving = False

    def handle(self, exchange: Exchange) -> None:
        """Takes over a request; see `Handler`."""
        head = exchange.request
        path, _, query = head.target.partition(b"?")
        if not self._serving or head.upgrade is not None:
            self._inner.handle(exchange)  # which refuses it if nothing is served
            return
        if path == self._publish and head.method in (b"GET", b"HEAD"):
            self._answer_document(exchange)
            return
        method = head.method.decode("ascii")
        try:
            match = self._contract.find(self.document, method, path.decode("latin-1"))
        except Refused as exc:
            allow = ", ".join(exc.allowed).encode("ascii", "replace")
            errors = [exc.problem] if exc.status == 400 else []
            headers = [(b"Allow", allow)] if exc.allowed else []
            answer_problem(exchange, exc.status, str(exc), errors, headers=headers)
            return
        if match is None:
            self._inner.handle(exchange)
            return
        sampled = self._contract.sampled()
        proceed, policy = self._inner.handle, self._policy
        if self._contract.requests:
            text = query.decode("latin-1")
            RequestCheck(exchange, match, text, proceed, policy, response_too=sampled).begin()
        else:
            hand_over(exchange, match, proceed, policy, response_too=sampled)

    def on_asyncio(self, face: Callable[[Connection], Any]) -> OpenAPIHandler:
        """The handler with the app on the asyncio loop that runs here; see `restsock.apps`."""
        other = copy(self)
        other._inner = on_asyncio(self._inner, face)
        return other

    def load(self) -> Load | None:
        """The queue of the app, if it has one."""
        return load_of(self._inner)

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Runs the app, and the threads that validate.

        Raises:
            AppStartupError: The app reports that it cannot start.
            SpecError: A part of the document cannot be used.
        """
        await trio.to_thread.run_sync(self._policy.validator.prepare)
        # The threads end after the app, so responses during its shutdown are still validated.
        async with self._policy.threads.running(), self._inner.running():
            self._serving = True
            try:
                yield
            finally:
                self._serving = False

    def _answer_document(self, exchange: Exchange) -> None:
        if not self._published:
            self._published = self.document.to_json()
        exchange.observer = ignore
        response = Responder(exchange, exchange.request.method)
        length = b"%d" % len(self._published)
        response.start(200, [(b"Content-Type", b"application/json"), (b"Content-Length", length)])
        response.body(self._published, more=False)


def _document_of(app: Any) -> Document:
    """The document that an app generates."""
    make = getattr(app, "openapi", None)
    if not callable(make):
        raise TypeError(f"{type(app).__name__} makes no OpenAPI document by itself: pass `spec`")
    mapping = make()
    if not isinstance(mapping, dict):
        raise SpecError(f"the openapi() of {type(app).__name__} gives no document")
    return load(mapping)
