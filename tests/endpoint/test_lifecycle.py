"""The life of a client or a server: its states, and the block of code that it lives in."""

from __future__ import annotations

import itertools
from collections.abc import Awaitable, Callable

import pytest
import trio
from trio.testing import MockClock

from restsock._logging import PartLog
from restsock.endpoint import Lifecycle, State

NEW, OPEN, DRAINING, CLOSED = State.NEW, State.OPEN, State.DRAINING, State.CLOSED
WAYS = {(NEW, OPEN), (NEW, DRAINING), (NEW, CLOSED), (OPEN, DRAINING), (OPEN, CLOSED)} | {
    (DRAINING, CLOSED)
}


@pytest.mark.parametrize(("before", "after"), list(itertools.product(State, State)))
def test_it_never_goes_back(before: State, after: State) -> None:
    life = Lifecycle("client", PartLog("restsock.server"))
    life.state = before
    possible = (before, after) in WAYS
    assert life.to(after) is possible
    assert life.state is (after if possible else before)
    assert life.ending is (life.state in (DRAINING, CLOSED))


class Owner:
    """Something that lives, and notes what it is told."""

    def __init__(self, start: Callable[[], Awaitable[object]] = trio.lowlevel.checkpoint) -> None:
        self.life = Lifecycle("server", PartLog("restsock.server"))
        self.told: list[object] = []
        self._start = start

    async def close(self, *, grace: float | None) -> None:
        self.told.append(("close", grace))
        self.life.to(DRAINING)
        self.life.to(CLOSED)

    async def start(self, nursery: trio.Nursery) -> None:
        nursery.start_soon(trio.sleep_forever)
        await self._start()

    def end(self) -> None:
        self.told.append("end")
        self.life.to(CLOSED)

    async def __aenter__(self) -> Owner:
        await self.life.enter([], self.start, self.close, self.end)
        return self

    async def __aexit__(self, *exc: object) -> bool | None:
        return await self.life.leave(*exc)


async def test_a_block_is_drained_when_it_is_left(autojump_clock: MockClock) -> None:
    async with Owner() as owner:
        assert owner.life.state is OPEN
        assert owner.life.token is trio.lowlevel.current_trio_token()
    assert owner.told == [("close", None), "end"]
    await owner.life.wait_closed()


@pytest.mark.parametrize("error", [ValueError("x"), KeyboardInterrupt()])
async def test_an_error_waits_for_nothing_and_arrives_as_it_is(error: BaseException) -> None:
    owner = Owner()
    with pytest.raises(type(error)) as caught:
        async with owner:
            raise error
    assert caught.value is error
    assert owner.told == [("close", 0), "end"]


@pytest.mark.parametrize("error", [ValueError("x"), KeyboardInterrupt()])
async def test_what_does_not_get_up_is_closed_and_not_drained(error: BaseException) -> None:
    async def fail() -> None:
        raise error

    owner = Owner(fail)
    with pytest.raises(type(error)) as caught:
        async with owner:
            raise AssertionError
    assert caught.value is error
    assert owner.told == ["end", "end"]
    assert owner.life.state is CLOSED


async def test_what_has_closed_in_its_block_is_not_closed_again() -> None:
    async with Owner() as owner:
        await owner.close(grace=3)
    assert owner.told == [("close", 3), "end"]


@pytest.mark.parametrize("start", [trio.lowlevel.checkpoint, trio.sleep_forever])
async def test_a_cancelled_one_is_closed(
    start: Callable[[], Awaitable[object]], autojump_clock: MockClock
) -> None:
    owner = Owner(start)
    with trio.move_on_after(1) as scope:
        async with owner:
            await trio.sleep_forever()
    assert scope.cancelled_caught
    assert owner.life.state is CLOSED
    assert owner.told[-1] == "end"


async def test_it_is_entered_once() -> None:
    async with Owner() as owner:
        with pytest.raises(RuntimeError, match="a server can be entered once; make another one"):
            await owner.__aenter__()
        assert owner.life.state is OPEN
    closed = Owner()
    closed.life.to(CLOSED)
    with pytest.raises(RuntimeError, match="entered once"):
        await closed.__aenter__()
