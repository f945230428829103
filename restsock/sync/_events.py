"""The events of a server, for threads."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import TYPE_CHECKING

import trio

from restsock._exceptions import RestsockError

if TYPE_CHECKING:
    from restsock.server import ConnectionEvent, Subscription
    from restsock.threads import Portal

# A thread that waits without a time limit looks this often, in seconds, whether the loop still
# runs. Every orderly end of a server ends its subscriptions; this is for a loop that crashed.
_LOOK_AFTER = 30.0


class Events:
    """A blocking iterator over what happens to a server's connections from now on.

        with server.events() as events:        # or without `with`
            for event in events: ...

    It ends when the server has closed, after the last event, or when it is closed itself. Several
    threads may iterate over one; each event goes to one of them.
    """

    def __init__(
        self, portal: Portal, subscribe: Callable[[Callable[[], object]], Subscription]
    ) -> None:
        self._portal = portal
        signal = _Signal()
        # The loop is given the signal only, so that an iterator that is dropped can be collected.
        self._changed = signal.changed
        self._subscription = portal.call(subscribe, signal.wake)

    def receive(self, timeout: float | None = None) -> ConnectionEvent | None:
        """Wait for the next event.

        Args:
            timeout: Seconds; None waits as long as it takes.

        Returns:
            The event, or None when none came in time.

        Raises:
            EOFError: There are no more: the server or this was closed.
            RestsockError: This belongs to another process, or is called on the loop's own thread.
        """
        self._portal.check_caller()
        deadline = None if timeout is None else time.monotonic() + timeout
        with self._changed:
            while True:
                try:
                    return self._subscription.receive_nowait()
                except trio.EndOfChannel:
                    raise EOFError("there are no more events") from None
                except trio.WouldBlock:
                    pass
                left = _LOOK_AFTER if deadline is None else deadline - time.monotonic()
                if left <= 0:
                    return None
                if not self._portal.usable:
                    raise EOFError("there are no more events")
                self._changed.wait(min(left, _LOOK_AFTER))

    def close(self) -> None:
        """End the subscription: waiting threads see the end. Raises nothing; twice is harmless."""
        if self._portal.foreign:
            return  # the parent's
        try:
            self._portal.post(self._subscription.close)
        except RestsockError:
            pass  # the loop has ended, and all subscriptions with it

    def __iter__(self) -> Events:
        return self

    def __next__(self) -> ConnectionEvent:
        try:
            event = self.receive()
        except EOFError:
            raise StopIteration from None
        assert event is not None, "without a time limit there is an event or an end"
        return event

    def __enter__(self) -> Events:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    def __del__(self) -> None:
        if hasattr(self, "_subscription"):
            self.close()


class _Signal:
    """Wakes the threads that wait for events."""

    def __init__(self) -> None:
        self.changed = threading.Condition()

    def wake(self) -> None:  # on the loop; the lock is never held for long
        with self.changed:
            self.changed.notify_all()
