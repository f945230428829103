"""Responses instead of an app's: problem details, as `application/problem+json` (RFC 9457)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from restsock._logging import PartLog, about_request
from restsock.apps import Responder, loggable
from restsock.connection import Exchange, ignore
from restsock.openapi.document import MAX_ERRORS, Problem, summary

if TYPE_CHECKING:
    from restsock.protocol import Headers

__all__ = ["answer_problem", "answer_wrong"]

_log = PartLog("restsock.openapi")


def answer_problem(
    exchange: Exchange,
    status: int,
    detail: str,
    errors: list[Problem] | None = None,
    *,
    headers: Headers = (),
) -> None:
    """Answers a request with `application/problem+json`, instead of the app. On the loop."""
    exchange.observer = ignore
    members = {"errors": errors[:MAX_ERRORS]} if errors else {}
    Responder(exchange, exchange.request.method).problem(status, detail, headers, **members)


def answer_wrong(
    exchange: Exchange, found: list[Problem], error: BaseException | None, can_answer: bool
) -> None:
    """Logs an invalid response, and answers 500 instead, if that is still possible."""
    request = loggable(exchange.request)
    if error is not None:
        _log.error(
            "the response to %s could not be validated",
            request,
            exc_info=error,
            extra=about_request(exchange),
        )
    else:
        _log.error(
            "the response to %s breaks the contract: %s",
            request,
            summary(found),
            extra=about_request(exchange),
        )
    if can_answer and not exchange.closed:
        # Without the problems: they are faults of the app, which the caller cannot fix.
        answer_problem(exchange, 500, "the app's response breaks its contract")
