"""The events of a server, for threads."""

from __future__ import annotations

import threading
import time
from typing import TYPE_CHECKING

from restsock.server import SubscriptionView

if TYPE_CHECKING:
    from restsock.server import ConnectionEvent, Server
    from restsock.threads import Portal

# A thread that waits without a time limit checks this often, in seconds, whether the loop still
# runs. A server that closes normally ends its subscriptions; this is for a loop that crashed.
_LOOK_AFTER = 30.0


class Events(SubscriptionView):
    """A blocking iterator over the connection events of a server, from its creation on.

        with server.events() as events:        # or without `with`
            for event in events: ...

    It ends after the last event when the server has closed, or when it is closed itself. Several
    threads may share one; each event goes to one of them.
    """

    def __init__(self, portal: Portal, server: Server, capacity: int) -> None:
        signal = _Signal()
        self._changed = signal.changed
        super().__init__(portal, server, capacity, signal.wake)

    def receive(self, timeout: float | None = None) -> ConnectionEvent | None:
        """Wait for the next event.

        Args:
            timeout: Seconds; `None` waits indefinitely.

        Returns:
            The event, or `None` if none came in time.

        Raises:
            EOFError: There are no more events: the server or this subscription was closed.
            RestsockError: This was called after a fork, or on the background thread.
        """
        self._portal.check_caller()
        deadline = None if timeout is None else time.monotonic() + timeout
        with self._changed:
            while True:
                event = self._next()
                if event is not None:
                    return event
                left = _LOOK_AFTER if deadline is None else deadline - time.monotonic()
                if left <= 0:
                    return None
                if not self._portal.usable:
                    raise EOFError("there are no more events")
                self._changed.wait(min(left, _LOOK_AFTER))

    def close(self) -> None:
        """End the subscription; waiting threads see the end. Raises nothing; may be repeated."""
        self._close()

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


class _Signal:
    """Wakes the threads that wait for events."""

    def __init__(self) -> None:
        self.changed = threading.Condition()

    def wake(self) -> None:  # on the loop; the lock is never held for long
        with self.changed:
            self.changed.notify_all()
