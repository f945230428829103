"""How many calls there may be at a time, and what happens to the others."""

from __future__ import annotations

import gc
from typing import Any

import pytest
import trio
import trio.testing
from hypothesis import given
from hypothesis import strategies as st

from restsock.gateway import Limit, Reply
from tests.gateway.middleware.calls import (
    Backend,
    failure,
    hang,
    may_have_run,
    message,
    parts,
    run,
    session_of,
)


async def test_further_calls_wait_their_turn_in_order(autojump_clock: object) -> None:
    backend, limit = Backend(takes=1), Limit(1)
    async with trio.open_nursery() as nursery:
        for number in range(6):
            nursery.start_soon(limit, message(body=number), backend)
            await trio.testing.wait_all_tasks_blocked()
        assert limit.statistics == {"in_flight": 1, "waiting": 5}
    assert backend.most == 1
    assert [each.body for each in backend.calls] == list(range(6))
    assert backend.times == list(range(6))
    assert limit.statistics == {"in_flight": 0, "waiting": 0}


async def test_so_many_go_on_at_a_time(autojump_clock: object) -> None:
    backend, limit = Backend(takes=1), Limit(3)
    async with trio.open_nursery() as nursery:
        for _ in range(7):
            nursery.start_soon(limit, message(), backend)
    assert (backend.most, trio.current_time()) == (3, 3)


async def test_full_may_mean_refused(autojump_clock: object) -> None:
    backend, limit = Backend(takes=1), Limit(1, on_full="refuse")
    async with trio.open_nursery() as nursery:
        nursery.start_soon(limit, message(), backend)
        await trio.testing.wait_all_tasks_blocked()
        failed = await failure(limit(message(), backend))
        assert (failed.status, failed.may_have_run, failed.retry_after) == (503, False, 1)
    assert (await limit(message(), backend)).body == "fine"


async def test_no_more_wait_than_may(autojump_clock: object) -> None:
    backend, limit = Backend(takes=1), Limit(1, queue=1)
    async with trio.open_nursery() as nursery:
        for _ in range(2):
            nursery.start_soon(limit, message(), backend)
        await trio.testing.wait_all_tasks_blocked()
        assert (await failure(limit(message(), backend))).status == 503
    assert len(backend.calls) == 2


async def test_nobody_waits_past_the_deadline_of_its_message(autojump_clock: object) -> None:
    backend, limit = Backend(takes=100), Limit(1)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(limit, message(), backend)
        await trio.testing.wait_all_tasks_blocked()
        late = message(deadline=trio.current_time() + 3)
        failed = await failure(limit(late, backend))
        assert (failed.status, failed.may_have_run) == (504, False)
        assert trio.current_time() == 3
        nursery.cancel_scope.cancel()
    assert limit.statistics == {"in_flight": 0, "waiting": 0}


@pytest.mark.parametrize(
    ("scope", "sessions", "most"),
    [
        ("channel", [session_of("a"), session_of("b")], 1),
        ("channel", [session_of("a"), session_of("b", channel="/other")], 2),
        ("all", [session_of("a"), session_of("b", channel="/other")], 1),
        ("session", [session_of("a"), session_of("b")], 2),
        ("session", [session_of("a"), session_of("a")], 1),
        ("principal", [session_of("a", principal="eve"), session_of("b", principal="eve")], 1),
        ("principal", [session_of("a", principal="eve"), session_of("b", principal="joe")], 2),
        ("principal", [session_of("a", host="10.0.0.1"), session_of("b", host="10.0.0.2")], 2),
        ("address", [session_of("a", host="2001:db8::1"), session_of("b", host="2001:db8::2")], 1),
        (lambda m: m.session.id, [session_of("a"), session_of("b")], 2),
        (lambda m: None, [session_of("a"), session_of("a")], 2),
    ],
)
async def test_what_counts_together(
    autojump_clock: object, scope: Any, sessions: Any, most: int
) -> None:
    backend, limit = Backend(takes=1), Limit(1, scope=scope)
    async with trio.open_nursery() as nursery:
        for session in sessions:
            nursery.start_soon(limit, message(session=session), backend)
    assert backend.most == most


async def test_an_address_that_equals_a_principals_name_is_not_that_principal(
    autojump_clock: object,
) -> None:
    backend, limit = Backend(takes=1), Limit(1, scope="principal")
    async with trio.open_nursery() as nursery:
        for session in (session_of("a", principal="192.0.2.1"), session_of("b")):
            nursery.start_soon(limit, message(session=session), backend)
    assert backend.most == 2


async def test_a_stream_holds_its_place_until_its_last_part(autojump_clock: object) -> None:
    limit = Limit(1, on_full="refuse")
    backend = Backend(lambda _: Reply("last", parts=parts("one", "two")))
    reply = await limit(message(), backend)
    assert (await failure(limit(message(), backend))).status == 503
    assert reply.parts is not None
    assert [part async for part in reply.parts] == ["one", "two"]
    assert limit.statistics["in_flight"] == 0


@pytest.mark.parametrize("how", ["closed", "dropped", "failed", "cancelled"])
async def test_a_stream_that_is_not_read_to_its_end_frees_its_slot(
    autojump_clock: object, how: str
) -> None:
    limit = Limit(1)
    error = may_have_run() if how == "failed" else None
    each = 60 if how == "cancelled" else 0
    backend = Backend(lambda _: Reply("last", parts=parts("one", each=each, error=error)))
    reply: Reply | None = await limit(message(), backend)
    assert reply is not None
    stream: Any = reply.parts
    if how == "closed":
        await stream.aclose()
    elif how == "failed":
        assert (await failure(_read(stream))).status == 503
    elif how == "cancelled":
        with trio.move_on_after(1):
            await _read(stream)
    reply = stream = None
    gc.collect()
    await trio.testing.wait_all_tasks_blocked()
    assert limit.statistics["in_flight"] == 0


async def _read(stream: Any) -> None:
    async for _ in stream:
        pass


async def test_a_call_that_fails_gives_its_place_back() -> None:
    limit = Limit(1, on_full="refuse")
    for answer in (ZeroDivisionError(), may_have_run()):
        with pytest.raises(type(answer)):
            await limit(message(), Backend(answer))
    assert limit.statistics["in_flight"] == 0


@given(st.lists(st.tuples(st.integers(0, 2), st.floats(0, 3), st.floats(0, 2)), max_size=25))
def test_places_are_neither_lost_nor_given_twice(calls: list[tuple[int, float, float]]) -> None:
    """Whoever comes, takes how long, and leaves when."""

    async def main() -> None:
        limit, backend = Limit(2, scope="session"), Backend(takes=1)
        most: dict[str, int] = {}
        now: dict[str, int] = {}

        async def count(message: Any) -> Reply:
            name = message.session.id
            now[name] = now.get(name, 0) + 1
            most[name] = max(most.get(name, 0), now[name])
            try:
                return await backend(message)
            finally:
                now[name] -= 1

        async def call(number: int, begins: float, patience: float) -> None:
            await trio.sleep(begins)
            with trio.move_on_after(patience):
                await limit(message(session=session_of(str(number))), count)

        async with trio.open_nursery() as nursery:
            for each in calls:
                nursery.start_soon(call, *each)
        assert all(each <= 2 for each in most.values())
        assert limit.statistics == {"in_flight": 0, "waiting": 0}
        for number in range(3):  # and every place can be had again
            with trio.fail_after(2):
                async with trio.open_nursery() as nursery:
                    for _ in range(2):
                        nursery.start_soon(call, number, 0.0, 5.0)

    run(main)


@pytest.mark.parametrize(
    ("arguments", "options"),
    [
        ((0,), {}),
        ((1.5,), {}),
        ((True,), {}),
        ((1,), {"queue": -1}),
        ((1,), {"on_full": "panic"}),
        ((1,), {"scope": "galaxy"}),
    ],
)
def test_what_is_no_limit(arguments: Any, options: Any) -> None:
    with pytest.raises(ValueError, match=r"must be|is one of"):
        Limit(*arguments, **options)


def test_a_scope_is_a_name_or_a_function() -> None:
    with pytest.raises(TypeError, match="a name or a function, not int"):
        Limit(1, scope=7)  # type: ignore[arg-type]


async def test_a_hanging_call_of_one_session_does_not_delay_others(autojump_clock: object) -> None:
    limit = Limit(1, scope="session")
    async with trio.open_nursery() as nursery:
        nursery.start_soon(limit, message(session=session_of("a")), hang)
        await trio.testing.wait_all_tasks_blocked()
        assert (await limit(message(session=session_of("b")), Backend())).body == "fine"
        nursery.cancel_scope.cancel()
