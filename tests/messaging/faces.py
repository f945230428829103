"""The messaging of each API, for tests that have to hold of all three; see tests/apis.py.

That for threads is called in threads, and looks like the one for trio. Its handlers are plain
functions in threads, each of which runs the coroutine function of the test.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Any, Protocol, TypeVar

import anyio
import anyio.to_thread
import trio

import restsock
import restsock.messaging.aio
import restsock.messaging.sync
from restsock.messaging import sync
from tests.apis import API
from tests.waiting import until

__all__ = ["AnyMessaging", "joined", "messaging", "now", "until"]

F = TypeVar("F", bound=Callable[..., Any])

QUICK = restsock.Backoff(initial=0.02, cap=0.1)

_WAITING = {"send", "drain", "publish", "send_to", "ask", "subscribe", "unsubscribe", "reply"}
_WAITING |= {"ack", "dial", "receive", "broadcast", "retry_dead_letters"}
_WAITING |= {"send_tracked", "handled", "transact"}
_FACES = (
    *(sync.Channel, sync.Message, sync.MessageStream, sync.Receipt, sync.Request),
    *(sync.Session, sync.Sessions),
)


async def _in_thread(function: Callable[..., Any], *args: Any, **options: Any) -> Any:
    def call() -> Any:
        return function(*args, **options)

    return await anyio.to_thread.run_sync(call, abandon_on_cancel=True)


def _seen(value: Any) -> Any:
    """What a test sees of a result."""
    if isinstance(value, list):
        return [_seen(one) for one in value]
    return _Async(value) if isinstance(value, _FACES) else value


def _raw(value: Any) -> Any:
    return value._raw if isinstance(value, _Async) else value


class _Async:
    """Something that blocks, as an async API."""

    def __init__(self, raw: Any) -> None:
        self._raw = raw

    def __getattr__(self, name: str) -> Any:
        value = getattr(self._raw, name)
        if not callable(value):
            return _seen(value)
        if name in _WAITING:

            async def wait(*args: Any, **options: Any) -> Any:
                options = {key: _raw(option) for key, option in options.items()}
                return _seen(await _in_thread(value, *args, **options))

            return wait

        def call(*args: Any, **options: Any) -> Any:
            options = {key: _raw(option) for key, option in options.items()}
            return _seen(value(*args, **options))

        return call

    def __eq__(self, other: object) -> bool:
        return bool(self._raw == _raw(other))

    def __hash__(self) -> int:
        return hash(self._raw)

    def __repr__(self) -> str:
        return repr(self._raw)

    def __len__(self) -> int:
        return len(self._raw)

    def __iter__(self) -> Any:
        return iter([_seen(one) for one in self._raw])

    def __aiter__(self) -> _Async:
        return self

    async def __anext__(self) -> Any:
        try:
            return await self.receive()
        except EOFError:
            raise StopAsyncIteration from None


class _AsyncMessaging(_Async):
    def on(self, channel: str, **options: Any) -> Any:
        return self._decorator(self._raw.on(channel, **options))

    def method(self, name: str) -> Any:
        return self._decorator(self._raw.method(name))

    def on_dead_letter(self, function: Any) -> Any:
        return self._raw.on_dead_letter(_plain(function))

    def on_recovery(self, function: Any) -> Any:
        return self._raw.on_recovery(_plain(function))

    def _decorator(self, decorate: Any) -> Any:
        def add(function: Any) -> Any:
            decorate(_plain(function))
            return function

        return add

    async def __aenter__(self) -> AnyMessaging:
        await _in_thread(self._raw.__enter__)
        return self

    async def __aexit__(self, *exc: object) -> None:
        with anyio.CancelScope(shield=True):
            await _in_thread(self._raw.__exit__, *exc)


def _plain(function: Any) -> Any:
    if not inspect.iscoroutinefunction(function):
        return function

    def call(argument: Any) -> Any:
        return trio.run(function, _seen(argument))

    return call


class AnyMessaging(Protocol):
    """A `Messaging` of any API."""

    def on(self, channel: str, **options: Any) -> Callable[[F], F]: ...

    def method(self, name: str) -> Callable[[F], F]: ...

    def __getattr__(self, name: str) -> Any: ...

    async def __aenter__(self) -> AnyMessaging: ...

    async def __aexit__(self, *exc: object) -> bool | None: ...


def messaging(api: API, *args: Any, **options: Any) -> AnyMessaging:
    """A `Messaging` of an API."""
    if api.name == "threads":
        return _AsyncMessaging(sync.Messaging(*args, **options))
    module: Any = restsock.messaging.aio if api.name == "asyncio" else restsock.messaging
    made: AnyMessaging = module.Messaging(*args, **options)
    return made


async def now(result: Any) -> Any:
    """What a function returns that is a coroutine function for asyncio alone."""
    return await result if inspect.isawaitable(result) else result


def connect(api: API, url: str, messaging: Any, **options: Any) -> Any:
    return api.connect(url, messaging=_raw(messaging), backoff=QUICK, **options)


def listen(api: API, messaging: Any, port: int = 0) -> Any:
    return api.listen("127.0.0.1", port, messaging=_raw(messaging))


def joined(api: API, dialer: Any, listener: Any) -> AbstractAsyncContextManager[None]:
    """A client and a server of an API with their messagings, once both know the other one."""

    @asynccontextmanager
    async def opened() -> Any:
        async with listener, dialer, listen(api, listener) as server:
            async with connect(api, server.url, dialer, name="edge-1"):
                await until(lambda: len(listener.sessions) and len(dialer.sessions))
                yield

    return opened()
