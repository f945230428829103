"""Graceful shutdown on SIGTERM and SIGINT, for blocking programs."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import TYPE_CHECKING, Any

from restsock._logging import PartLog
from restsock.endpoint import SIGNALS, tell_closing

if TYPE_CHECKING:
    from types import FrameType

    from ._endpoint import BlockingEndpoint

__all__ = ["drain_on_signal"]

_log = PartLog("restsock.sync")


@contextmanager
def drain_on_signal(
    *endpoints: BlockingEndpoint[Any],
    signals: Iterable[int] = SIGNALS,
    grace: float | None = None,
    raise_again: bool = False,
) -> Iterator[None]:
    """Close clients and servers gracefully when the process gets a signal to end.

        with restsock.sync.listen("0.0.0.0", 8443) as server, restsock.sync.drain_on_signal(server):
            server.wait_closed()

    The first signal closes them as `close()` does, in the background: no more requests are started,
    and requests in flight may finish within `grace`. A second signal closes at once. The block
    itself is not interrupted: it ends when what it waits for ends, such as `wait_closed`.

    While the block runs, SIGINT raises no `KeyboardInterrupt`, unless it is raised again.

    Args:
        endpoints: The clients and servers to close.
        signals: The numbers of the signals.
        grace: Seconds; `None` is the `Timeouts.grace` of each.
        raise_again: Whether to raise the signal again for its previous handler, once all are
            closed. This is for a block that something else ends, such as a web server. An event
            loop with a handler for the signal (`add_signal_handler`) is told of the first signal at
            once, and not a second time.

    Raises:
        ValueError: This is not the main thread, the only one that gets signals.
        TypeError: There is nothing to close.
    """
    if not endpoints:
        raise TypeError("drain_on_signal needs a client or a server to close")
    first: int | None = None  # the first signal
    open_ = set(endpoints)  # those that the first one has not closed yet
    over = False  # whether the signal was raised again
    lock = threading.RLock()  # a signal may come while the main thread holds it
    before: dict[int, Any] = {}

    def handle(number: int, frame: FrameType | None) -> None:
        nonlocal first
        if again(number) and not open_:
            pass_on(number)
            return
        cut = first is not None
        if not cut:
            first = number  # before anything else: another signal may interrupt this function
        # No log line from in here: the signal may have interrupted the writing of another one.
        tell = partial(tell_closing, number, cut=cut)
        for endpoint in endpoints:
            endpoint._close_soon(
                0 if cut else grace,
                tell if endpoint is endpoints[0] else _nothing,
                _nothing if cut else partial(closed, endpoint, number),
            )

    def again(number: int) -> bool:
        return raise_again and not _is_of_a_loop(before.get(number))

    def closed(endpoint: BlockingEndpoint[Any], number: int) -> None:
        open_.discard(endpoint)
        with lock:
            if again(number) and not open_ and not over:
                _wake_main_thread(number)

    def pass_on(number: int) -> None:
        nonlocal over
        with lock:
            before_the_end, over = not over, True
        restore()
        if before_the_end:
            signal.raise_signal(number)

    def restore() -> None:
        for number, handler in before.items():
            signal.signal(number, handler)

    try:
        for number in signals:
            before[number] = signal.signal(number, handle)
        yield
    finally:
        if first is not None and again(first):
            pass_on(first)
        restore()
        if first is not None:
            _log.info("closed after a signal")


def _is_of_a_loop(handler: Any) -> bool:
    """Whether it only stands for an event loop, which is told of signals in another way."""
    return getattr(handler, "__module__", None) in ("asyncio.unix_events", "uvloop.loop")


def _wake_main_thread(number: int) -> None:
    if hasattr(signal, "pthread_kill"):
        # A signal of another thread would leave it asleep in a system call.
        ident = threading.main_thread().ident
        assert ident is not None
        signal.pthread_kill(ident, number)
    else:
        signal.raise_signal(number)


def _nothing() -> None:
    pass
