"""The three APIs, for tests that have to hold of each: trio, threads and asyncio.

A listener in a web server has them as well: that for asyncio, or else that for threads.

Such a test is an async function of an `API`, marked with `each_api`. It uses the names of the API
for trio; that for threads is called in threads, from trio.
"""

from __future__ import annotations

import asyncio
import functools
import inspect
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

import anyio
import anyio.to_thread
import pytest
import trio

import restsock
import restsock.aio
import restsock.asgi
import restsock.sync
from tests.mounted import SERVERS, Mounted

__all__ = ["API", "APIS", "each_api", "each_native_api"]


# --- threads, as an async API ---------------------------------------------------------------------


async def _in_thread(function: Callable[..., Any], *args: Any, **options: Any) -> Any:
    call = functools.partial(function, *args, **options)
    return await anyio.to_thread.run_sync(call, abandon_on_cancel=True)


class _Requester:
    def __init__(self, blocking: Any) -> None:
        self._blocking = blocking

    async def request(self, *args: Any, body: Any = b"", **options: Any) -> Any:
        if not isinstance(body, (bytes, str)):
            body = _pieces_of(body)
        return await _in_thread(self._blocking.request, *args, body=body, **options)

    @asynccontextmanager
    async def stream(self, *args: Any, body: Any = b"", **options: Any) -> AsyncIterator[Any]:
        if not isinstance(body, (bytes, str)):
            body = _pieces_of(body)
        response = await _in_thread(self._blocking.stream, *args, body=body, **options)
        try:
            yield _Response(response)
        finally:
            response.close()

    @asynccontextmanager
    async def websocket(self, *args: Any, **options: Any) -> AsyncIterator[Any]:
        websocket = await _in_thread(self._blocking.websocket, *args, **options)
        try:
            yield _WebSocket(websocket)
        except BaseException as exc:
            with anyio.CancelScope(shield=True):
                await _in_thread(websocket.__exit__, type(exc), exc, None)
            raise
        await _in_thread(websocket.__exit__, None, None, None)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._blocking, name)


def _pieces_of(body: Any) -> Any:
    """The pieces of an async body, for a thread; it never waits for anything else."""
    pieces = aiter(body)
    while True:
        step = anext(pieces, None).__await__()
        try:
            next(step)
        except StopIteration as done:
            if done.value is None:
                return
            yield done.value


class _Response:
    def __init__(self, response: Any) -> None:
        self._response = response

    async def receive(self) -> bytes:
        data: bytes = await _in_thread(self._response.receive)
        return data

    async def read(self) -> bytes:
        data: bytes = await _in_thread(self._response.read)
        return data

    async def send(self, data: bytes) -> None:
        await _in_thread(self._response.send, data)

    def __aiter__(self) -> _Response:
        return self

    async def __anext__(self) -> bytes:
        if data := await self.receive():
            return data
        raise StopAsyncIteration

    def __getattr__(self, name: str) -> Any:
        return getattr(self._response, name)


class _WebSocket:
    def __init__(self, websocket: Any) -> None:
        self._websocket = websocket
        self._messages = iter(websocket)

    async def send(self, message: Any) -> None:
        await _in_thread(self._websocket.send, message)

    async def receive(self) -> Any:
        return await _in_thread(self._websocket.receive)

    async def aclose(self, *args: Any) -> None:
        await _in_thread(self._websocket.close, *args)

    def __aiter__(self) -> _WebSocket:
        return self

    async def __anext__(self) -> Any:
        message = await _in_thread(next, self._messages, None)
        if message is None:
            raise StopAsyncIteration
        return message

    def __getattr__(self, name: str) -> Any:
        return getattr(self._websocket, name)


class _Events:
    def __init__(self, events: Any) -> None:
        self._events = events

    async def receive(self) -> Any:
        return await _in_thread(self._events.receive)

    def __aiter__(self) -> _Events:
        return self

    async def __anext__(self) -> Any:
        try:
            return await self.receive()
        except EOFError:
            raise StopAsyncIteration from None


class _Endpoint(_Requester):
    def __init__(self, make: Callable[[], Any]) -> None:
        super().__init__(None)
        self._make = make

    async def __aenter__(self) -> _Endpoint:
        self._blocking = await _in_thread(self._make)
        return self

    async def __aexit__(self, *exc: object) -> None:
        with anyio.CancelScope(shield=True):
            await _in_thread(self._blocking.__exit__, *exc)

    def route(self, name: str) -> _Requester:
        return _Requester(self._blocking.route(name))

    def events(self, **options: Any) -> _Events:
        return _Events(self._blocking.events(**options))

    async def aclose(self, *args: Any, **options: Any) -> None:
        await _in_thread(self._blocking.close, *args, **options)

    async def wait_closed(self) -> Any:
        return await _in_thread(self._blocking.wait_closed)


class _Threads:
    @staticmethod
    def connect(*args: Any, **options: Any) -> _Endpoint:
        return _Endpoint(functools.partial(restsock.sync.connect, *args, **options))

    @staticmethod
    def listen(*args: Any, **options: Any) -> _Endpoint:
        return _Endpoint(functools.partial(restsock.sync.listen, *args, **options))


def _face_for_threads(listener: restsock.asgi.Listener) -> _Endpoint:
    face = _Endpoint(lambda: listener.sync)
    face._blocking = listener.sync
    return face


def _face_for_asyncio(listener: restsock.asgi.Listener) -> restsock.asgi.Listener:
    return listener


# --- all of them -------------------------------------------------------------------------------


class API:
    """One of them: `connect` and `listen`, and what runs an async function on its loop.

    Attributes:
        in_threads: Whether a listener's calls are made in threads.
        tells_close_codes: Whether a listener learns how a peer has closed.
    """

    def __init__(self, name: str) -> None:
        self.name = name
        self.in_threads = name in ("threads", "hypercorn, trio")
        self.tells_close_codes = not name.startswith("hypercorn")
        self.on_trio = self.in_threads or name == "trio"
        modules: dict[str, Any] = {"trio": restsock, "threads": _Threads, "asyncio": restsock.aio}
        module = modules.get(name, restsock if self.on_trio else restsock.aio)
        self.connect: Callable[..., Any] = module.connect
        self.listen: Callable[..., Any] = module.listen
        if name in SERVERS:
            face: Any = _face_for_threads if self.on_trio else _face_for_asyncio
            self.listen = functools.partial(Mounted, SERVERS[name], face)

    def run(self, function: Callable[..., Awaitable[None]], *args: Any) -> None:
        async def bounded() -> None:
            with anyio.fail_after(20):
                await function(*args)

        if self.on_trio:
            trio.run(bounded)
        else:
            asyncio.run(bounded())


APIS = [API(name) for name in ("trio", "threads", "asyncio", *SERVERS)]
NATIVE = APIS[:3]


def each_api(function: Callable[..., Awaitable[None]]) -> Callable[..., None]:
    """Runs a test on each of them."""
    return _on_each(APIS, function)


def each_native_api(function: Callable[..., Awaitable[None]]) -> Callable[..., None]:
    """Runs a test on each of those that listen themselves, not in a web server."""
    return _on_each(NATIVE, function)


def _on_each(apis: list[API], function: Callable[..., Awaitable[None]]) -> Callable[..., None]:
    def test(api: API, **fixtures: Any) -> None:
        api.run(functools.partial(function, **fixtures), api)

    functools.update_wrapper(test, function)
    del test.__wrapped__  # type: ignore[attr-defined]  # pytest would see that it is async
    test.__signature__ = inspect.signature(function)  # type: ignore[attr-defined]
    decorate: Any = pytest.mark.parametrize("api", apis, ids=lambda api: api.name)
    decorated: Callable[..., None] = decorate(test)
    return decorated
