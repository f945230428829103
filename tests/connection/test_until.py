"""The time that something has: the inner one of two scopes has its word first."""

from __future__ import annotations

import sys

import pytest
import trio

if sys.version_info < (3, 11):
    from exceptiongroup import BaseExceptionGroup

from restsock.connection import until


async def _with_tasks() -> None:
    async with trio.open_nursery() as nursery:
        nursery.start_soon(trio.sleep_forever)
        nursery.start_soon(trio.sleep_forever)
        await trio.sleep_forever()


async def test_what_is_quick_enough_is_not_ended(autojump_clock: object) -> None:
    with until(2):
        await trio.sleep(1)
    assert trio.current_time() == 1


@pytest.mark.parametrize("wait", [trio.sleep_forever, _with_tasks])
@pytest.mark.parametrize("outer", [1, 2])
async def test_at_the_deadline_the_inner_one_tells(
    autojump_clock: object, outer: float, wait: object
) -> None:
    assert callable(wait)
    with pytest.raises(ZeroDivisionError), trio.move_on_at(outer):
        with until(1):
            await wait()
        raise ZeroDivisionError
    assert trio.current_time() == 1


async def test_before_it_a_cancellation_is_one(autojump_clock: object) -> None:
    with trio.move_on_at(1) as scope:
        with until(2):
            await trio.sleep_forever()
        raise AssertionError
    assert scope.cancelled_caught


async def test_a_cancellation_at_the_deadline_is_not_lost(autojump_clock: object) -> None:
    with trio.move_on_at(1) as scope:
        with until(1):
            await trio.sleep_forever()
        await trio.lowlevel.checkpoint()
        raise AssertionError
    assert scope.cancelled_caught


async def test_an_error_in_that_moment_is_told(autojump_clock: object) -> None:
    async def fail() -> None:
        try:
            await trio.sleep_forever()
        finally:
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError), until(1):
        await fail()
    with pytest.raises(BaseExceptionGroup), trio.move_on_at(1), until(1):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(fail)
            await trio.sleep_forever()
