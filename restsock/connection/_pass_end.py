"""The end of a pass of the loop: where what many tasks have sent in it leaves, in a row.

To send wakes whoever waits at the other end of a socket, and that is most of its price. Bytes that
leave in a row wake it once, and those that go to one socket are one call.

A function that is called here may do what a thread may (`_writer`): it starts and wakes no task,
for the loop has decided already how long it is going to wait.
"""

from __future__ import annotations

from collections.abc import Callable

import trio

from restsock._logging import PartLog

__all__ = ["PassEnd", "pass_end"]

_log = PartLog("restsock.connection")


class PassEnd(trio.abc.Instrument):
    """Calls functions once all tasks that could run have run, before the loop waits."""

    def __init__(self) -> None:
        self._due: dict[Callable[[], object], None] = {}  # in order, each once

    def call(self, function: Callable[[], object]) -> None:
        """Has a function called at the end of this pass, once. On the loop."""
        self._due[function] = None

    def before_io_wait(self, timeout: float) -> None:
        """See `trio.abc.Instrument`."""
        if not self._due:
            return
        due, self._due = self._due, {}
        for function in due:
            try:
                function()
            except Exception:  # noqa: BLE001  # a bug of ours in one is not the others' end
                _log.exception("something failed at the end of a pass of the loop")


_pass_end: trio.lowlevel.RunVar[PassEnd] = trio.lowlevel.RunVar("restsock-pass-end")


def pass_end() -> PassEnd:
    """That of this trio run."""
    try:
        return _pass_end.get()
    except LookupError:
        found = PassEnd()
        trio.lowlevel.add_instrument(found)
        _pass_end.set(found)
        return found
