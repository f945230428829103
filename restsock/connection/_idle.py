"""An owner of a connection that has nothing else to do."""

from __future__ import annotations

import trio

__all__ = ["Idle"]


class Idle:
    """An owner that waits until it has to run tasks. With a trio event it would weigh more."""

    __slots__ = ("_needed", "_task")

    def __init__(self) -> None:
        self._needed = False
        self._task: trio.lowlevel.Task | None = None

    def __call__(self, connection: object) -> None:
        """Ends `wait()`, also one that has yet to begin."""
        self._needed = True
        task, self._task = self._task, None
        if task is not None:
            trio.lowlevel.reschedule(task)

    async def wait(self) -> None:
        """Waits until it has to. When it is cancelled, nothing has happened."""
        if not self._needed:
            self._task = trio.lowlevel.current_task()
            await trio.lowlevel.wait_task_rescheduled(self._abort)
        self._needed = False

    def _abort(self, _: object) -> trio.lowlevel.Abort:
        self._task = None
        return trio.lowlevel.Abort.SUCCEEDED
