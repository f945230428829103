"""Which backend answers a key, and what stands before it."""

from __future__ import annotations

from typing import Any, cast

import pytest

from restsock.gateway import (
    NO_ROUTE,
    Call,
    CallFailed,
    FunctionBackend,
    Message,
    Middleware,
    Pipe,
    Reply,
    Router,
    Session,
)

SESSION = cast("Session", None)


def named(name: str) -> FunctionBackend:
    async def answer(message: Message) -> str:
        return name

    return FunctionBackend(answer)


class Adds(Middleware):
    """Adds a letter to the answer."""

    def __init__(self, letter: str) -> None:
        self.letter = letter

    async def __call__(self, message: Message, call_next: Call) -> Reply:
        reply = await call_next(message)
        return reply.replace(body=reply.body + self.letter)


async def ask(router: Router | Pipe, key: str) -> Any:
    return (await router.call(Message(SESSION, key))).body


async def test_the_exact_key_wins_then_the_longest_beginning_then_the_default() -> None:
    router = Router(
        {
            "orders.*": named("orders"),
            "orders.items.*": named("items"),
            "orders.list": named("list"),
            "o*": named("o"),
        },
        default=named("default"),
    )
    for key, name in {
        "orders.list": "list",
        "orders.list2": "orders",
        "orders.": "orders",
        "orders": "o",
        "orders.items.7": "items",
        "orders.*": "orders",
        "other": "o",
        "": "default",
        "x": "default",
    }.items():
        assert await ask(router, key) == name


async def test_a_key_for_nothing_is_a_404() -> None:
    router = Router({"a": named("a")})
    with pytest.raises(CallFailed) as caught:
        await ask(router, "b")
    assert caught.value.status == 404
    assert caught.value.members["type"] == NO_ROUTE
    assert not caught.value.may_have_run


async def test_a_star_alone_is_for_all() -> None:
    assert await ask(Router({"*": named("all")}), "") == "all"


async def test_routes_have_middleware_of_their_own() -> None:
    router = Router({"a": Pipe(named("a"), [Adds("x"), Adds("y")]), "b": named("b")})
    assert await ask(router, "a") == "ayx"  # the first is the outermost
    assert await ask(router, "b") == "b"


async def test_routers_can_be_in_routers() -> None:
    inner = Router({"a.b": named("b")}, default=named("inner"))
    router = Router({"a.*": inner})
    assert await ask(router, "a.b") == "b"
    assert await ask(router, "a.c") == "inner"


def test_routes_can_be_looked_at_and_not_changed() -> None:
    one, other = named("a"), named("b")
    router = Router([("a", one), ("b.*", other)], default=one)
    assert dict(router.routes) == {"a": one, "b.*": other}
    assert list(router.routes) == ["a", "b.*"]
    assert router.default is one
    assert router.find("a") is one
    with pytest.raises(TypeError):
        router.routes["c"] = one  # type: ignore[index]
    assert Router({}, default=one).find("x") is one


@pytest.mark.parametrize(
    ("routes", "default", "error", "words"),
    [
        ([("a", print), ("a", print)], None, ValueError, "twice"),
        ({"": print}, None, ValueError, "not empty"),
        ({"a*b": print}, None, ValueError, "only be the end"),
        ({"**": print}, None, ValueError, "only be the end"),
        ({1: print}, None, TypeError, "str"),
        ({"a": 1}, None, TypeError, "function"),
        ({"*": print}, print, ValueError, "same messages"),
        ({}, None, ValueError, "needs a route"),
        ({}, 1, TypeError, "function"),
    ],
)
def test_wrong_routes_are_refused(
    routes: Any, default: Any, error: type[Exception], words: str
) -> None:
    with pytest.raises(error, match=words):
        Router(routes, default)


@pytest.mark.parametrize("middleware", [[print], Adds("x"), [Adds]])
def test_wrong_middleware_is_refused(middleware: Any) -> None:
    with pytest.raises(TypeError, match="middleware"):
        Pipe(print, middleware)
