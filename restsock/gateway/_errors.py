"""`CallFailed`: a call has failed. `reply_to_failure`: the reply that its client gets."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from http import HTTPStatus
from typing import Any

from restsock._exceptions import (
    PeerNotFound,
    PeerUnavailable,
    RequestTimeout,
    RequestValidationError,
    ResponseValidationError,
    RestsockError,
)
from restsock._options import not_negative
from restsock._rates import whole_seconds

from ._message import Message, Reply

__all__ = ["DUPLICATE_ID", "NO_ROUTE", "CallFailed", "problem", "reply_to_failure"]

NO_ROUTE = "urn:restsock:gateway:no-route"
"""The `type` of the problem when no route and no operation has the key of the message."""
DUPLICATE_ID = "urn:restsock:gateway:duplicate-id"
"""The `type` of the problem when an unanswered message has the same id."""

_log = logging.getLogger("restsock.gateway")


class CallFailed(RestsockError):
    """A call has failed, with a status and words for its client.

    Args:
        status: 400 to 599, with the meaning that HTTP gives it.
        detail: For the client; it should show no internals.
        may_have_run: Whether the call may have had an effect. If not, any call is safe to repeat.
        retry_after: Seconds after which another try makes sense.
        members: Further ones of the problem (RFC 9457, section 3.2).

    Raises:
        ValueError: The status is not one of a failure, or the seconds are not valid.
    """

    def __init__(
        self,
        status: int,
        detail: str,
        *,
        may_have_run: bool = False,
        retry_after: float | None = None,
        members: Mapping[str, Any] | None = None,
    ) -> None:
        if not 400 <= status <= 599:
            raise ValueError(f"{status} is no status of a failure: 400 to 599")
        super().__init__(f"{status}: {detail}")
        self.status = status
        self.detail = detail
        self.may_have_run = may_have_run
        self.retry_after = retry_after
        if retry_after is not None:
            not_negative(self, "retry_after")
        self.members = dict(members or {})


def as_failure(error: BaseException) -> CallFailed | None:
    """The same error as a `CallFailed`; `None` if it is a bug of the program."""
    if isinstance(error, CallFailed):
        return error
    if not isinstance(error, RestsockError):
        return None
    # Unknown counts as "it may have".
    may_have_run = error.may_have_run is not False
    if isinstance(error, RequestValidationError):
        return CallFailed(
            422, "the message breaks the contract of the API", members={"errors": error.errors}
        )
    if isinstance(error, ResponseValidationError):
        return CallFailed(502, "the answer breaks the contract of the API", may_have_run=True)
    if isinstance(error, (PeerNotFound, PeerUnavailable)):
        return CallFailed(503, "what this goes to is not connected", retry_after=1)
    if isinstance(error, RequestTimeout):
        return CallFailed(504, "no answer in time", may_have_run=may_have_run)
    return CallFailed(502, "what this goes to did not answer", may_have_run=may_have_run)


def reply_to_failure(message: Message, error: Exception) -> Reply:
    """The reply that a client gets when its call has failed: a problem (RFC 9457).

    Of a bug in the program, it learns only that there was one; the traceback is logged
    (`restsock.gateway`).

    Args:
        message: The call.
        error: Why it failed.
    """
    failure = as_failure(error)
    if failure is None:
        _log.error("%r failed", message, exc_info=error)
        failure = CallFailed(500, "this failed in the gateway", may_have_run=True)
    return problem(failure)


def problem(failure: CallFailed) -> Reply:
    """The reply that tells of a failure: a problem (RFC 9457)."""
    body = {
        "title": HTTPStatus(failure.status).phrase
        if failure.status in HTTPStatus._value2member_map_
        else "Failed",
        "status": failure.status,
        "detail": failure.detail,
        "may_have_run": failure.may_have_run,
        **failure.members,
    }
    headers = {"content-type": "application/problem+json"}
    if failure.retry_after is not None:
        body["retry_after"] = failure.retry_after
        headers["retry-after"] = str(max(1, whole_seconds(failure.retry_after)))
    return Reply(body, failure.status, headers)
