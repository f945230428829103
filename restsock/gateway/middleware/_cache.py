"""`Cache`: keeps replies for a while, and joins equal calls at the same time."""

from __future__ import annotations

import hashlib
import json
import logging
import math
from collections.abc import AsyncIterator, Hashable
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Literal

import trio

from restsock._options import between, not_negative
from restsock.gateway._errors import CallFailed, as_failure
from restsock.gateway._middleware import Middleware

from ._outcomes import status_of
from ._parts import discard
from ._replies import Replies
from ._scopes import KeyFunction, key_function

if TYPE_CHECKING:
    from restsock.gateway._backend import Call
    from restsock.gateway._message import Message, Reply

__all__ = ["Cache"]

_log = logging.getLogger("restsock.gateway")

# Fields that are others with each call, by `Trace` or by the client: no answer depends on them.
_OF_ONE_CALL = frozenset(
    (
        *("traceparent", "tracestate", "baggage", "x-request-id", "uber-trace-id"),
        *("b3", "x-b3-traceid", "x-b3-spanid", "x-b3-parentspanid", "x-b3-sampled", "x-b3-flags"),
    )
)


class _Flight:
    """A call that is made for all who want its reply."""

    def __init__(self) -> None:
        self.scope = trio.CancelScope()
        self.over = trio.Event()
        self.waiting = 0
        self.left_alone = False  # by the one for whom it began
        self.reply: Reply | None = None
        self.error: Exception | None = None


class Cache(Middleware):
    """Keeps replies, and makes one call for all clients that ask for the same at the same time.

        Pipe(backend, [Cache(5, key=lambda m: m.key if m.key == "quotes" else None)])

    Failures, replies in parts and silent replies are not kept. A reply is kept for one principal,
    or without authentication for one session, unless the cache is `shared`. Messages that expect no
    answer pass.

    A call for several clients belongs to none of them: it goes on when the client that began it
    leaves, and ends when all have left. All get its failure. The deadline of a message bounds how
    long its client waits, not the call. To bound the call, put a `Timeout` inside the cache.

    Bodies are not copied: do not change what a cache has returned.

    Args:
        ttl: Seconds for which a reply is good. With 0 none is kept, but calls are still shared.
        key: A function that returns the key of a message, or `None` not to cache it. `"message"` is
            everything that the client has sent: key, method, path, body, and header fields except
            those of traces and `X-Request-Id`.
        stale_if_error: Further seconds for which an old reply is returned when the call fails with
            500 or above.
        shared: Whether all clients get the same replies.
        max_entries: Replies that are kept. The least recently used are dropped.
        max_bytes: Bytes of memory for them.

    Attributes:
        hits: Messages that were answered from the cache.
        shared_calls: Messages that have joined the call of another one.
        misses: Messages that began a call.
        stale: Failed calls that were answered with an old reply.

    Raises:
        TypeError: An argument is of a wrong type.
        ValueError: A number is out of bounds.
    """

    def __init__(
        self,
        ttl: float,
        *,
        key: Literal["message"] | KeyFunction = "message",
        stale_if_error: float = 0.0,
        shared: bool = False,
        max_entries: int = 1000,
        max_bytes: int = 16 * 1024 * 1024,
    ) -> None:
        self.ttl = ttl
        self.stale_if_error = stale_if_error
        self.max_entries = max_entries
        self.max_bytes = max_bytes
        not_negative(self, "ttl")
        not_negative(self, "stale_if_error")
        between(self, "max_entries", 1, 2**31)
        between(self, "max_bytes", 1, 2**50)
        if isinstance(key, str) and key != "message":
            raise ValueError(f'Cache.key must be "message" or a function, not {key!r}')
        self._key = _whole_message if isinstance(key, str) else key_function(key)
        self._shared = shared
        self._replies = Replies(max_entries, max_bytes, ttl, stale_if_error if ttl else 0.0)
        self._flights: dict[Hashable, _Flight] = {}
        self._nursery: trio.Nursery | None = None
        self.hits = self.shared_calls = self.misses = self.stale = 0

    @property
    def entries(self) -> int:
        """How many replies are kept."""
        return len(self._replies)

    @property
    def nbytes(self) -> int:
        """Bytes of memory that they take."""
        return self._replies.nbytes

    def clear(self) -> None:
        """Forgets all replies. Calls under way go on, and their replies are kept."""
        self._replies.clear()

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Holds the calls that are made for several clients. See `Middleware`."""
        if self._nursery is not None:
            raise RuntimeError("this Cache is running already")
        async with trio.open_nursery() as nursery:
            self._nursery = nursery
            try:
                yield
            finally:
                self._nursery = None
                nursery.cancel_scope.cancel()

    async def __call__(self, message: Message, call_next: Call) -> Reply:
        """See `Middleware`.

        Raises:
            CallFailed: With 504 there was no reply before the deadline of the message.
            RuntimeError: This is not running.
        """
        own = self._key(message) if message.answered else None
        if own is None:
            return await call_next(message)
        session = message.session
        # With its type: to a dictionary `True` and 1 are one key, and a client may write either.
        key = (None if self._shared else session.principal or session.id, _typed(own))
        while True:
            reply = self._replies.get(key, trio.current_time())
            if reply is not None:
                self.hits += 1
                return reply
            flight = self._flights.get(key)
            if flight is None:
                self.misses += 1
                return await self._begin(key, message, call_next)
            self.shared_calls += 1
            await self._wait(key, flight, message, begun=False)
            if flight.reply is not None:
                return flight.reply if _can_be_shared(flight.reply) else await call_next(message)
            if flight.error is None or not flight.left_alone:
                raise _same(flight.error)
            # It may have failed because its client has gone: another one begins anew.

    async def _begin(self, key: Hashable, message: Message, call_next: Call) -> Reply:
        if self._nursery is None:
            raise RuntimeError("this Cache is not running")
        flight = self._flights[key] = _Flight()
        # Those who wait have deadlines of their own.
        call = message.replace(deadline=math.inf)
        self._nursery.start_soon(self._fly, key, flight, call, call_next)
        await self._wait(key, flight, message, begun=True)
        if flight.reply is not None:
            return flight.reply
        raise flight.error or _same(None)

    async def _wait(self, key: Hashable, flight: _Flight, message: Message, *, begun: bool) -> None:
        """Waits for a call. Whoever leaves last ends it."""
        flight.waiting += 1
        try:
            with trio.CancelScope(deadline=message.deadline):
                await flight.over.wait()
                return
        finally:
            flight.waiting -= 1
            if not flight.over.is_set():
                flight.left_alone |= begun
                if not flight.waiting:
                    self._forget(key, flight)
                    flight.scope.cancel()
        raise CallFailed(504, "no answer in time", may_have_run=True)

    def _forget(self, key: Hashable, flight: _Flight) -> None:
        """Nobody joins it any more."""
        if self._flights.get(key) is flight:
            del self._flights[key]

    async def _fly(self, key: Hashable, flight: _Flight, message: Message, call_next: Call) -> None:
        try:
            with flight.scope:
                try:
                    flight.reply = await call_next(message)
                except Exception as exc:  # noqa: BLE001  # it is for those who wait
                    flight.error = exc
                self._keep(key, flight, message)
                if flight.left_alone and flight.reply is not None:
                    await discard(flight.reply)
        finally:
            self._forget(key, flight)
            flight.over.set()

    def _keep(self, key: Hashable, flight: _Flight, message: Message) -> None:
        """Keeps a reply that is good; finds an old one for a call that has failed."""
        now, reply, error = trio.current_time(), flight.reply, flight.error
        if reply is not None and not reply.failed:
            if self.ttl and _can_be_shared(reply):
                self._replies.put(key, reply, now)
            return
        status = reply.status if error is None and reply is not None else status_of(error)
        old = self._replies.get(key, now, stale=True) if status >= 500 else None
        if old is not None:
            self.stale += 1
            if error is not None and as_failure(error) is None:
                _log.error("%r failed; it has an old reply", message, exc_info=error)
            flight.reply, flight.error = old, None


def _can_be_shared(reply: Reply) -> bool:
    """Whether it is for all: a stream is for one alone, and what was passed on is no answer."""
    return reply.parts is None and not reply.silent


def _same(error: Exception | None) -> CallFailed:
    """The failure of another one's call. An error of its own: an exception is raised once."""
    if error is None:
        return CallFailed(503, "the gateway is going away", may_have_run=True)
    failure = as_failure(error)
    if failure is None:  # whoever began the call logs it
        return CallFailed(500, "this failed in the gateway", may_have_run=True)
    return CallFailed(
        failure.status,
        failure.detail,
        may_have_run=failure.may_have_run is not False,
        retry_after=failure.retry_after,
        members=failure.members,
    )


def _typed(key: Hashable) -> Hashable:
    """A key that is no other one's."""
    if isinstance(key, tuple):
        return tuple(map(_typed, key))
    return key if isinstance(key, (bytes, str)) else (type(key).__name__, key)


def _whole_message(message: Message) -> Hashable:
    """A short key for all that the client has sent, but for what only tells calls apart."""
    body = message.body
    binary = isinstance(body, bytes)
    raw = body if binary else b""
    fields = {name: text for name, text in message.headers.items() if name not in _OF_ONE_CALL}
    told = [message.key, message.method, message.path, fields, binary]
    try:
        text = json.dumps([*told, None if binary else body], sort_keys=True)
    except (TypeError, ValueError):  # a body that is no JSON
        return None
    return hashlib.sha256(text.encode("utf-8", "surrogatepass") + raw).digest()
