"""Replies that are kept, and calls that are made once for all who want them."""

from __future__ import annotations

import math
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
import trio
import trio.testing
from hypothesis import given
from hypothesis import strategies as st

from restsock import Principal
from restsock.gateway import Cache, CallFailed, Message, Reply, Timeout
from tests.gateway.middleware.calls import (
    Backend,
    failure,
    hang,
    may_have_run,
    message,
    not_run,
    parts,
    run,
    session_of,
)


@asynccontextmanager
async def caching(ttl: float = 10, **options: Any) -> AsyncIterator[Cache]:
    options.setdefault("shared", True)
    cache = Cache(ttl, **options)
    async with cache.running():
        yield cache


async def test_a_reply_is_kept_for_its_time(autojump_clock: object) -> None:
    async with caching(10) as cache:
        backend = Backend("old", "new")
        for _ in range(3):
            assert (await cache(message(), backend)).body == "old"
        await trio.sleep(10)
        assert (await cache(message(), backend)).body == "new"
        assert (cache.hits, cache.misses, cache.entries) == (2, 2, 1)


@pytest.mark.parametrize(
    "other",
    [
        {"key": "quotes.list"},
        {"body": {"pet": 2}},
        {"body": "x"},
        {"body": b"x"},
        {"body": b""},
        {"body": 1},
        {"body": True},
        {"method": "GET"},
        {"path": "/quotes?b"},
        {"headers": {"accept": "text/plain"}},
    ],
)
async def test_all_that_the_client_has_sent_is_the_key(autojump_clock: object, other: Any) -> None:
    async with caching() as cache:
        backend = Backend("one", "two")
        await cache(message(), backend)
        assert (await cache(message(**{"key": "quotes.get", **other}), backend)).body == "two"
        assert (await cache(message(**{"key": "quotes.get", **other}), backend)).body == "two"


async def test_the_order_of_members_makes_no_difference(autojump_clock: object) -> None:
    async with caching() as cache:
        backend = Backend("one", "two")
        await cache(message(body={"a": 1, "b": 2}), backend)
        assert (await cache(message(body={"b": 2, "a": 1}), backend)).body == "one"


async def test_a_body_that_is_no_json_passes(autojump_clock: object) -> None:
    async with caching() as cache:
        backend = Backend("one", "two")
        await cache(message(body={1, 2}), backend)
        assert (await cache(message(body={1, 2}), backend)).body == "two"


async def test_a_function_gives_the_key_or_lets_it_pass(autojump_clock: object) -> None:
    async with caching(key=lambda m: m.key if m.key == "quotes" else None) as cache:
        backend = Backend("one", "two", "three", "four")
        assert (await cache(message("quotes", 1), backend)).body == "one"
        assert (await cache(message("quotes", 2), backend)).body == "one"
        assert (await cache(message("orders"), backend)).body == "two"
        assert (await cache(message("orders"), backend)).body == "three"


async def test_a_message_that_is_not_answered_passes(autojump_clock: object) -> None:
    async with caching() as cache:
        backend = Backend()
        for _ in range(2):
            await cache(message(answered=False), backend)
        assert len(backend.calls) == 2


EVE, JOE = session_of("a", principal="eve"), session_of("b", principal="joe")


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        (EVE, session_of("c", principal="eve"), True),
        (EVE, JOE, False),
        (session_of("a"), session_of("b"), False),
        (session_of("a"), session_of("a"), True),
        (EVE, session_of("d", principal=Principal("eve", claims={"admin": True})), False),
    ],
)
async def test_nobody_gets_what_is_for_another_principal(
    autojump_clock: object, one: Any, other: Any, same: bool
) -> None:
    async with caching(shared=False) as cache:
        backend = Backend("one", "two")
        await cache(message(session=one), backend)
        reply = await cache(message(session=other), backend)
        assert (reply.body == "one") is same


async def test_at_once_is_called_once(autojump_clock: object) -> None:
    async with caching(0) as cache:
        backend = Backend(takes=5)
        replies: list[Any] = []

        async def call() -> None:
            replies.append(await cache(message(), backend))

        async with trio.open_nursery() as nursery:
            for _ in range(10):
                nursery.start_soon(call)
        assert [each.body for each in replies] == ["fine"] * 10
        assert len(backend.calls) == 1
        assert (cache.misses, cache.shared_calls, cache.hits, cache.entries) == (1, 9, 0, 0)
        await call()  # nothing was kept
        assert len(backend.calls) == 2


@pytest.mark.parametrize("answer", [may_have_run(), not_run(404), Reply("no", 500)])
async def test_failures_are_shared_and_not_kept(autojump_clock: object, answer: Any) -> None:
    async with caching() as cache:
        backend = Backend(answer, "fine", takes=1)
        found: list[Any] = []

        async def call() -> None:
            try:
                found.append(await cache(message(), backend))
            except CallFailed as exc:
                found.append(exc)

        async with trio.open_nursery() as nursery:
            for _ in range(3):
                nursery.start_soon(call)
        assert {each.status for each in found} == {answer.status}
        if isinstance(answer, CallFailed):
            assert len({id(each) for each in found}) == 3
            assert {(each.detail, each.may_have_run) for each in found} == {
                (answer.detail, answer.may_have_run)
            }
        assert len(backend.calls) == 1
        assert (await cache(message(), backend)).body == "fine"


async def test_a_fault_is_told_once_in_full(autojump_clock: object) -> None:
    """One gets the error, which is logged further out; the others a failure without its words."""
    async with caching() as cache:
        backend = Backend(ZeroDivisionError("inside"), takes=1)
        found: list[Any] = []

        async def call() -> None:
            try:
                await cache(message(), backend)
            except Exception as exc:  # noqa: BLE001  # any may come
                found.append(exc)

        async with trio.open_nursery() as nursery:
            for _ in range(3):
                nursery.start_soon(call)
        assert sorted(type(each).__name__ for each in found) == [
            *("CallFailed", "CallFailed", "ZeroDivisionError")
        ]


async def test_whoever_began_it_may_leave(autojump_clock: object) -> None:
    async with caching() as cache:
        backend = Backend(takes=5)
        async with trio.open_nursery() as nursery:
            with trio.move_on_after(1):
                await trio.testing.wait_all_tasks_blocked()
                nursery.start_soon(_later, cache, backend)
                await cache(message(), backend)
            assert backend.cancelled == 0
        assert (len(backend.calls), trio.current_time()) == (1, 5)


async def _later(cache: Cache, backend: Backend) -> None:
    await trio.sleep(0.5)
    assert (await cache(message(), backend)).body == "fine"


async def test_a_call_that_all_have_left_ends(autojump_clock: object) -> None:
    async with caching() as cache:
        backend = Backend(hang, "fine")
        with trio.move_on_after(1):
            async with trio.open_nursery() as nursery:
                nursery.start_soon(cache, message(), backend)
                nursery.start_soon(cache, message(), backend)
        await trio.testing.wait_all_tasks_blocked()
        assert (backend.under_way, backend.cancelled) == (0, 1)
        assert (await cache(message(), backend)).body == "fine"


async def test_whoever_comes_in_that_moment_has_a_call_of_its_own(autojump_clock: object) -> None:
    async with caching() as cache:
        backend = Backend(hang, "fine")
        with trio.move_on_after(1):
            await cache(message(), backend)
        assert (await cache(message(), backend)).body == "fine"  # without a wait between


async def test_what_fails_because_its_client_has_gone_begins_anew(autojump_clock: object) -> None:
    async with caching() as cache:

        async def call(asked: Message) -> Reply:
            if asked.session is EVE:
                await trio.sleep(3)
                raise may_have_run(502)
            return Reply("fine")

        async with trio.open_nursery() as nursery:
            with trio.move_on_after(1):
                nursery.start_soon(_expect_fine, cache, call)
                await cache(message(session=EVE), call)


async def _expect_fine(cache: Cache, call: Any) -> None:
    await trio.sleep(0.5)
    assert (await cache(message(session=JOE), call)).body == "fine"


async def test_the_deadline_of_one_is_not_that_of_the_others(autojump_clock: object) -> None:
    async with caching() as cache:
        backend = Backend(takes=5)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(_later, cache, backend)
            failed = await failure(cache(message(deadline=1), backend))
            assert (failed.status, trio.current_time()) == (504, 1)
        assert backend.calls[0].deadline == math.inf


async def test_a_time_out_outside_bounds_the_wait_and_ends_the_call(autojump_clock: object) -> None:
    async with caching() as cache:
        backend, timeout = Backend(hang), Timeout(2)

        async def call(asked: Message) -> Reply:
            return await cache(asked, backend)

        assert (await failure(timeout(message(), call))).status == 504
        await trio.testing.wait_all_tasks_blocked()
        assert backend.cancelled == 1


@pytest.mark.parametrize("answer", [may_have_run(), Reply("no", 500), ZeroDivisionError()])
async def test_an_old_reply_is_better_than_none(autojump_clock: object, answer: Any) -> None:
    async with caching(10, stale_if_error=20) as cache:
        backend = Backend("old", answer, answer, "new")
        await cache(message(), backend)
        await trio.sleep(15)
        assert (await cache(message(), backend)).body == "old"
        await trio.sleep(15)  # too old
        if isinstance(answer, Reply):
            assert (await cache(message(), backend)).status == 500
        else:
            with pytest.raises(type(answer)):
                await cache(message(), backend)
        assert (await cache(message(), backend)).body == "new"
        assert cache.stale == 1


async def test_an_old_reply_does_not_hide_a_fault_from_the_log(
    autojump_clock: object, caplog: pytest.LogCaptureFixture
) -> None:
    async with caching(1, stale_if_error=20) as cache:
        backend = Backend("old", ZeroDivisionError("inside"))
        await cache(message(), backend)
        await trio.sleep(5)
        await cache(message(), backend)
        assert "ZeroDivisionError: inside" in caplog.text


async def test_a_failure_of_the_clients_own_is_not_hidden_by_an_old_reply(
    autojump_clock: object,
) -> None:
    async with caching(1, stale_if_error=20) as cache:
        backend = Backend("old", not_run(404))
        await cache(message(), backend)
        await trio.sleep(5)
        assert (await failure(cache(message(), backend))).status == 404


async def test_a_stream_is_for_one_alone(autojump_clock: object) -> None:
    async with caching() as cache:
        backend = Backend(lambda _: Reply("last", parts=parts("one")), takes=1)
        read: list[Any] = []

        async def call() -> None:
            reply = await cache(message(), backend)
            assert reply.parts is not None
            read.append([part async for part in reply.parts])

        async with trio.open_nursery() as nursery:
            for _ in range(3):
                nursery.start_soon(call)
        assert read == [["one"]] * 3
        assert (len(backend.calls), cache.entries) == (3, 0)


async def test_what_was_only_passed_on_is_passed_on_each_time(autojump_clock: object) -> None:
    async with caching() as cache:
        backend = Backend(Reply(silent=True), takes=1)
        async with trio.open_nursery() as nursery:
            for _ in range(3):
                nursery.start_soon(cache, message(), backend)
        await cache(message(), backend)
        assert (len(backend.calls), cache.entries) == (4, 0)


async def test_a_stream_that_nobody_gets_is_closed(autojump_clock: object) -> None:
    closed: list[bool] = []

    class Stream:
        def __aiter__(self) -> Any:
            return self

        async def __anext__(self) -> Any:
            raise StopAsyncIteration

        async def aclose(self) -> None:
            closed.append(True)

    async with caching() as cache:
        backend = Backend(Reply("last", parts=Stream()), takes=2)
        async with trio.open_nursery() as nursery:
            with trio.move_on_after(1):
                nursery.start_soon(_joining, cache, backend)
                await cache(message(), backend)
    assert closed == [True]
    assert len(backend.calls) == 2


async def _joining(cache: Cache, backend: Backend) -> None:
    await trio.sleep(0.5)
    assert (await cache(message(), backend)).body == "last"


async def test_replies_have_a_bound(autojump_clock: object) -> None:
    async with caching(max_entries=3) as cache:
        backend = Backend()
        for number in range(10):
            await cache(message(body=number), backend)
        assert cache.entries == 3
        for number in (7, 8, 9):
            await cache(message(body=number), backend)
        assert len(backend.calls) == 10


async def test_those_that_are_asked_for_stay(autojump_clock: object) -> None:
    async with caching(max_entries=2) as cache:
        backend = Backend()
        for number in (1, 2, 1, 3, 1):
            await cache(message(body=number), backend)
        assert len(backend.calls) == 3


@pytest.mark.parametrize("body", ["x" * 3000, b"x" * 3000, ["x" * 300] * 1000, {"a": ["x"] * 900}])
async def test_their_bytes_have_a_bound(autojump_clock: object, body: Any) -> None:
    async with caching(max_bytes=20_000) as cache:
        for number in range(50):
            await cache(message(body=number), Backend(body))
        assert 0 <= cache.nbytes <= 20_000
        assert cache.entries < 10
        cache.clear()
        assert (cache.entries, cache.nbytes) == (0, 0)


async def test_one_that_is_too_large_is_not_kept(autojump_clock: object) -> None:
    async with caching(max_bytes=1000) as cache:
        backend = Backend("x" * 2000)
        for _ in range(2):
            assert len((await cache(message(), backend)).body) == 2000
        assert (cache.entries, cache.nbytes, len(backend.calls)) == (0, 0, 2)


async def test_its_end_ends_its_calls(autojump_clock: object) -> None:
    backend = Backend(hang)
    failed: list[CallFailed] = []

    async def call(cache: Cache) -> None:
        failed.append(await failure(cache(message(), backend)))

    async with trio.open_nursery() as nursery:
        async with caching() as cache:
            nursery.start_soon(call, cache)
            nursery.start_soon(call, cache)
            await trio.testing.wait_all_tasks_blocked()
    assert [each.status for each in failed] == [503, 503]
    assert backend.cancelled == 1


async def test_it_runs_once_at_a_time_and_again_later(autojump_clock: object) -> None:
    cache = Cache(1)
    with pytest.raises(RuntimeError, match="not running"):
        await cache(message(), Backend())
    for _ in range(2):
        async with cache.running():
            with pytest.raises(RuntimeError, match="running already"):
                async with cache.running():
                    pass
            assert (await cache(message(), Backend())).body == "fine"


@pytest.mark.parametrize(
    "options",
    [
        {"ttl": -1},
        {"ttl": math.nan},
        {"ttl": 1, "stale_if_error": -1},
        {"ttl": 1, "max_entries": 0},
        {"ttl": 1, "max_bytes": 0},
        {"ttl": 1, "key": "galaxy"},
        {"ttl": 1, "key": "session"},
    ],
)
def test_what_is_no_cache(options: Any) -> None:
    with pytest.raises(ValueError, match="Cache"):
        Cache(**options)


CLIENTS = st.lists(
    st.tuples(st.floats(0, 6), st.floats(0.01, 8), st.integers(0, 1)), min_size=1, max_size=20
)


@given(
    CLIENTS, st.sampled_from([0, 2.0]), st.sampled_from(["fine", may_have_run(), Reply("", 500)])
)
def test_clients_that_leave_fail_nobody(clients: list[Any], ttl: float, answer: Any) -> None:
    """Whoever waits gets what the call comes to; none is left over; one goes on at a time."""

    async def main() -> None:
        backends = [Backend(answer, takes=2) for _ in range(2)]
        async with caching(ttl) as cache:

            async def client(begins: float, patience: float, key: int) -> None:
                await trio.sleep(begins)
                with trio.move_on_after(patience) as scope:
                    try:
                        reply = await cache(message(body=key), backends[key])
                        status = reply.status
                    except CallFailed as exc:
                        status = exc.status
                    assert status == getattr(answer, "status", 200)
                # A call takes two seconds; of one that fails, another may have to begin.
                assert not scope.cancelled_caught or patience < 2.1 or answer != "fine"

            async with trio.open_nursery() as nursery:
                for each in clients:
                    nursery.start_soon(client, *each)
            await trio.testing.wait_all_tasks_blocked()
            assert [each.under_way for each in backends] == [0, 0]
            # One that is being cancelled may still be there when the next one begins.
            assert all(each.most <= 2 for each in backends)
            assert not cache._flights

    run(main)
