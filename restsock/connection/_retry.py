"""What may be sent again, and when."""

from __future__ import annotations

import random

from restsock._exceptions import ConnectionClosed, RestsockError, StreamRefused

__all__ = ["pause_before", "pause_if_refused"]


def pause_before(attempt: int) -> float:
    """How long to wait, in seconds, before the peer that refused a request is asked again.

    It doubles, from about 20 ms to about a second, with jitter, so that what was refused together
    does not come back together.
    """
    longest: float = min(1.0, 0.02 * 2 ** min(attempt - 1, 10))
    return longest * (0.5 + random.random() / 2)  # noqa: S311  # not a secret


def pause_if_refused(
    error: RestsockError, attempt: int, *, started: bool, replayable: bool, left: float
) -> float | None:
    """How long to wait, in seconds, before a request is sent again; `None` if it may not be.

    For what an exchange cannot send again itself (`Exchange.requeue`), since it does not keep it: a
    long body. It may be when the peer provably did not start on it.

    Args:
        error: what its exchange failed with.
        attempt: how often it was sent.
        started: whether it had a stream. Without one, no other exchange would get one.
        replayable: whether its body can be sent from the beginning.
        left: seconds that it may still take to start.
    """
    refused = error.may_have_run is False and isinstance(error, (StreamRefused, ConnectionClosed))
    if refused and started and replayable and left > 0:
        return min(left, pause_before(attempt))
    return None
