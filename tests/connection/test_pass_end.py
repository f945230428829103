"""`PassEnd`: functions are called once all tasks have had their turn, before the loop waits."""

from __future__ import annotations

import logging

import pytest
import trio

from restsock.connection._pass_end import pass_end


async def test_functions_are_called_in_order_after_all_tasks_of_the_pass() -> None:
    seen: list[str] = []

    async def act(name: str) -> None:
        seen.append(name)
        pass_end().call(lambda: seen.append(f"{name} at the end"))

    async with trio.open_nursery() as nursery:
        for name in ("a", "b", "c"):
            nursery.start_soon(act, name)
    ends = [f"{name} at the end" for name in seen[:3]]
    assert sorted(seen[:3]) == ["a", "b", "c"]
    assert seen[3:] == ends


async def test_one_that_fails_is_logged_and_stops_no_other(
    caplog: pytest.LogCaptureFixture,
) -> None:
    called = trio.Event()

    def fail() -> None:
        raise RuntimeError("a bug")

    with caplog.at_level(logging.ERROR):
        pass_end().call(fail)
        pass_end().call(called.set)
        await trio.lowlevel.checkpoint()
    assert called.is_set()
    assert "a bug" in caplog.text


async def test_it_is_one_for_all_of_a_run() -> None:
    assert pass_end() is pass_end()


async def test_a_function_that_is_named_twice_is_called_once() -> None:
    class Thing:
        called = 0

        def call(self) -> None:
            self.called += 1

    thing = Thing()
    pass_end().call(thing.call)
    pass_end().call(thing.call)
    await trio.lowlevel.checkpoint()
    assert thing.called == 1
    pass_end().call(thing.call)
    await trio.lowlevel.checkpoint()
    assert thing.called == 2
