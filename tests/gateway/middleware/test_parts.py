"""Replies that come in parts tell once when they are over, however that comes."""

from __future__ import annotations

import gc
from typing import Any

import pytest
import trio
import trio.testing

from restsock.gateway import Reply
from restsock.gateway.middleware._parts import Parts, discard, when_over
from tests.gateway.middleware.calls import may_have_run, parts


async def test_a_reply_without_parts_is_over_at_once() -> None:
    told: list[Any] = []
    reply = Reply("fine")
    assert when_over(reply, told.append) is reply
    assert told == [None]


async def test_the_end_is_told_once() -> None:
    told: list[Any] = []
    stream = Parts(parts("one", "two"), told.append)
    assert [part async for part in stream] == ["one", "two"]
    assert told == [None]
    await stream.aclose()
    with pytest.raises(StopAsyncIteration):
        await anext(stream)
    assert told == [None]


async def test_a_failure_is_told() -> None:
    told: list[Any] = []
    error = may_have_run()
    with pytest.raises(type(error)):
        assert [part async for part in Parts(parts("one", error=error), told.append)]
    assert told == [error]


async def test_the_end_of_an_unread_reply_is_reported_on_the_loop() -> None:
    told: list[Any] = []
    task = trio.lowlevel.current_task()

    def ended(error: BaseException | None) -> None:
        assert trio.lowlevel.current_task() is not task
        told.append(error)

    reply: Reply | None = when_over(Reply(parts=parts("one")), ended)
    assert reply is not None
    reply = None
    gc.collect()
    await trio.testing.wait_all_tasks_blocked()
    assert told == [None]


def test_garbage_of_a_loop_that_is_over_is_no_trouble() -> None:
    left: list[Any] = []

    async def main() -> None:
        left.append(Parts(parts("one"), lambda _: None))

    trio.run(main)
    left.clear()
    gc.collect()


async def test_what_is_discarded_is_closed() -> None:
    told: list[Any] = []
    await discard(when_over(Reply(parts=parts("one")), told.append))
    await discard(Reply("fine"))
    assert told == [None]


async def test_any_iterable_will_do() -> None:
    class Two:
        def __init__(self) -> None:
            self.left = [1, 2]

        def __aiter__(self) -> Two:
            return self

        async def __anext__(self) -> int:
            if not self.left:
                raise StopAsyncIteration
            return self.left.pop(0)

    told: list[Any] = []
    stream = Parts(Two(), told.append)
    assert [part async for part in stream] == [1, 2]
    await Parts(Two(), told.append).aclose()
    assert told == [None, None]
