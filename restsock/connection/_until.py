"""`until`: the time that something has, told to the one who has it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import trio

__all__ = ["until"]


@contextmanager
def until(deadline: float) -> Iterator[None]:
    """Ends the block at a deadline, on trio's clock; what follows it can tell how far it got.

        with until(deadline):
            return await work()
        raise RequestTimeout(..., may_have_run=begun)

    It is `trio.move_on_at`, with one difference. Where a scope further out has the same deadline,
    that one would win, and could only say that the time is over. Here the block that is within has
    its word first. What follows it must not wait: it would be cancelled again, as also anybody is
    who is cancelled for another reason in the same moment.
    """
    try:
        with trio.move_on_at(deadline):
            yield
    except BaseException as exc:
        if trio.current_time() < deadline or not _is_cancellation(exc):
            raise


def _is_cancellation(error: BaseException) -> bool:
    """Whether it is a cancellation, or a group of these, as nurseries raise."""
    inner: tuple[BaseException, ...] | None = getattr(error, "exceptions", None)
    return isinstance(error, trio.Cancelled) if inner is None else all(map(_is_cancellation, inner))
