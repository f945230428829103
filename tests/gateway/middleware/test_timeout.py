"""How long a call may take."""

from __future__ import annotations

import math
from typing import Any

import pytest
import trio

from restsock.gateway import Reply, Timeout
from tests.gateway.middleware.calls import Backend, failure, hang, message, parts


async def test_it_really_stops(autojump_clock: object) -> None:
    backend = Backend(takes=10)
    failed = await failure(Timeout(3)(message(), backend))
    assert (failed.status, failed.may_have_run) == (504, True)
    assert trio.current_time() == 3
    assert (backend.under_way, backend.cancelled) == (0, 1)


async def test_what_is_quick_enough_passes(autojump_clock: object) -> None:
    assert (await Timeout(3)(message(), Backend(takes=2.9))).body == "fine"


async def test_the_deadline_stands_in_the_message(autojump_clock: object) -> None:
    backend = Backend()
    asked = message()
    await trio.sleep(7)
    await Timeout(3)(asked, backend)
    assert backend.calls[0].deadline == 10
    assert asked.deadline == math.inf


async def test_an_earlier_deadline_counts(autojump_clock: object) -> None:
    backend = Backend(takes=10)
    assert (await failure(Timeout(3)(message(deadline=1), backend))).status == 504
    assert trio.current_time() == 1
    assert backend.calls[0].deadline == 1


async def test_what_comes_too_late_is_not_called(autojump_clock: object) -> None:
    backend = Backend()
    await trio.sleep(5)
    failed = await failure(Timeout(3)(message(deadline=5), backend))
    assert (failed.status, failed.may_have_run, backend.calls) == (504, False, [])


async def test_a_failure_of_the_call_is_its_own(autojump_clock: object) -> None:
    with pytest.raises(ZeroDivisionError):
        await Timeout(3)(message(), Backend(ZeroDivisionError()))


async def test_whoever_cancels_from_outside_is_not_told_of_a_time_out(
    autojump_clock: object,
) -> None:
    with trio.move_on_after(1) as scope:
        await Timeout(3)(message(), hang)
    assert scope.cancelled_caught


async def test_the_inner_one_of_two_does_not_hide_the_outer_one(autojump_clock: object) -> None:
    inner, backend = Timeout(5), Backend(takes=10)

    async def next_one(asked: Any) -> Reply:
        return await inner(asked, backend)

    assert (await failure(Timeout(2)(message(), next_one))).status == 504
    assert trio.current_time() == 2


async def test_parts_have_no_bound_unless_they_are_given_one(autojump_clock: object) -> None:
    backend = Backend(lambda _: Reply("last", parts=parts("one", "two", each=60)))
    reply = await Timeout(3)(message(), backend)
    assert reply.parts is not None
    assert [part async for part in reply.parts] == ["one", "two"]


async def test_each_part_may_have_a_bound(autojump_clock: object) -> None:
    backend = Backend(lambda _: Reply("last", parts=parts("one", "two", each=2)))
    reply = await Timeout(3, parts=5)(message(), backend)
    assert reply.parts is not None
    assert [part async for part in reply.parts] == ["one", "two"]
    reply = await Timeout(3, parts=1)(message(), backend)
    assert reply.parts is not None
    assert (await failure(anext(aiter(reply.parts)))).status == 504


@pytest.mark.parametrize("seconds", [0, -1, math.nan, math.inf, None, True, "5"])
def test_what_is_no_time(seconds: Any) -> None:
    with pytest.raises(ValueError, match="must be a number of seconds above 0"):
        Timeout(seconds)
