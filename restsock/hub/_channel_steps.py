"""From the keys of middleware to middleware."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from restsock._options import Backoff
from restsock._strict_json import read_json
from restsock.gateway import Breaker, Cache, Limit, Middleware, Rate, Retry, Timeout, Validate

from ._access import opened
from ._channel_tables import RetryTable, StepsTable

__all__ = ["steps_of"]


def steps_of(table: StepsTable, key: str) -> list[Middleware]:
    """The middleware that a table names, the outermost first.

    Args:
        table: Of a channel or a route.
        key: Where it stands.

    Raises:
        ConfigError: A value cannot be used.
    """
    found = []
    for name, value, make in _ways(table):
        if value is not None:
            with opened(f"{key}.{name}"):
                found.append(make(value))
    return found


def _ways(table: StepsTable) -> Iterator[tuple[str, Any, Callable[[Any], Middleware]]]:
    yield "rate", table.rate, lambda t: Rate(t.rate, burst=t.burst, key=t.key)
    yield (
        "limit",
        table.limit,
        lambda t: Limit(t.in_flight, scope=t.scope, on_full=t.on_full, queue=t.queue),
    )
    yield "schema", table.schema, _validate
    yield (
        "cache",
        table.cache,
        lambda t: Cache(
            t.ttl,
            stale_if_error=t.stale_if_error,
            shared=t.shared,
            max_entries=t.max_entries,
            max_bytes=t.max_bytes,
        ),
    )
    yield "retry", table.retry, _retry
    yield "breaker", table.breaker, _breaker
    yield "timeout", table.timeout, Timeout


def _validate(file: str) -> Middleware:
    schema: Any = read_json(Path(file).read_text("utf-8"))
    return Validate({"*": schema})


def _retry(given: RetryTable | int) -> Middleware:
    table = RetryTable(attempts=given) if isinstance(given, int) else given
    return Retry(
        table.attempts,
        backoff=Backoff(initial=table.initial, cap=table.cap),
        idempotent=table.idempotent,
        budget=table.budget,
        reserve=table.reserve,
    )


def _breaker(table: Any) -> Middleware:
    return Breaker(
        key=table.key,
        failures=table.failures,
        ratio=table.ratio,
        window=table.window,
        minimum=table.minimum,
        slow=table.slow,
        pause=table.pause,
        probes=table.probes,
    )
