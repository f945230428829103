"""Calls that are made again: when, how often, after how long, and never too many of them."""

from __future__ import annotations

from typing import Any

import pytest
import trio
from hypothesis import given
from hypothesis import strategies as st

from restsock import Backoff, PeerUnavailable, RequestTimeout, StreamRefused
from restsock.gateway import CallFailed, Reply, Retry, Timeout
from tests.gateway.middleware.calls import (
    Backend,
    failure,
    hang,
    may_have_run,
    message,
    not_run,
    parts,
    run,
)

STEADY = Backoff(initial=1, factor=2, cap=10, jitter=False)


def retry(attempts: int = 3, **options: Any) -> Retry:
    return Retry(attempts, backoff=options.pop("backoff", STEADY), **options)


async def test_what_has_not_run_is_called_again(autojump_clock: object) -> None:
    backend = Backend(not_run(), not_run(), "fine")
    assert (await retry()(message(), backend)).body == "fine"
    assert backend.times == [0, 1, 3]


async def test_after_the_last_attempt_the_failure_comes_at_once(autojump_clock: object) -> None:
    backend = Backend(not_run())
    assert (await failure(retry()(message(), backend))).status == 503
    assert backend.times == [0, 1, 3]
    assert trio.current_time() == 3


async def test_waits_are_spread_over_their_whole_length(autojump_clock: object) -> None:
    pauses = []
    for _ in range(200):
        backend = Backend(not_run(), "fine")
        await Retry(2, backoff=Backoff(initial=1))(message(), backend)
        pauses.append(backend.times[1] - backend.times[0])
    assert all(0 <= each <= 1 for each in pauses)
    assert min(pauses) < 0.2
    assert max(pauses) > 0.8


@pytest.mark.parametrize("error", [PeerUnavailable("gone"), StreamRefused("full"), not_run(502)])
async def test_errors_that_say_that_it_has_not_run(
    autojump_clock: object, error: Exception
) -> None:
    error.may_have_run = False  # type: ignore[attr-defined]
    backend = Backend(error, "fine")
    assert (await retry(backoff=Backoff(initial=1))(message(), backend)).body == "fine"


@pytest.mark.parametrize(
    ("answer", "status"),
    [
        (may_have_run(), 503),
        (RequestTimeout("too slow", phase="read"), 504),
        (Reply("no", 503), 503),
        (not_run(404), 404),
        (not_run(422), 422),
        (not_run(500), 500),
        (Reply("no", 400), 400),
    ],
)
async def test_what_may_have_run_or_fails_again_is_not(
    autojump_clock: object, answer: Any, status: int
) -> None:
    backend = Backend(answer)
    if isinstance(answer, Reply):
        assert (await retry()(message(), backend)).status == status
    else:
        with pytest.raises(type(answer)):
            await retry()(message(), backend)
    assert len(backend.calls) == 1


async def test_a_fault_of_the_program_is_not(autojump_clock: object) -> None:
    backend = Backend(ZeroDivisionError())
    with pytest.raises(ZeroDivisionError):
        await retry(when=lambda *_: True)(message(), backend)
    assert len(backend.calls) == 1


@pytest.mark.parametrize(
    ("options", "attributes", "again"),
    [
        ({}, {"method": "GET"}, True),
        ({}, {"method": "PUT"}, True),
        ({}, {"method": "POST"}, False),
        ({}, {"method": "get"}, False),
        ({}, {"method": None}, False),
        ({"idempotent": "quotes.*"}, {}, True),
        ({"idempotent": ["orders.*", "quotes.get"]}, {}, True),
        ({"idempotent": ["orders.*"]}, {}, False),
    ],
)
@pytest.mark.parametrize("answer", [may_have_run(), Reply("no", 503)])
async def test_what_may_run_twice_is(
    autojump_clock: object, options: Any, attributes: Any, again: bool, answer: Any
) -> None:
    backend = Backend(answer, "fine")
    try:
        reply: Any = await retry(**options)(message(**attributes), backend)
    except CallFailed:
        reply = None
    assert (reply is not None and reply.body == "fine") is again
    assert len(backend.calls) == 1 + again


async def test_a_function_decides(autojump_clock: object) -> None:
    seen: list[Any] = []

    def when(asked: Any, failed: CallFailed) -> bool:
        seen.append((asked.key, failed.status))
        return failed.status == 404

    backend = Backend(not_run(404), Reply("no", 404), not_run(503))
    assert (await failure(retry(5, when=when)(message(), backend))).status == 503
    assert seen == [("quotes.get", 404), ("quotes.get", 404), ("quotes.get", 503)]


async def test_it_waits_for_as_long_as_it_is_asked_to(autojump_clock: object) -> None:
    backend = Backend(not_run(429, retry_after=5), "fine")
    await retry()(message(), backend)
    assert backend.times == [0, 6]  # and its own pause on top, so that not all come as one


async def test_a_reply_asks_by_its_field(autojump_clock: object) -> None:
    backend = Backend(Reply("no", 503, {"retry-after": "4"}), "fine")
    await retry(idempotent="*")(message(), backend)
    assert backend.times == [0, 5]


@pytest.mark.parametrize("answer", [not_run(retry_after=11), not_run(retry_after=float("inf"))])
async def test_it_does_not_wait_for_ages(autojump_clock: object, answer: Any) -> None:
    backend = Backend(answer)
    assert (await failure(retry()(message(), backend))).retry_after == answer.retry_after
    assert (len(backend.calls), trio.current_time()) == (1, 0)


@pytest.mark.parametrize("field", ["99999999999999999999", "soon", "-1", "1.5", "\u0663", ""])
async def test_a_field_that_is_no_number_of_seconds(autojump_clock: object, field: str) -> None:
    backend = Backend(Reply("no", 503, {"retry-after": field}), "fine")
    reply = await retry(idempotent="*")(message(), backend)
    assert (reply.status, len(backend.calls)) == ((503, 1) if field.startswith("9") else (200, 2))


async def test_never_past_the_deadline(autojump_clock: object) -> None:
    backend = Backend(not_run())
    assert (await failure(retry(9)(message(deadline=5), backend))).status == 503
    assert backend.times == [0, 1, 3]
    assert trio.current_time() == 3  # at once: the next one would be at 7


async def test_each_attempt_has_the_whole_time(autojump_clock: object) -> None:
    backend = Backend(hang, hang, "fine")
    timeout = Timeout(2)

    async def within(asked: Any) -> Reply:
        return await timeout(asked, backend)

    assert (await retry(idempotent="*")(message(), within)).body == "fine"
    assert backend.times == [0, 3, 7]
    assert [each.deadline for each in backend.calls] == [2, 5, 9]


async def test_the_parts_of_a_reply_that_is_dropped_are_closed(autojump_clock: object) -> None:
    closed = []

    class Stream:
        def __aiter__(self) -> Any:
            return self

        async def __anext__(self) -> Any:
            raise StopAsyncIteration

        async def aclose(self) -> None:
            closed.append(True)

    backend = Backend(Reply("no", 503, parts=Stream()), Reply("yes", parts=parts("one")))
    reply = await retry(idempotent="*")(message(), backend)
    assert (reply.body, closed) == ("yes", [True])


async def test_the_message_is_the_same_each_time(autojump_clock: object) -> None:
    backend, asked = Backend(not_run()), message()
    await failure(retry()(asked, backend))
    assert [each is asked for each in backend.calls] == [True] * 3


async def test_whoever_leaves_ends_it(autojump_clock: object) -> None:
    backend = Backend(not_run())
    with trio.move_on_after(0.5):
        await retry()(message(), backend)
    assert len(backend.calls) == 1


async def test_it_counts(autojump_clock: object) -> None:
    middleware = retry(reserve=1, budget=0)
    await failure(middleware(message(), Backend(not_run())))
    assert (middleware.retries, middleware.exhausted) == (1, 1)


async def test_the_reserve_comes_back_after_ten_seconds(autojump_clock: object) -> None:
    middleware = retry(2, reserve=1, budget=0)
    for _ in range(3):
        await failure(middleware(message(), Backend(not_run())))
    assert middleware.retries == 1
    await trio.sleep(10)
    await failure(middleware(message(), Backend(not_run())))
    assert middleware.retries == 2


@given(
    calls=st.lists(st.tuples(st.floats(0, 3), st.booleans()), max_size=80),
    budget=st.sampled_from([0, 0.1, 0.5]),
    reserve=st.integers(0, 3),
)
def test_a_backend_in_trouble_is_not_asked_much_more(
    calls: list[tuple[float, bool]], budget: float, reserve: int
) -> None:
    """In any nine seconds, there are no more retries than the budget and the reserve allow."""

    async def main() -> None:
        middleware = retry(
            4, budget=budget, reserve=reserve, backoff=Backoff(initial=0.01, cap=0.02)
        )
        first: list[float] = []
        again: list[float] = []

        async def backend(asked: Any) -> Reply:
            (again if asked.body in seen else first).append(trio.current_time())
            seen.add(asked.body)
            if asked.key == "bad":
                raise not_run()
            return Reply("fine")

        seen: set[int] = set()
        async with trio.open_nursery() as nursery:
            for number, (step, bad) in enumerate(calls):
                await trio.sleep(step)
                asked = message("bad" if bad else "good", number)
                nursery.start_soon(_ignoring, middleware, asked, backend)
        assert len(again) == middleware.retries
        for end in again:
            recent = sum(end - 9 <= each <= end for each in again)
            # Pauses: what is made now may have been allowed a moment before.
            before = sum(end - 10.1 <= each <= end for each in first)
            assert recent <= reserve + budget * before + 1e-9

    run(main)


async def _ignoring(middleware: Retry, asked: Any, backend: Any) -> None:
    try:
        await middleware(asked, backend)
    except CallFailed:
        pass


@pytest.mark.parametrize(
    ("attempts", "options", "words"),
    [
        (0, {}, "Retry.attempts must be a whole number in 1"),
        (-1, {}, "Retry.attempts must be"),
        (1.5, {}, "Retry.attempts must be"),
        (True, {}, "Retry.attempts must be"),
        (3, {"budget": 2}, "Retry.budget must be"),
        (3, {"reserve": -1}, "Retry.reserve must be"),
    ],
)
def test_what_is_no_retry(attempts: Any, options: Any, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        Retry(attempts, **options)


@pytest.mark.parametrize("options", [{"backoff": 1.0}, {"when": "always"}])
def test_what_is_of_a_wrong_type(options: Any) -> None:
    with pytest.raises(TypeError, match="must be a"):
        Retry(3, **options)
