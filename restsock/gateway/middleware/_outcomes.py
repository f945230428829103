"""How a call has ended, be it by a reply or by an error."""

from __future__ import annotations

from typing import TYPE_CHECKING

from restsock.gateway._errors import CallFailed, as_failure

if TYPE_CHECKING:
    from restsock.gateway._message import Reply

__all__ = ["failure_in", "status_of"]

# Longer ones are no seconds; a year has eight digits.
_MAX_DIGITS = 8


def failure_in(reply: Reply) -> CallFailed | None:
    """A reply that is a failure, as an error; `None` for another one.

    What has answered may have acted on the message all the same.
    """
    if not reply.failed:
        return None
    asked = reply.headers.get("retry-after", "").strip()
    seconds = float(asked) if asked.isascii() and asked.isdigit() else None
    if seconds is not None and len(asked) > _MAX_DIGITS:
        seconds = float("inf")
    status = min(reply.status, 599)
    return CallFailed(status, "it failed", may_have_run=True, retry_after=seconds)


def status_of(error: BaseException | None) -> int:
    """The status that the client is told of an error."""
    failure = None if error is None else as_failure(error)
    return 500 if failure is None else failure.status
