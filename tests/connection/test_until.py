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


async def test_within_another_one_with_its_deadline_it_tells_all_the_same(
    autojump_clock: object,
) -> None:
    with pytest.raises(ZeroDivisionError), until(2):
        with until(2):
            await trio.sleep_forever()
        raise ZeroDivisionError
    assert trio.current_time() == 2


async def test_within_another_one_that_ends_before_it_that_one_tells(
    autojump_clock: object,
) -> None:
    with until(2):
        with until(3):
            await trio.sleep_forever()
        raise AssertionError
    assert trio.current_time() == 2


async def test_a_task_that_was_started_within_has_its_own_time(autojump_clock: object) -> None:
    """What bounds the task that has started it does not bound this one."""
    ended: list[float] = []

    async def later() -> None:
        with until(5):
            await trio.sleep_forever()
        ended.append(trio.current_time())

    async with trio.open_nursery() as nursery:
        with until(3):
            nursery.start_soon(later)
            await trio.sleep_forever()
    assert ended == [5]


async def test_after_a_block_the_one_around_it_counts_again(autojump_clock: object) -> None:
    with until(4):
        with until(1):
            await trio.sleep_forever()
        with until(2):
            await trio.sleep_forever()
        assert trio.current_time() == 2
        await trio.sleep_forever()
    assert trio.current_time() == 4
