"""`until`: the time that something has, told to the one who has it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import trio

if TYPE_CHECKING:
    from types import TracebackType

__all__ = ["Until", "until"]


def until(deadline: float) -> Until:
    """Ends the block at a deadline, on trio's clock; what follows it can tell how far it got.

        with until(deadline):
            return await work()
        raise RequestTimeout(..., may_have_run=begun)

    It is `trio.move_on_at`, with one difference. Where a scope further out has the same deadline,
    that one would win, and could only say that the time is over. Here the block that is within has
    its word first. What follows it must not wait: it would be cancelled again, as also anybody is
    who is cancelled for another reason in the same moment.
    """
    return Until(deadline)


class Until:
    """What `until` gives.

    Attributes:
        deadline: When the block ends.
    """

    __slots__ = ("_scope", "deadline")

    def __init__(self, deadline: float) -> None:
        self.deadline = deadline
        self._scope = trio.CancelScope(deadline=deadline)

    def move(self, deadline: float) -> None:
        """Ends the block at another time."""
        if deadline != self.deadline:
            self.deadline = self._scope.deadline = deadline

    def __enter__(self) -> None:
        self._scope.__enter__()

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> bool:
        if self._scope.__exit__(kind, error, traceback):
            return True
        if error is None or trio.current_time() < self.deadline:
            return False
        return _is_cancellation(error)


def _is_cancellation(error: BaseException) -> bool:
    """Whether it is a cancellation, or a group of these, as nurseries raise."""
    inner: tuple[BaseException, ...] | None = getattr(error, "exceptions", None)
    return isinstance(error, trio.Cancelled) if inner is None else all(map(_is_cancellation, inner))
