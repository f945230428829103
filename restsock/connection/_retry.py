"""What may be sent again, and when."""

from __future__ import annotations

import random

from restsock._exceptions import ConnectionClosed, RestsockError, StreamRefused

__all__ = ["pause_before", "was_refused"]


def pause_before(attempt: int) -> float:
    """How long to wait, in seconds, before the peer that refused a request is asked again.

    It doubles, from about 20 ms to about a second, with jitter, so that what was refused together
    does not come back together.
    """
    longest: float = min(1.0, 0.02 * 2 ** min(attempt - 1, 10))
    return longest * (0.5 + random.random() / 2)  # noqa: S311  # not a secret


def was_refused(error: RestsockError) -> bool:
    """Whether a request provably was not started where it went, and may be elsewhere or later."""
    return error.may_have_run is False and isinstance(error, (StreamRefused, ConnectionClosed))
