"""The exchange that an app gets instead of the real one if its response is validated.

States of the response, if invalid responses are refused:

    WAIT   no head yet
    HEAD   the head is held while its fields are checked; then the body passes
    WHOLE  head and body are held until the end of the body, and while they are checked
    PASS   everything passes: the response was valid, or is not (or no longer) checked
    DONE   nothing more is sent: the response was invalid, and another one was sent

If invalid responses are only logged, everything passes at once and a copy is checked.
"""

from __future__ import annotations

import enum
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, NamedTuple

from restsock._exceptions import StreamReset
from restsock.connection import Exchange, ExchangeEvent, Failed, Writable, ignore
from restsock.openapi.checks import Job, content_type_of
from restsock.protocol import ResetCode, values_of

if TYPE_CHECKING:
    from restsock._exceptions import RestsockError
    from restsock.openapi.checks import BodyPlan, Threads, Validator
    from restsock.openapi.document import Match, Problem
    from restsock.protocol import Headers, PlainHead, ResponseHead

__all__ = ["Policy", "ResponseCheck"]


class State(enum.Enum):
    WAIT = enum.auto()
    HEAD = enum.auto()
    WHOLE = enum.auto()
    PASS = enum.auto()
    DONE = enum.auto()


class Policy(NamedTuple):
    """How messages are validated; one for all of a handler.

    Attributes:
        validator: The validator.
        threads: The threads in which it runs.
        max_body: The largest body that is validated, in bytes.
        hold: Whether a response is held for its validation; otherwise a copy is checked.
        wrong: Called on the loop for an invalid response, with the exchange, the problems, and
            whether another response can still be sent.
    """

    validator: Validator
    threads: Threads
    max_body: int
    hold: bool
    wrong: Callable[[Exchange, list[Problem], BaseException | None, bool], None]


class ResponseCheck(Exchange):
    """An exchange whose response is validated before, or while, it is sent.

    Args:
        outer: The real exchange.
        credit: Bytes of the request whose credit was already returned for the app.
        policy: How the response is validated.
        checked: Whether the response is validated.
        match: The operation.
        continued: Whether a 100 was sent already.
    """

    __slots__ = (
        "_continued",
        "_credit",
        "_head",
        "_held",
        "_job",
        "_match",
        "_outer",
        "_parts",
        "_plan",
        "_policy",
        "_state",
        "_trailers",
    )

    def __init__(
        self,
        outer: Exchange,
        *,
        credit: int,
        policy: Policy,
        checked: bool = True,
        match: Match,
        continued: bool = False,
    ) -> None:
        self._outer = outer
        self._state = State.WAIT if checked else State.PASS
        self._held = 0
        super().__init__(outer.request, ignore)
        self.connection = outer.connection
        self.id = outer.id
        self.inbound = True
        self._continued = continued
        self._credit = credit
        self._policy = policy
        self._match = match
        self._head: ResponseHead | None = None
        self._plan: BodyPlan | None = None
        self._parts: list[bytes] = []
        self._trailers: Headers | None = None  # the trailers, once the app has ended its response
        self._job: Job | None = None

    # --- what the app sees ------------------------------------------------------------------

    def receive(self, event: ExchangeEvent) -> None:
        """Takes an event of the exchange, for the app."""
        if isinstance(event, Failed):
            self.closed = True
            self._drop()
        self.observer(event)

    @property
    def can_run_here(self) -> bool:
        """Never: what is held here is sent on the loop."""
        return False

    @property
    def buffered(self) -> int:
        """Body bytes that wait to be sent."""
        # A response that is held as a whole has its own limit, and the app must not wait for it.
        held = self._held if self._state is State.HEAD else 0
        return self._outer.buffered + held

    @property
    def write_paused(self) -> bool:  # a plain attribute there
        """Whether a `Writable` is due."""
        connection = self._outer.connection
        assert connection is not None
        held = self._state is State.HEAD and self.buffered > connection.limits.send_buffer
        return held or self._outer.write_paused

    @write_paused.setter
    def write_paused(self, value: bool) -> None:
        """Ignored: it is derived from the other state."""

    def consume(self, nbytes: int) -> None:
        """As in `Exchange`; credit that was returned before is not returned again."""
        early = min(nbytes, self._credit)
        self._credit -= early
        if nbytes > early:
            self._outer.consume(nbytes - early)

    def reset(self, code: int = ResetCode.CANCEL, reason: str = "") -> None:
        """As in `Exchange`."""
        self.closed = True
        self._drop()
        self._outer.reset(code, reason)

    def fail(self, error: RestsockError) -> None:
        """As in `Exchange`."""
        self._outer.fail(error)

    def send_head(self, head: ResponseHead, plain: PlainHead | None = None) -> None:
        """As in `Exchange`; a final head may be held."""
        if head.status == 100 and self._continued:
            return
        if head.status < 200 or self._state is State.PASS:
            self._outer.send_head(head, plain)
        elif self._state is State.WAIT:
            self._take_head(head)

    def send_data(self, data: bytes) -> None:
        """As in `Exchange`; the data may be held."""
        policy = self._policy
        if self._state is State.PASS:
            self._outer.send_data(data)
            if policy.hold or self._head is None:
                return
        elif self._state not in (State.HEAD, State.WHOLE):
            return
        self._parts.append(data)
        self._held += len(data)
        if self._state is not State.HEAD and self._held > policy.max_body:
            self._give_up()

    def send_end(self, trailers: Headers = ()) -> None:
        """As in `Exchange`; the whole response may be held until it is validated."""
        if self._state is State.PASS:
            self._outer.send_end(trailers)
            if self._head is not None:
                self._submit(self._head)
        elif self._state is State.HEAD:
            self._trailers = trailers
        elif self._state is State.WHOLE and self._trailers is None:
            self._trailers = trailers
            assert self._head is not None
            self._submit(self._head)

    def respond(self, head: ResponseHead, body: bytes, plain: PlainHead | None = None) -> None:
        """As in `Exchange`, with the effects of the three methods above."""
        self.send_head(head, plain)
        self.send_data(body)
        self.send_end()

    # --- inside -------------------------------------------------------------------------------

    def _take_head(self, head: ResponseHead) -> None:
        policy = self._policy
        status = head.status
        content_type = content_type_of(head.headers)
        found = policy.validator.check_status(self._match, status, content_type)
        if found:
            self._wrong(found, None)
            if not policy.hold:
                self._state = State.PASS
                self._outer.send_head(head)
            return
        expected = policy.validator.response(self._match.operation, status)
        plan = None
        if expected is not None and not values_of(head.headers, b"content-encoding"):
            plan = expected.whole_body(self.request.method, status, head.headers, policy.max_body)
        if plan is None and (expected is None or not expected.readers):
            self._state = State.PASS
            self._outer.send_head(head)
            return
        self._head, self._plan = head, plan
        if not policy.hold:
            self._state = State.PASS
            self._outer.send_head(head)
            if plan is None:
                self._submit(head)
                self._head = None
        elif plan is None:
            self._state = State.HEAD
            self._submit(head)
        else:
            self._state = State.WHOLE

    def _submit(self, head: ResponseHead) -> None:
        policy = self._policy
        check = policy.validator.check_response
        body = b"".join(self._parts)
        work = partial(check, self._match, head.status, head.headers, self._plan, body)
        self._job = Job(work, self._checked)
        try:
            policy.threads.submit(self._job, self._outer.connection)
        except RuntimeError as exc:  # serving has ended
            self._checked([], exc)

    def _checked(self, found: list[Problem] | None, error: BaseException | None) -> None:
        policy = self._policy
        self._job = None
        if found or error is not None:
            self._wrong(found or [], error)
        elif policy.hold:
            self._release()
        if not policy.hold:
            self._head = None
            self._parts.clear()

    def _release(self) -> None:
        """The response is valid, or not checked: sends what is held."""
        head, parts, end = self._head, self._parts, self._trailers
        self._drop()
        self._state = State.PASS
        connection = self.connection
        assert connection is not None
        if head is None or self._outer.closed:
            return
        with connection.writer:
            self._outer.send_head(head)
            for part in parts:
                self._outer.send_data(part)
            if end is not None:
                self._outer.send_end(end)
        if not self._outer.closed:
            self.observer(Writable())

    def _give_up(self) -> None:
        """Stops validating: the body is too large."""
        if self._state is State.WHOLE:
            self._release()
        self._head = None
        self._parts.clear()

    def _wrong(self, found: list[Problem], error: BaseException | None) -> None:
        policy = self._policy
        if not policy.hold:
            policy.wrong(self._outer, found, error, False)
            return
        ended = self._trailers is not None
        self._drop()
        self._state = State.DONE
        policy.wrong(self._outer, found, error, True)
        if not ended and not self.closed:
            # An app that is still streaming has to stop.
            self.closed = True
            reason = "the response breaks the contract"
            self.observer(Failed(StreamReset(reason, code=ResetCode.CANCEL, by_peer=False)))

    def _drop(self) -> None:
        if self._job is not None:
            self._job.forget()
            self._job = None
        self._head = None
        self._parts = []
        self._held = 0
