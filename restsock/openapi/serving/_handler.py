"""`OpenAPIHandler`: serves an app, and holds the requests and responses to a document."""

from __future__ import annotations

import logging
import random
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import trio

from restsock._exceptions import SpecError
from restsock._options import Options
from restsock.apps import make_handler
from restsock.apps._errors import loggable
from restsock.apps._response import CONTINUE, Responder, expects_continue
from restsock.connection import Exchange, ExchangeEvent, Failed, Load, load_of
from restsock.openapi.checks import BodyPlan, Job, Threads, Validator, content_type_of, misread
from restsock.openapi.document import (
    PROBLEM,
    SECONDS,
    Document,
    Match,
    NoSuchMethod,
    NoSuchPath,
    Operation,
    Problem,
    load,
    problem,
    problem_body,
    summary,
)
from restsock.protocol import DataReceived, EndReceived, ResetCode

from ._response_check import ResponseCheck, ResponsePolicy

if TYPE_CHECKING:
    from restsock.openapi.document import SpecLike
    from restsock.protocol import Headers

__all__ = ["OpenAPIHandler", "answer_problem"]

_log = logging.getLogger("restsock.openapi")

_MIB = 1024 * 1024


class OpenAPIHandler:
    """A `Handler` that serves an app behind the contract that it publishes.

    ::

        handler = OpenAPIHandler(app, "petstore.yaml", responses=True)
        async with restsock.connect("wss://hub.example/", app=handler, name="edge-1"): ...

    It stands wherever an app does. A request that breaks the contract is answered before the app
    is reached, with `application/problem+json` (RFC 9457): 404 and 405 for a path or a method that
    is not in the document, 415 for a media type, 413 for a body that is too large to be looked
    into, 400 for everything else, with a JSON pointer to each error. A response that breaks it is
    an ERROR in the log `restsock.openapi`, and a 500 for the caller.

    What is let through as it comes, so that streams stay streams: bodies whose media type has no
    schema that says anything, and all that are neither JSON, a form nor text (uploads, event
    streams, XML); of these the media type is checked, and the parameters. A body that is looked
    into is there as a whole before the app, or the caller, has its first byte.

    `OPTIONS` where the document has none goes to the app, since it asks about a path rather than
    using it; `HEAD` counts as the `GET` of its path. An upgrade (a WebSocket) goes to the app: no
    document describes one. `security` is not looked at: that is the app's part.

    Validation is done by a few threads of its own, and never on the loop. At any time it holds no
    more than `max_body` bytes for each request and each response under way.

    Args:
        app: an ASGI or WSGI app, a coroutine function, or another `Handler`.
        spec: the document: the name of a file, a mapping, a `Document`. `None` asks the app, which
            a FastAPI can answer.
        requests: whether requests are validated.
        responses: whether responses are; or the share of them that is, between 0 and 1.
        wrong_response: `"refuse"` answers 500 instead; `"log"` lets the response pass at once, and
            logs what was wrong with it.
        unknown_paths: `"refuse"` answers 404; `"pass"` leaves paths that are not in the document
            to the app, such as its own documentation.
        publish: the path at which the document is served, so that callers find it; `None`: not.
        max_body: bytes of the largest body that is looked into. A larger request is refused (413);
            a larger response passes, unvalidated.
        max_time: seconds of processor time that the validation of one message may take. One that
            takes more is refused, or a wrong response.
        threads: how many threads validate, at most. A connection has half of them at most.
        interface: as for `connect`.
        options: the options of the connections.
        chance: random numbers in [0, 1), for the share.
        app_options: as for `connect`: `workers`, for example.

    Raises:
        SpecError: the document cannot be used.
        TypeError: this is no app; or it has no document, and none is given.
        ValueError: a number or a choice is out of range.
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
        max_body: int = _MIB,
        max_time: float = SECONDS,
        threads: int = 4,
        interface: str | None = None,
        options: Options | None = None,
        chance: Callable[[], float] = random.random,
        **app_options: Any,
    ) -> None:
        share = float(responses)
        if not 0 <= share <= 1:
            raise ValueError(f"responses is a truth value or a share from 0 to 1, not {responses}")
        _one_of("wrong_response", wrong_response, "refuse", "log")
        _one_of("unknown_paths", unknown_paths, "refuse", "pass")
        if max_body < 0:
            raise ValueError(f"max_body must not be negative, not {max_body}")
        if not max_time > 0:
            raise ValueError(f"max_time must be positive, not {max_time}")
        if threads < 1:
            raise ValueError(f"threads must be at least 1, not {threads}")
        if publish is not None and not publish.startswith("/"):
            raise ValueError(f"publish is a path that begins with /, not {publish!r}")
        options = options or Options()
        self.document = _document_of(app) if spec is None else load(spec)
        self._inner = make_handler(app, interface=interface, options=options, **app_options)
        self._validate_requests = requests
        self._share = share
        self._pass_unknown = unknown_paths == "pass"
        self._publish = None if publish is None else publish.encode("ascii")
        self._published = b""
        self._max_body = max_body
        self._chance = chance
        grace = options.timeouts.close
        self._threads = Threads(number=threads, grace=grace, seconds=max_time)
        self._validator = Validator(self.document, seconds=max_time)
        self._policy = ResponsePolicy(
            self._validator,
            self._threads,
            max_body=max_body,
            hold=wrong_response == "refuse",
            wrong=_wrong_response,
        )
        self._serving = False

    def handle(self, exchange: Exchange) -> None:
        """Takes over a request; see `Handler`."""
        head = exchange.request
        path, _, query = head.target.partition(b"?")
        if not self._serving or head.upgrade is not None:
            self._inner.handle(exchange)  # which refuses it, when nothing is served
            return
        if path == self._publish and head.method in (b"GET", b"HEAD"):
            self._answer_document(exchange)
            return
        method = head.method.decode("ascii")
        try:
            match = self.document.match(method, path.decode("latin-1"))
        except NoSuchPath:
            if not self._validate_requests or head.target == b"*":
                self._inner.handle(exchange)
            elif self._pass_unknown:
                if not self._refuse_misread(exchange, method, None, path):
                    self._inner.handle(exchange)
            else:
                answer_problem(exchange, 404, "the contract has no such path")
            return
        except NoSuchMethod as exc:
            if method == "OPTIONS" or not self._validate_requests:
                self._inner.handle(exchange)
            else:
                allow = ", ".join(exc.allowed).encode("ascii", "replace")
                detail = f"the contract has no {method} for this path"
                answer_problem(exchange, 405, detail, headers=[(b"Allow", allow)])
            return
        if self._validate_requests and self._refuse_misread(
            exchange, method, match.operation, path
        ):
            return
        sampled = self._share > 0 and (self._share >= 1 or self._chance() < self._share)
        policy = self._policy if sampled else None
        if self._validate_requests:
            check = _RequestCheck(
                exchange,
                match,
                query.decode("latin-1"),
                validator=self._validator,
                threads=self._threads,
                max_body=self._max_body,
                proceed=self._inner.handle,
                policy=policy,
            )
            check.begin()
        else:
            _hand_over(exchange, match, self._inner.handle, policy)

    def load(self) -> Load | None:
        """The queue of the app, if it has one."""
        return load_of(self._inner)

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Runs the app, and the threads that validate, around the time in which it is served.

        Raises:
            AppStartupError: the app says that it cannot start.
            SpecError: a part of the document cannot be used.
        """
        await trio.to_thread.run_sync(self._validator.plans.prepare)
        # The threads are the outer ones: what the app answers as it ends is still validated.
        async with self._threads.running(), self._inner.running():
            self._serving = True
            try:
                yield
            finally:
                self._serving = False

    def _refuse_misread(
        self, exchange: Exchange, method: str, operation: Operation | None, path: bytes
    ) -> bool:
        """Answers 400 to a path that the app may take for another one."""
        if not misread(self.document, method, operation, path.decode("latin-1")):
            return False
        detail = "servers read this path differently: an encoded / or a ; in it, or dots"
        answer_problem(exchange, 400, detail, [problem("path", detail)])
        return True

    def _answer_document(self, exchange: Exchange) -> None:
        if not self._published:
            self._published = self.document.to_json()
        exchange.observer = _ignore
        response = Responder(exchange, exchange.request.method)
        length = b"%d" % len(self._published)
        response.start(200, [(b"Content-Type", b"application/json"), (b"Content-Length", length)])
        response.body(self._published, more=False)


class _RequestCheck:
    """Receives a request until it is known whether the app may have it.

    Observes the exchange in the meantime; what comes is kept, and told to the app again.
    """

    def __init__(
        self,
        exchange: Exchange,
        match: Match,
        query: str,
        *,
        validator: Validator,
        threads: Threads,
        max_body: int,
        proceed: Callable[[Exchange], None],
        policy: ResponsePolicy | None,
    ) -> None:
        connection = exchange.connection
        assert connection is not None
        self._exchange = exchange
        self._match = match
        self._query = query
        self._validator = validator
        self._threads = threads
        self._max_body = max_body
        self._proceed = proceed
        self._policy = policy
        # As long as the window has room, the app gives the credit back itself, as it reads.
        self._free = connection.limits.initial_window // 2
        self._plan = validator.plans.request(match.operation)
        self._body: BodyPlan | None = None
        self._content_type = content_type_of(exchange.request.headers)
        self._parts: list[bytes] = []
        self._size = 0
        self._credited = 0
        self._end: EndReceived | None = None
        self._waiting_for_body = False
        self._continued = False
        self._job: Job | None = None

    def begin(self) -> None:
        """Decides what is needed, from the head alone."""
        exchange = self._exchange
        plan = self._plan
        if not plan.bodies and not plan.parameters:
            _hand_over(exchange, self._match, self._proceed, self._policy)
            return
        exchange.observer = self._observe
        if plan.bodies:
            length = _field(exchange.request.headers, b"content-length")
            empty = length is not None and length.strip("0") == ""
            if not empty and length is not None and not self._accept_body():
                return
            body = plan.body(self._content_type)
            if body is not None and body.whole:
                self._body = body
                if length is not None and length.isdigit() and int(length) > self._max_body:
                    self._too_large()
                    return
            # Whether there is a body, only the next event tells, when its length is not given.
            self._waiting_for_body = self._body is not None or plan.required or length is None
            if self._waiting_for_body:
                if expects_continue(exchange.request):
                    self._continued = True
                    exchange.send_head(CONTINUE)
                return
        self._check()

    def _accept_body(self) -> bool:
        """Whether the contract has this media type; answers 415 when it has not."""
        plan = self._plan.body(self._content_type)
        if plan is not None:
            coding = _field(self._exchange.request.headers, b"content-encoding")
            if not plan.whole or coding is None or coding.strip().lower() == "identity":
                return True
            detail = "a body that is to be validated may not be compressed"
            self._refuse(415, detail, headers=[(b"Accept-Encoding", b"identity")])
            return False
        offered = ", ".join(self._plan.bodies)
        detail = f"the contract has {offered} here"
        if self._content_type is None:
            detail += ", and the request has no Content-Type"
        accept = offered.encode("ascii", "replace")
        self._refuse(415, detail, headers=[(b"Accept", accept)])
        return False

    def _observe(self, event: ExchangeEvent) -> None:
        if isinstance(event, DataReceived):
            self._take(event.data)
        elif isinstance(event, EndReceived):
            self._end = event
            if self._waiting_for_body:
                self._body_ended()
        elif isinstance(event, Failed):
            self._drop()

    def _take(self, data: bytes) -> None:
        if self._waiting_for_body and not self._size and not self._accept_body():
            return
        # Joined while small, so that a peer cannot fill memory with objects of one byte.
        if self._parts and len(self._parts[-1]) + len(data) <= 4096:
            self._parts[-1] += data
        else:
            self._parts.append(data)
        self._size += len(data)
        if not self._waiting_for_body:
            return  # the credit that is not given back is what bounds it
        if self._body is None:
            self._waiting_for_body = False
            self._check()  # there is one, and it is for the app as it comes
        elif self._size > self._max_body:
            self._too_large()
        elif self._size - self._credited > self._free:
            self._exchange.consume(self._size - self._credited)
            self._credited = self._size

    def _body_ended(self) -> None:
        self._waiting_for_body = False
        if self._size:
            self._check()
        elif self._plan.required:
            self._refuse(400, _BREACH, [problem("body", "is required")])
        else:
            self._body = None
            self._check()

    def _check(self) -> None:
        """Lets a thread look at what there is."""
        plan, body = self._plan, self._body
        if not plan.parameters and body is None:
            self._pass_on()
            return
        validator, match, query = self._validator, self._match, self._query
        headers = self._exchange.request.headers
        content_type = self._content_type or ""
        content = b"".join(self._parts) if body is not None else b""

        def work() -> list[Problem]:
            found: list[Problem] = []
            if plan.parameters:
                found += validator.check_parameters(match, query, headers)
            if body is not None:
                found += validator.check_request_body(match, body, content_type, content)
            return found

        self._job = Job(work, self._checked)
        try:
            self._threads.submit(self._job, self._exchange.connection)
        except RuntimeError:
            self._drop()
            self._exchange.reset(ResetCode.REFUSED, "nothing is served here now")

    def _checked(self, found: list[Problem] | None, error: BaseException | None) -> None:
        self._job = None
        if error is not None:
            _log.error(
                "%s could not be validated", loggable(self._exchange.request), exc_info=error
            )
            self._refuse(500, "the contract could not be applied")
        elif found:
            self._refuse(400, _BREACH, found)
        else:
            self._pass_on()

    def _too_large(self) -> None:
        self._refuse(413, f"more than {self._max_body} bytes, which are too many to be validated")

    def _refuse(
        self, status: int, detail: str, found: list[Problem] | None = None, headers: Headers = ()
    ) -> None:
        request = self._exchange.request
        _log.info("refused %s with %d: %s", loggable(request), status, summary(found or ()))
        self._drop()
        answer_problem(self._exchange, status, detail, found or [], headers=headers)

    def _drop(self) -> None:
        if self._job is not None:
            self._job.forget()
            self._job = None
        self._parts = []
        self._waiting_for_body = False
        self._exchange.observer = _ignore

    def _pass_on(self) -> None:
        """Lets the app have it, and tells it what has come so far."""
        exchange, parts, end = self._exchange, self._parts, self._end
        self._drop()
        observer = _hand_over(
            exchange,
            self._match,
            self._proceed,
            self._policy,
            credited=self._credited,
            continued=self._continued,
        )
        for part in parts:
            observer()(DataReceived(exchange.id, part))
        if end is not None:
            observer()(end)


def _hand_over(
    exchange: Exchange,
    match: Match,
    proceed: Callable[[Exchange], None],
    policy: ResponsePolicy | None,
    *,
    credited: int = 0,
    continued: bool = False,
) -> Callable[[], Callable[[ExchangeEvent], None]]:
    """Gives an exchange to the app; returns what gives its observer."""
    if policy is None and not credited and not continued:
        proceed(exchange)
        return lambda: exchange.observer
    check = ResponseCheck(
        exchange, credit=credited, policy=policy, match=match, continued=continued
    )
    exchange.observer = check.receive
    proceed(check)
    return lambda: check.receive


def answer_problem(
    exchange: Exchange,
    status: int,
    detail: str,
    errors: list[Problem] | None = None,
    *,
    headers: Headers = (),
) -> None:
    """Answers a request with `application/problem+json`, in place of an app. On the loop."""
    exchange.observer = _ignore
    response = Responder(exchange, exchange.request.method)
    response.start(status, [(b"Content-Type", PROBLEM), *headers])
    response.body(problem_body(status, detail, errors or ()), more=False)


def _wrong_response(
    exchange: Exchange, found: list[Problem], error: BaseException | None, can_answer: bool
) -> None:
    request = loggable(exchange.request)
    if error is not None:
        _log.error("the response to %s could not be validated", request, exc_info=error)
    else:
        _log.error("the response to %s breaks the contract: %s", request, summary(found))
    if can_answer and not exchange.closed:
        # Without the errors: they are about the app, and it is not the caller who can mend it.
        answer_problem(exchange, 500, "the app's response breaks its contract")


def _document_of(app: Any) -> Document:
    """The document that an app makes of itself."""
    make = getattr(app, "openapi", None)
    if not callable(make):
        raise TypeError(f"{type(app).__name__} makes no OpenAPI document by itself: pass `spec`")
    mapping = make()
    if not isinstance(mapping, dict):
        raise SpecError(f"the openapi() of {type(app).__name__} gives no document")
    return load(mapping)


def _field(headers: Headers, name: bytes) -> str | None:
    for key, value in headers:
        if len(key) == len(name) and key.lower() == name:
            return value.decode("latin-1")
    return None


def _one_of(name: str, value: str, *choices: str) -> None:
    if value not in choices:
        raise ValueError(f"{name} is one of {', '.join(map(repr, choices))}, not {value!r}")


def _ignore(event: ExchangeEvent) -> None:
    """The observer of an exchange that is answered."""


_BREACH = "the request breaks the API's contract"
