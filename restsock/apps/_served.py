"""Around the call of an app: whose request it is, for logs; that it begins and ends, for traces.

Both are kept in the context of the task or thread that calls the app, so they also cover what the
app itself logs and traces.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from restsock._logging import serving

if TYPE_CHECKING:
    from ._exchange import ServedExchange

__all__ = ["begin_serving", "end_serving"]


def begin_serving(exchange: ServedExchange) -> Any:
    """Call it where the app is about to be called. Returns the token of `end_serving`."""
    connection = exchange.connection
    assert connection is not None
    serving.set(connection)
    if connection.instrument is None:
        return None
    return connection.instrument.serving_begun(connection, exchange.request)


def end_serving(exchange: ServedExchange, token: Any, status: int) -> None:
    """Call it after the app's call, in the same task or thread.

    Args:
        exchange: the same.
        token: what `begin_serving` returned.
        status: of the response whose head was sent; 0 for none.
    """
    connection = exchange.connection
    if token is not None and connection is not None and connection.instrument is not None:
        connection.instrument.serving_ended(token, status)
