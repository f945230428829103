"""What clients are told of requests that their peers do not answer, and who failed to get in."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING

from restsock._limit_log import LimitLog
from restsock._logging import PartLog
from restsock.auth import Answered, Refused
from restsock.protocol import values_of
from restsock.server import network_of

from ._pages import problem_of
from ._rates import Rate
from ._request import words_of

if TYPE_CHECKING:
    from restsock._exceptions import RestsockError

    from ._request import Request

__all__ = ["Answers"]

_log = PartLog("restsock.ingress")

# Credentials of one address that may be wrong, before all its requests wait.
_FAILURES = "10/m"
# Lines about refused and failed requests that may follow each other without a pause.
_LINES = 20


class Answers:
    """See above.

    Attributes:
        clock: of the loop, once there is one.
    """

    def __init__(self) -> None:
        self.clock: Callable[[], float] = float
        self._failures = Rate(_FAILURES)
        self._lines = LimitLog(_log)

    def check_failures(self, request: Request) -> None:
        """Has an address wait that has often shown wrong credentials.

        Raises:
            Refused: it has to wait.
        """
        seconds = self._failures.wait(network_of(request.client.host), self.clock())
        if seconds:
            text = "Too many credentials from this address were wrong."
            raise Refused(429, text, headers={"Retry-After": str(seconds)})

    def refuse(self, request: Request, refused: Refused) -> None:
        """Answers a request that goes no further."""
        relay = request.relay
        if relay is None or relay.over:
            return
        request.status = refused.status
        relay.stop()
        self._answer_refusal(request, refused)

    def _answer_refusal(self, request: Request, refused: Refused) -> None:
        status = request.status = refused.status
        host = request.client.host
        if status in (401, 403):
            self._lines.say(
                "refused",
                "refused with %d: %s: %s",
                status,
                request.client,
                words_of(request),
                level=logging.INFO,
                burst=_LINES,
            )
            found = request.found
            signed = found is not None and found.route is not None and found.route.webhook
            # Asking without any is no failure: browsers do that first.
            if signed or values_of(request.exchange.request.headers, b"authorization"):
                self._failures.take(network_of(host), self.clock())
        if isinstance(refused, Answered):
            request.rules.pages.pass_on(request.exchange, refused)
        else:
            self._answer(request, refused.text, refused.headers)

    def answer_failure(self, request: Request, error: RestsockError | Refused | None) -> None:
        """Answers a request that its peer has not answered."""
        if isinstance(error, Refused):
            self._answer_refusal(request, error)
            return
        problem = problem_of(error)
        assert request.relay is not None
        request.status = problem.status
        request.may_have_run = request.relay.begun if error is None else problem.may_have_run
        if error is not None:
            self._lines.say(
                "failed",
                "%s: %d: %s",
                words_of(request),
                problem.status,
                error,
                level=logging.INFO,
                burst=_LINES,
            )
        self._answer(request, problem.detail, problem.fields)

    def _answer(self, request: Request, detail: str, fields: Iterable[tuple[bytes, bytes]]) -> None:
        request.rules.pages.answer(
            request.exchange, request.status, detail, fields, may_have_run=request.may_have_run
        )
