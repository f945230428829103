"""`Balance`: shares, ejection, return, and what is sent to another one."""

from __future__ import annotations

from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
import trio

import restsock
from restsock.gateway import HTTP, Backend, Balance, CallFailed, FunctionBackend, Message, Reply
from tests.gateway.stand_in import message, running


class Part(Backend):
    """One that answers as a test says.

    Attributes:
        calls: How many came.
        answer: What the next ones get: a reply, or an error; `None` lets them wait.
    """

    def __init__(self, name: str) -> None:
        self.name = name
        self.calls = 0
        self.running_now = 0
        self.answer: Reply | Exception | None = Reply(name)

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        self.running_now += 1
        yield
        self.running_now -= 1

    async def call(self, message: Message) -> Reply:
        self.calls += 1
        if self.answer is None:
            await trio.sleep_forever()
        await trio.lowlevel.checkpoint()
        if isinstance(self.answer, Exception):
            raise self.answer
        assert self.answer is not None
        return self.answer

    def __repr__(self) -> str:
        return self.name


NOT_RUN = CallFailed(503, "not there")
MAY_HAVE_RUN = CallFailed(502, "broken off", may_have_run=True)


async def test_weights_are_shares_of_what_is_under_way() -> None:
    # Whole numbers would send everything to the first, until it has as many as its weight.
    one, other = Part("a"), Part("b")
    one.answer = other.answer = None
    balance = Balance([(one, 30), (other, 10)])
    async with trio.open_nursery() as nursery:
        for _ in range(40):
            nursery.start_soon(balance.call, message())
            await trio.testing.wait_all_tasks_blocked()
        assert (one.calls, other.calls) == (30, 10)
        assert [member.in_flight for member in balance.members] == [30, 10]
        nursery.cancel_scope.cancel()
    assert [member.in_flight for member in balance.members] == [0, 0]
    assert not any(member.failures for member in balance.members)  # cancelled is not failed


async def test_equals_take_turns() -> None:
    parts = [Part("a"), Part("b"), Part("c")]
    balance = Balance(parts)
    seen = Counter([(await balance.call(message())).body for _ in range(300)])
    assert min(seen.values()) > 50


async def test_weight_0_is_out_of_use() -> None:
    one, other = Part("a"), Part("b")
    balance = Balance([(one, 0), other])
    for _ in range(20):
        assert (await balance.call(message())).body == "b"
    balance.set_weight(one, 5)
    balance.set_weight(other, 0)
    assert (await balance.call(message())).body == "a"
    with pytest.raises(ValueError, match="would be in use"):
        balance.set_weight(one, 0)
    with pytest.raises(ValueError, match="not one of them"):
        balance.set_weight(Part("c"), 1)


async def test_what_has_not_run_goes_to_another_one_and_what_may_have_does_not() -> None:
    one, other = Part("a"), Part("b")
    balance = Balance([one, other], failures=0)
    one.answer = NOT_RUN
    for _ in range(10):
        assert (await balance.call(message())).body == "b"
    assert other.calls == 10
    other.answer = NOT_RUN
    with pytest.raises(CallFailed, match="not there"):
        await balance.call(message())
    for error in (MAY_HAVE_RUN, CallFailed(422, "wrong"), RuntimeError("a bug")):
        one.answer = other.answer = error
        one.calls = other.calls = 0
        with pytest.raises(type(error)):
            await balance.call(message())
        assert one.calls + other.calls == 1


async def test_one_that_fails_is_ejected_tried_and_taken_back_slowly(autojump_clock: Any) -> None:
    one, other = Part("a"), Part("b")
    balance = Balance([one, other], failures=3, eject=10, slow_start=20)
    one.answer = Reply("x", 500)
    for _ in range(50):
        await balance.call(message())
    assert one.calls == 3
    assert balance.members[0].ejected
    await trio.sleep(10)  # one call tries it, and it is not well
    for _ in range(10):
        await balance.call(message())
    assert one.calls == 4
    await trio.sleep(10)  # the second time it is left alone for longer
    await balance.call(message())
    assert one.calls == 4
    one.answer = Reply("a")
    await trio.sleep(10)
    assert (await balance.call(message())).body == "a"
    assert not balance.members[0].ejected
    # A tenth of its share, then half of it, then all.
    other.answer = None
    one.answer = None
    for at, share in ((0, 3), (10, 10), (10, 15)):
        await trio.sleep(at)
        one.calls = 0
        async with trio.open_nursery() as nursery:
            for _ in range(30):
                nursery.start_soon(balance.call, message())
                await trio.testing.wait_all_tasks_blocked()
            assert one.calls == pytest.approx(share, abs=1)
            nursery.cancel_scope.cancel()


async def test_one_probe_at_a_time(autojump_clock: Any) -> None:
    one, other = Part("a"), Part("b")
    balance = Balance([one, other], failures=1, eject=1)
    one.answer = Reply(None, 503)
    while not balance.members[0].ejected:
        await balance.call(message())
    await trio.sleep(1)
    one.answer = None  # hangs
    async with trio.open_nursery() as nursery:
        nursery.start_soon(balance.call, message())
        await trio.testing.wait_all_tasks_blocked()
        calls = one.calls
        for _ in range(5):
            assert (await balance.call(message())).body == "b"
        assert one.calls == calls
        nursery.cancel_scope.cancel()
    one.answer = Reply("a")  # the probe was cancelled, and says nothing
    assert (await balance.call(message())).body == "a"


async def test_while_none_is_well_the_answer_is_503_at_once(autojump_clock: Any) -> None:
    parts = [Part("a"), Part("b")]
    balance = Balance(parts, failures=1, eject=8)
    for part in parts:
        part.answer = MAY_HAVE_RUN
    for _ in parts:
        with pytest.raises(CallFailed, match="broken off"):
            await balance.call(message())
    with pytest.raises(CallFailed) as caught:
        await balance.call(message())
    assert (caught.value.status, caught.value.may_have_run) == (503, False)
    assert caught.value.retry_after == 8
    assert sum(part.calls for part in parts) == 2


async def test_a_failure_of_the_client_is_none_of_the_backend() -> None:
    part = Part("a")
    balance = Balance([part], failures=1)
    for answer in (CallFailed(422, "wrong"), restsock.RequestValidationError("x"), Reply(1, 404)):
        part.answer = answer
        if isinstance(answer, Reply):
            assert (await balance.call(message())).status == 404
        else:
            with pytest.raises(restsock.RestsockError):
                await balance.call(message())
    assert balance.members[0].failures == 0


async def test_all_of_them_run() -> None:
    parts = [Part("a"), Part("b")]
    balance = Balance([Balance(parts), FunctionBackend(lambda _: 1)])
    async with running(balance):
        assert [part.running_now for part in parts] == [1, 1]
    assert [part.running_now for part in parts] == [0, 0]
    assert not balance.speaks_http
    assert Balance([Balance([HTTP("http://127.0.0.1:1")])]).speaks_http


def test_what_is_wrong_is_said_at_once() -> None:
    one = Part("a")
    with pytest.raises(ValueError, match="above 0"):
        Balance([(one, 0), (Part("b"), 0)])
    with pytest.raises(ValueError, match="above 0"):
        Balance([])
    with pytest.raises(ValueError, match="twice"):
        Balance([one, one])
    for weight in (-1, float("inf"), float("nan")):
        with pytest.raises(ValueError, match="weight"):
            Balance([(one, weight)])
    with pytest.raises(TypeError, match="weight"):
        Balance([(one, "3")])  # type: ignore[list-item]
    with pytest.raises(TypeError, match="backend"):
        Balance(["http://x"])  # type: ignore[list-item]
    with pytest.raises(ValueError, match="eject"):
        Balance([one], eject=0)
