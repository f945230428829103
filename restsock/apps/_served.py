"""Wraps the call of an app: adds the request to log records, and begins and ends its trace.

Both use the context of the task or thread that calls the app, so they also apply to the app's own
logs and traces.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from restsock._logging import PartLog, serving
from restsock.connection import ignore
from restsock.protocol import ResetCode

from ._errors import loggable

if TYPE_CHECKING:
    from ._exchange import ServedExchange
    from ._response import Responder

__all__ = ["begin_serving", "end_serving", "served"]

_log = PartLog("restsock.apps")


@contextmanager
def served(
    exchange: ServedExchange,
    response: Responder,
    is_for_the_loop: Callable[[BaseException], bool],
) -> Iterator[None]:
    """Wraps everything that a task does for one request.

    An app's exceptions end inside. Any other exception is for the loop, or is a bug here, which
    must not end the other requests.

    Args:
        exchange: The request.
        response: The responder.
        is_for_the_loop: Returns whether an exception must propagate to the loop.
    """
    token = begin_serving(exchange)
    try:
        yield
    except BaseException as exc:
        if is_for_the_loop(exc):
            exchange.reset(ResetCode.CANCEL, "going away")
            raise
        _log.exception("serving %s failed", loggable(exchange.request))
        exchange.reset(ResetCode.INTERNAL, "an internal error")
    finally:
        end_serving(exchange, token, response.status)
        # An exchange and the request that observes it are a reference cycle: without it, both are
        # freed now instead of at the next garbage collection. No later event matters.
        exchange.observer = ignore


def begin_serving(exchange: ServedExchange) -> Any:
    """Call this right before the app. Returns the token for `end_serving`."""
    connection = exchange.connection
    assert connection is not None
    serving.set(connection)
    if connection.instrument is None:
        return None
    return connection.instrument.serving_begun(connection, exchange.request)


def end_serving(exchange: ServedExchange, token: Any, status: int) -> None:
    """Call this after the app's call, in the same task or thread.

    Args:
        exchange: The same exchange.
        token: The result of `begin_serving`.
        status: The status of the response whose head was sent; 0 without one.
    """
    connection = exchange.connection
    if token is not None and connection is not None and connection.instrument is not None:
        connection.instrument.serving_ended(token, status)
