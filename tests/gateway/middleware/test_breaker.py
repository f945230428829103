"""What fails all the time is left alone. The states themselves: test_circuit.py."""

from __future__ import annotations

import logging
from typing import Any

import pytest
import trio
import trio.testing

from restsock.gateway import Breaker, CallFailed, CircuitOpen, Reply, Retry, Timeout
from tests.gateway.middleware.calls import (
    Backend,
    failure,
    hang,
    may_have_run,
    message,
    not_run,
    parts,
)


async def fail(breaker: Breaker, times: int, answer: Any = None) -> None:
    backend = Backend(may_have_run() if answer is None else answer)
    for _ in range(times):
        try:
            await breaker(message(), backend)
        except Exception as exc:  # noqa: BLE001  # the answer may be any
            assert not isinstance(exc, CircuitOpen)  # noqa: PT017
    assert len(backend.calls) == times


async def test_it_opens_refuses_probes_and_closes(autojump_clock: object) -> None:
    breaker, backend = Breaker(failures=3, pause=10), Backend()
    await fail(breaker, 3)
    failed = await failure(breaker(message(), backend))
    assert isinstance(failed, CircuitOpen)
    assert (failed.status, failed.may_have_run, failed.retry_after) == (503, False, 10)
    await trio.sleep(4)
    assert (await failure(breaker(message(), backend))).retry_after == 6
    await trio.sleep(6)
    assert breaker.states() == {"": "half-open"}
    assert (await breaker(message(), backend)).body == "fine"
    assert breaker.states() == {"": "closed"}
    assert len(backend.calls) == 1


async def test_a_probe_that_fails_opens_it_for_another_pause(autojump_clock: object) -> None:
    breaker, backend = Breaker(failures=1, pause=10), Backend()
    await fail(breaker, 1)
    await trio.sleep(10)
    await fail(breaker, 1)
    assert (await failure(breaker(message(), backend))).retry_after == 10


async def test_a_part_of_the_calls_opens_it(autojump_clock: object) -> None:
    breaker = Breaker(failures=None, ratio=0.5, minimum=10)
    for number in range(9):
        await fail(breaker, 1, may_have_run() if number % 2 else "fine")
    assert breaker.states() == {"": "closed"}
    await fail(breaker, 1)
    assert breaker.states() == {"": "open"}


async def test_old_failures_are_forgotten(autojump_clock: object) -> None:
    breaker = Breaker(failures=None, ratio=0.5, minimum=2, window=10)
    await fail(breaker, 1)
    await trio.sleep(10)
    await fail(breaker, 1)
    assert breaker.states() == {"": "closed"}


@pytest.mark.parametrize(
    "answer", [may_have_run(500), may_have_run(504), Reply("", 500), ZeroDivisionError()]
)
async def test_what_is_a_failure(autojump_clock: object, answer: Any) -> None:
    breaker = Breaker(failures=2)
    await fail(breaker, 2, answer)
    assert breaker.states() == {"": "open"}


@pytest.mark.parametrize("answer", [not_run(404), not_run(429), Reply("", 400), Reply("")])
async def test_what_is_the_clients_own_fault_is_none(autojump_clock: object, answer: Any) -> None:
    breaker = Breaker(failures=2)
    await fail(breaker, 5, answer)
    assert breaker.states() == {"": "closed"}


async def test_a_call_that_its_client_has_left_counts_for_nothing(autojump_clock: object) -> None:
    breaker = Breaker(failures=1, slow=None)
    with trio.move_on_after(1):
        await breaker(message(), hang)
    assert breaker.states() == {"": "closed"}


async def test_time_outs_open_it(autojump_clock: object) -> None:
    breaker, timeout = Breaker(failures=2), Timeout(1)

    async def call(asked: Any) -> Reply:
        return await timeout(asked, hang)

    for _ in range(2):
        assert (await failure(breaker(message(), call))).status == 504
    assert breaker.states() == {"": "open"}


async def test_calls_that_hang_open_it_before_they_fail(autojump_clock: object) -> None:
    breaker = Breaker(failures=3, slow=2)
    async with trio.open_nursery() as nursery:
        for _ in range(3):
            nursery.start_soon(breaker, message(), hang)
        await trio.sleep(1.9)
        assert breaker.states() == {"": "closed"}
        await trio.sleep(0.1)
        assert isinstance(await failure(breaker(message(), hang)), CircuitOpen)
        nursery.cancel_scope.cancel()
    assert breaker.states() == {"": "open"}


async def test_a_probe_that_hangs_does_not_keep_it_half_open(autojump_clock: object) -> None:
    breaker = Breaker(failures=1, slow=None, pause=10)
    await fail(breaker, 1)
    await trio.sleep(10)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(breaker, message(), hang)
        await trio.sleep(3)
        assert (await failure(breaker(message(), hang))).retry_after == 7
        await trio.sleep(7)
        assert breaker.states() == {"": "open"}
        nursery.cancel_scope.cancel()


async def test_a_probe_that_its_client_leaves_makes_room_for_another(
    autojump_clock: object,
) -> None:
    breaker = Breaker(failures=1, pause=10)
    await fail(breaker, 1)
    await trio.sleep(10)
    with trio.move_on_after(1):
        await breaker(message(), hang)
    assert breaker.states() == {"": "half-open"}
    assert (await breaker(message(), Backend())).body == "fine"
    assert breaker.states() == {"": "closed"}


async def test_a_call_from_before_the_pause_closes_nothing(autojump_clock: object) -> None:
    breaker = Breaker(failures=1, pause=1)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(breaker, message(), Backend(takes=5))
        await trio.testing.wait_all_tasks_blocked()
        await fail(breaker, 1)
        await trio.sleep(2)
        assert breaker.states() == {"": "half-open"}
    assert breaker.states() == {"": "half-open"}


async def test_each_key_has_its_own(autojump_clock: object) -> None:
    breaker = Breaker(failures=1, key="key")
    await failure(breaker(message("a"), Backend(may_have_run())))
    assert isinstance(await failure(breaker(message("a"), Backend())), CircuitOpen)
    assert (await breaker(message("b"), Backend())).body == "fine"
    assert breaker.states() == {"a": "open", "b": "closed"}


async def test_without_a_key_all_pass(autojump_clock: object) -> None:
    breaker = Breaker(failures=1, key=lambda _: None)
    await fail(breaker, 3)
    assert breaker.states() == {}


async def test_keys_have_a_bound_and_open_circuits_stay(autojump_clock: object) -> None:
    breaker = Breaker(failures=1, key="key", max_keys=5)
    await failure(breaker(message("bad"), Backend(may_have_run())))
    for number in range(100):
        await breaker(message(str(number)), Backend())
    assert len(breaker.states()) == 5
    assert breaker.states()["bad"] == "open"


async def test_a_stream_that_breaks_off_counts(autojump_clock: object) -> None:
    breaker = Breaker(failures=1)
    broken = parts("one", error=may_have_run())
    reply = await breaker(message(), Backend(lambda _: Reply("last", parts=broken)))
    assert breaker.states() == {"": "closed"}
    assert reply.parts is not None
    with pytest.raises(CallFailed):
        assert [part async for part in reply.parts]
    assert breaker.states() == {"": "open"}


async def test_changes_are_told_and_logged(
    autojump_clock: object, caplog: pytest.LogCaptureFixture
) -> None:
    told: list[Any] = []
    caplog.set_level(logging.INFO, "restsock.gateway")
    breaker = Breaker(failures=1, pause=1, on_change=lambda *change: told.append(change))
    await fail(breaker, 1)
    await trio.sleep(1)
    await breaker(message(), Backend())
    assert told == [("", "open"), ("", "half-open"), ("", "closed")]
    assert [each.levelname for each in caplog.records] == ["WARNING", "INFO", "INFO"]


async def test_whoever_is_told_cannot_break_it(
    autojump_clock: object, caplog: pytest.LogCaptureFixture
) -> None:
    breaker = Breaker(failures=1, on_change=lambda *_: 1 / 0)
    await fail(breaker, 1)
    assert breaker.states() == {"": "open"}
    assert "on_change of a Breaker has failed" in caplog.text


async def test_a_retry_outside_does_not_wait_for_a_long_pause(autojump_clock: object) -> None:
    breaker, backend = Breaker(failures=2, pause=60), Backend(not_run())

    async def call(asked: Any) -> Reply:
        return await breaker(asked, backend)

    assert isinstance(await failure(Retry(5)(message(), call)), CircuitOpen)
    assert len(backend.calls) == 2
    assert trio.current_time() < 1


@pytest.mark.parametrize(
    "options",
    [
        {"failures": 0},
        {"failures": None, "ratio": None},
        {"ratio": 0},
        {"ratio": 1.5},
        {"window": 0},
        {"pause": -1},
        {"slow": 0},
        {"probes": 0},
        {"minimum": 0},
        {"max_keys": 0},
        {"key": "galaxy"},
    ],
)
def test_what_is_no_breaker(options: Any) -> None:
    with pytest.raises(ValueError, match=r"Breaker|scope"):
        Breaker(**options)


def test_what_is_told_has_to_be_a_function() -> None:
    with pytest.raises(TypeError, match="on_change must be a function"):
        Breaker(on_change=7)  # type: ignore[arg-type]
