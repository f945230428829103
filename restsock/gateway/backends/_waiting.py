"""`Waiting`: calls that wait for an answer which comes by another way, each with an id."""

from __future__ import annotations

import itertools
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Generic, TypeVar

import trio

from restsock.gateway._errors import CallFailed

__all__ = ["Waiting", "WaitingCall"]

T = TypeVar("T")


class WaitingCall(Generic[T]):
    """A call that waits.

    Attributes:
        id: By which its answer is known.
    """

    def __init__(self, id: str) -> None:
        self.id = id
        self._answered = trio.Event()
        self._answer: list[T] = []
        self._error: CallFailed | None = None

    def answer(self, answer: T) -> None:
        """Its answer has come."""
        self._answer.append(answer)
        self._answered.set()

    def fail(self, error: CallFailed) -> None:
        """There will be none."""
        if not self._answered.is_set():
            self._error = error
            self._answered.set()

    async def wait(self, deadline: float) -> T:
        """Waits for the answer.

        Raises:
            CallFailed: There was none until the deadline, or there will be none.
        """
        with trio.move_on_at(deadline):
            await self._answered.wait()
        if self._error is not None:
            raise self._error
        if not self._answer:
            raise CallFailed(504, "no answer in time", may_have_run=True)
        return self._answer[0]


class Waiting(Generic[T]):
    """All of them. On the loop.

    Args:
        most: How many there may be.
        new_id: Makes an id that nobody can guess; by default one that is short, and different for
            each of these objects.

    Attributes:
        late: Answers that nobody waits for any more, or that came a second time.
    """

    def __init__(self, most: int, new_id: Callable[[], str] | None = None) -> None:
        self.late = 0
        self._most = most
        self._prefix = uuid.uuid4().hex[:8] + "-"
        numbers = itertools.count(1)
        self._new_id = new_id or (lambda: f"{self._prefix}{next(numbers)}")
        self._calls: dict[str, WaitingCall[T]] = {}

    def __len__(self) -> int:
        return len(self._calls)

    @contextmanager
    def call(self) -> Iterator[WaitingCall[T]]:
        """One more, while the block runs.

        Raises:
            CallFailed: There are too many: 503.
        """
        if len(self._calls) >= self._most:
            raise CallFailed(503, "too many calls wait for an answer", retry_after=1)
        call: WaitingCall[T] = WaitingCall(self._new_id())
        self._calls[call.id] = call
        try:
            yield call
        finally:
            self._calls.pop(call.id, None)

    def answer(self, id: str, answer: T) -> bool:
        """Hands on an answer; tells whether somebody has waited for it. The first one counts."""
        call = self._calls.pop(id, None)
        if call is None:
            self.late += 1
            return False
        call.answer(answer)
        return True

    def is_own(self, id: str) -> bool:
        """Whether an id was made here, by the default way."""
        return id.startswith(self._prefix)

    def fail_all(self, error: CallFailed) -> None:
        """None of them will be answered."""
        calls, self._calls = self._calls, {}
        for call in calls.values():
            call.fail(error)
