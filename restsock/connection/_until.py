"""`until`: the time that something has, told to the one who has it."""

from __future__ import annotations

from contextvars import ContextVar
from typing import TYPE_CHECKING

import trio

if TYPE_CHECKING:
    from types import TracebackType

__all__ = ["Until", "until"]


# The innermost block of a task that has a scope: whose it is, and when it ends.
_within: ContextVar[tuple[trio.lowlevel.Task, float] | None] = ContextVar(
    "restsock-until", default=None
)


def until(deadline: float) -> Until:
    """Ends the block at a deadline, on trio's clock; what follows it can tell how far it got.

        with until(deadline):
            return await work()
        raise RequestTimeout(..., may_have_run=begun)

    It is `trio.move_on_at`, with one difference. Where a scope further out has the same deadline,
    that one would win, and could only say that the time is over. Here the block that is within has
    its word first. And within another such block of the same task that ends no later, it has no
    scope of its own, which would be most of its price; so none between them may be shielded.

    What follows it must not wait: it would be cancelled again, as also anybody is
    who is cancelled for another reason in the same moment.
    """
    return Until(deadline)


class Until:
    """What `until` gives."""

    __slots__ = ("_deadline", "_scope", "_token")

    def __init__(self, deadline: float) -> None:
        self._deadline = deadline
        self._scope: trio.CancelScope | None = None

    def __enter__(self) -> None:
        task = trio.lowlevel.current_task()
        within = _within.get()
        if within is None or within[0] is not task or within[1] > self._deadline:
            self._scope = trio.CancelScope(deadline=self._deadline)
            self._scope.__enter__()
            self._token = _within.set((task, self._deadline))

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> bool:
        if self._scope is not None:
            _within.reset(self._token)
            if self._scope.__exit__(kind, error, traceback):
                return True
        if error is None or trio.current_time() < self._deadline:
            return False
        return _is_cancellation(error)


def _is_cancellation(error: BaseException) -> bool:
    """Whether it is a cancellation, or a group of these, as nurseries raise."""
    inner: tuple[BaseException, ...] | None = getattr(error, "exceptions", None)
    return isinstance(error, trio.Cancelled) if inner is None else all(map(_is_cancellation, inner))
