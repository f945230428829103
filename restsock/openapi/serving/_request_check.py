"""Receives a request until it is validated, before the app gets it."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING

from restsock._logging import PartLog, about_request
from restsock.apps import CONTINUE, expects_continue, loggable
from restsock.connection import Exchange, ExchangeEvent, Failed, Inbox, ignore
from restsock.openapi.checks import BodyPlan, Job, content_type_of
from restsock.openapi.document import Match, Problem, problem, summary
from restsock.protocol import DataReceived, EndReceived, ResetCode, content_length, values_of

from ._answers import answer_problem
from ._response_check import Policy, ResponseCheck

if TYPE_CHECKING:
    from restsock.protocol import Headers

__all__ = ["RequestCheck", "hand_over"]

_log = PartLog("restsock.openapi")

_BREACH = "the request breaks the API's contract"


class RequestCheck:
    """Observes an exchange until its request is validated; then replays it to the app."""

    def __init__(
        self,
        exchange: Exchange,
        match: Match,
        query: str,
        proceed: Callable[[Exchange], None],
        policy: Policy,
        *,
        response_too: bool,
    ) -> None:
        connection = exchange.connection
        assert connection is not None
        self._exchange = exchange
        self._match = match
        self._query = query
        self._policy = policy
        self._hand_over = partial(
            hand_over, exchange, match, proceed, policy, response_too=response_too
        )
        # As long as the window has room, the app returns the credit itself when it reads.
        self._free = connection.limits.initial_window // 2
        self._plan = policy.validator.request(match.operation)
        self._body: BodyPlan | None = None
        self._content_type = content_type_of(exchange.request.headers)
        self._inbox = Inbox()
        self._credited = 0
        self._end: EndReceived | None = None
        self._waiting_for_body = False
        self._continued = False
        self._job: Job | None = None

    def begin(self) -> None:
        """Decides from the head what is needed."""
        exchange = self._exchange
        plan = self._plan
        if not plan.bodies and not plan.readers:
            self._hand_over()
            return
        exchange.observer = self._observe
        if plan.bodies:
            length = content_length(exchange.request.headers)
            if length and not self._accept_body():
                return
            body = plan.body(self._content_type)
            if body is not None and body.whole:
                self._body = body
                if length is not None and length > self._policy.max_body:
                    self._too_large()
                    return
            # Without a length, only the next event shows whether there is a body.
            self._waiting_for_body = self._body is not None or plan.required or length is None
            if self._waiting_for_body:
                if expects_continue(exchange.request):
                    self._continued = True
                    exchange.send_head(CONTINUE)
                return
        self._check()

    def _accept_body(self) -> bool:
        """Whether the contract has this media type; answers 415 if not."""
        plan = self._plan.body(self._content_type)
        if plan is not None:
            codings = values_of(self._exchange.request.headers, b"content-encoding")
            if not plan.whole or all(each.strip().lower() == b"identity" for each in codings):
                return True
            detail = "a body that is to be validated may not be compressed"
            self._refuse(415, detail, headers=[(b"Accept-Encoding", b"identity")])
            return False
        wrong = self._plan.wrong_type(self._content_type)
        accept = ", ".join(self._plan.bodies).encode("ascii", "replace")
        self._refuse(415, wrong["detail"], headers=[(b"Accept", accept)])
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
        if self._waiting_for_body and not self._inbox.unread and not self._accept_body():
            return
        self._inbox.add(data)
        size = self._inbox.unread
        if not self._waiting_for_body:
            return  # limited by the credit, which is not returned
        if self._body is None:
            self._waiting_for_body = False
            self._check()  # there is one, and the app gets it as it arrives
        elif size > self._policy.max_body:
            self._too_large()
        elif size - self._credited > self._free:
            self._exchange.consume(size - self._credited)
            self._credited = size

    def _body_ended(self) -> None:
        self._waiting_for_body = False
        if self._inbox.unread:
            self._check()
        elif self._plan.required:
            self._refuse(400, _BREACH, [problem("body", "is required")])
        else:
            self._body = None
            self._check()

    def _check(self) -> None:
        """Validates the request in a thread."""
        plan, body = self._plan, self._body
        if not plan.readers and body is None:
            self._pass_on()
            return
        headers = self._exchange.request.headers
        content = b"".join(self._inbox.pieces) if body is not None else b""
        check = partial(self._policy.validator.check_request, self._match, self._query, headers)
        self._job = Job(partial(check, body, content), self._checked)
        try:
            self._policy.threads.submit(self._job, self._exchange.connection)
        except RuntimeError:
            self._drop()
            self._exchange.reset(ResetCode.REFUSED, "nothing is served here now")

    def _checked(self, found: list[Problem] | None, error: BaseException | None) -> None:
        self._job = None
        if error is not None:
            _log.error(
                "%s could not be validated",
                loggable(self._exchange.request),
                exc_info=error,
                extra=about_request(self._exchange),
            )
            self._refuse(500, "the contract could not be applied")
        elif found:
            self._refuse(400, _BREACH, found)
        else:
            self._pass_on()

    def _too_large(self) -> None:
        self._refuse(
            413, f"more than {self._policy.max_body} bytes, which are too many to be validated"
        )

    def _refuse(
        self, status: int, detail: str, found: list[Problem] | None = None, headers: Headers = ()
    ) -> None:
        request = self._exchange.request
        _log.info(
            "refused %s with %d: %s",
            loggable(request),
            status,
            summary(found or ()),
            extra=about_request(self._exchange),
        )
        self._drop()
        answer_problem(self._exchange, status, detail, found or [], headers=headers)

    def _drop(self) -> None:
        if self._job is not None:
            self._job.forget()
            self._job = None
        self._inbox = Inbox()
        self._waiting_for_body = False
        self._exchange.observer = ignore

    def _pass_on(self) -> None:
        """Passes the request on to the app, with what has arrived so far."""
        exchange, parts, end = self._exchange, self._inbox.pieces, self._end
        self._drop()
        observer = self._hand_over(credited=self._credited, continued=self._continued)
        for part in parts:
            observer()(DataReceived(exchange.id, part))
        if end is not None:
            observer()(end)


def hand_over(
    exchange: Exchange,
    match: Match,
    proceed: Callable[[Exchange], None],
    policy: Policy,
    *,
    response_too: bool,
    credited: int = 0,
    continued: bool = False,
) -> Callable[[], Callable[[ExchangeEvent], None]]:
    """Passes an exchange to the app; returns a function that returns its observer."""
    if not response_too and not credited and not continued:
        proceed(exchange)
        return lambda: exchange.observer
    check = ResponseCheck(
        exchange,
        credit=credited,
        policy=policy,
        checked=response_too,
        match=match,
        continued=continued,
    )
    exchange.observer = check.receive
    proceed(check)
    return lambda: check.receive
