"""Messages of clients that are not there, and backends that answer as they are told."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from types import SimpleNamespace
from typing import Any, TypeVar, cast

import trio
from trio.testing import MockClock

from restsock import Principal
from restsock.gateway import CallFailed, Message, Reply, Session

T = TypeVar("T")


def session_of(
    name: str = "s-1",
    *,
    principal: str | Principal | None = None,
    host: str = "192.0.2.1",
    channel: str = "/ws",
) -> Session:
    """A client, as far as middleware looks at it."""
    known = Principal(principal) if isinstance(principal, str) else principal
    request = SimpleNamespace(peer=SimpleNamespace(host=host))
    found = SimpleNamespace(id=name, principal=known, request=request, channel=channel, stash={})
    return cast("Session", found)


ANYBODY = session_of()


def message(key: str = "quotes.get", body: Any = None, **attributes: Any) -> Message:
    attributes.setdefault("session", ANYBODY)
    return Message(key=key, body=body, id=1, **attributes)


class Backend:
    """Answers with what it was given, one after the other; the last one stays.

    Args:
        answers: Replies, bodies of replies, errors, seconds to take before the next one, or
            functions.

    Attributes:
        calls: The messages that have come.
        times: When.
        under_way: Calls that go on.
        most: How many there were at a time.
        cancelled: Calls that were.
    """

    def __init__(self, *answers: Any, takes: float = 0.0) -> None:
        self._answers = list(answers) or ["fine"]
        self._takes = takes
        self.calls: list[Message] = []
        self.times: list[float] = []
        self.under_way = self.most = self.cancelled = 0

    async def __call__(self, message: Message) -> Reply:
        self.calls.append(message)
        self.times.append(trio.current_time())
        answer = self._answers.pop(0) if len(self._answers) > 1 else self._answers[0]
        self.under_way += 1
        self.most = max(self.most, self.under_way)
        try:
            await trio.sleep(self._takes)
            if callable(answer) and not isinstance(answer, type):
                answer = answer(message)
                if isinstance(answer, Awaitable):
                    answer = await answer
        except trio.Cancelled:
            self.cancelled += 1
            raise
        finally:
            self.under_way -= 1
        if isinstance(answer, BaseException):
            raise answer
        return answer if isinstance(answer, Reply) else Reply(answer)


async def hang(_: object = None) -> Reply:
    await trio.sleep_forever()
    raise AssertionError


async def parts(
    *bodies: Any, each: float = 0.0, error: Exception | None = None
) -> AsyncIterator[Any]:
    for body in bodies:
        await trio.sleep(each)
        yield body
    if error is not None:
        raise error


def not_run(status: int = 503, **options: Any) -> CallFailed:
    return CallFailed(status, "not today", **options)


def may_have_run(status: int = 503, **options: Any) -> CallFailed:
    return CallFailed(status, "not today", may_have_run=True, **options)


async def failure(awaitable: Awaitable[object]) -> CallFailed:
    """The failure that comes."""
    try:
        await awaitable
    except CallFailed as exc:
        return exc
    raise AssertionError("it did not fail")


def run(main: Callable[[], Awaitable[T]]) -> T:
    """Runs it with a clock that goes on when all wait."""
    return trio.run(main, clock=MockClock(autojump_threshold=0))
