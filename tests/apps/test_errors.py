"""What apps raise: chains, groups and rings of exceptions end in one answer, on each loop."""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any

import fastapi
import pytest
import trio

from restsock.apps import Disconnected
from restsock.apps._errors import first_cause, is_disconnect, is_for_the_loop, other_loop
from restsock.connection import Request, Response
from restsock.testing import connected_pair

if sys.version_info < (3, 11):
    from exceptiongroup import BaseExceptionGroup, ExceptionGroup

DEEP = sys.getrecursionlimit() + 100


def ring_of(*parts: Exception) -> Exception:
    """The first part of a group, as Starlette raises what is behind a middleware."""
    try:
        try:
            raise ExceptionGroup("g", parts)
        except ExceptionGroup as group:
            raise group.exceptions[0]  # noqa: B904  # the ring that it makes is the point
    except Exception as error:  # noqa: BLE001
        return error


def causes(error: Exception) -> Exception:
    """A ring of causes, with an error in front of it."""
    one, two = ValueError(), ValueError()
    one.__cause__, two.__cause__ = two, one
    error.__cause__ = one
    return error


def chain(last: BaseException) -> BaseException:
    for _ in range(DEEP):
        error = ValueError()
        error.__cause__ = last
        last = error
    return last


def nest(last: BaseException) -> BaseException:
    for _ in range(DEEP):
        last = BaseExceptionGroup("g", [last])
    return last


class Rude(RuntimeError):
    def __str__(self) -> str:
        raise OSError("not even words")

    def __bool__(self) -> bool:  # as one has that counts something
        return False


def rude() -> Exception:
    error = Rude("x")
    error.__cause__ = Rude("y")
    return error


RAISED: dict[str, Callable[[], BaseException]] = {
    "ring": lambda: ring_of(ValueError()),
    "ring of causes": lambda: causes(ValueError()),
    "itself in a ring of groups": lambda: ring_of(ValueError(), Disconnected()),
    "chain": lambda: chain(ValueError()),
    "nest": lambda: nest(ValueError()),
    "rude": rude,
}


@pytest.mark.parametrize("loop", ["asyncio", "trio", "function"])
@pytest.mark.parametrize("what", RAISED)
async def test_any_error_is_a_500(what: str, loop: str, caplog: pytest.LogCaptureFixture) -> None:
    async def asgi(scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] == "http":
            error = RAISED[what]()
            raise error

    async def function(request: Request) -> Response:
        error = RAISED[what]()
        raise error

    app, loop = (function, "auto") if loop == "function" else (asgi, loop)
    async with connected_pair(app_b=app, loop_b=loop) as (dialer, _):
        assert (await dialer.request("GET", "/")).status == 500
    assert [r.message for r in caplog.records] == ["the app failed at GET /"]


@pytest.mark.parametrize("loop", ["asyncio", "trio"])
async def test_an_endpoint_behind_a_middleware(loop: str, caplog: pytest.LogCaptureFixture) -> None:
    app = fastapi.FastAPI()

    @app.middleware("http")
    async def middleware(request: Any, call_next: Any) -> Any:
        return await call_next(request)

    @app.get("/")
    async def root() -> None:
        raise ZeroDivisionError

    async with connected_pair(app_b=app, loop_b=loop) as (dialer, _):
        assert (await dialer.request("GET", "/")).status == 500
    assert [r.message for r in caplog.records] == ["the app failed at GET /"]


@pytest.mark.parametrize("loop", ["asyncio", "trio"])
async def test_a_rude_startup(loop: str) -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] == "lifespan":
            raise rude()
        await send({"type": "http.response.start", "status": 200})
        await send({"type": "http.response.body"})

    async with connected_pair(app_b=app, loop_b=loop) as (dialer, _):
        assert (await dialer.request("GET", "/")).status == 200


def test_what_says_that_the_peer_has_left() -> None:
    shared = ValueError()
    shared.__cause__ = Disconnected()
    one, two = KeyError(), KeyError()
    one.__cause__ = two.__cause__ = shared
    for yes in (
        Disconnected(),
        shared,
        ExceptionGroup("g", [one, two]),
        chain(Disconnected()),
        nest(Disconnected()),
    ):
        assert is_disconnect(yes, None)
    for no in (
        ValueError(),
        ExceptionGroup("g", [ValueError(), Disconnected()]),
        *(make() for make in RAISED.values()),
    ):
        assert not is_disconnect(no, None)


def test_the_loops_own_is_found_wherever_it_is() -> None:
    for depth in (
        nest(KeyboardInterrupt()),
        nest(BaseExceptionGroup("g", [ValueError(), _cancelled()])),
    ):
        assert is_for_the_loop(depth)
    many = [*(ValueError() for _ in range(5000)), _cancelled()]
    assert is_for_the_loop(BaseExceptionGroup("g", many))
    assert not any(is_for_the_loop(make()) for make in RAISED.values())


def test_the_first_cause() -> None:
    last = KeyError()
    assert first_cause(chain(last)) is last
    assert first_cause(causes(KeyError())) is not None
    assert other_loop("trio", chain(RuntimeError("no running event loop"))) == "asyncio"
    assert other_loop("asyncio", nest(RuntimeError("must be called from async context"))) == "trio"


def _cancelled() -> BaseException:
    cancelled: list[BaseException] = []

    async def main() -> None:
        with trio.CancelScope() as scope:
            scope.cancel()
            try:
                await trio.lowlevel.checkpoint()
            except trio.Cancelled as error:
                cancelled.append(error)
                raise

    trio.run(main)
    return cancelled[0]
