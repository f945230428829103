"""SIGTERM and SIGINT as a wish to end in good order, for blocking programs."""

from __future__ import annotations

import logging
import signal
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import TYPE_CHECKING, Any

from restsock.endpoint import SIGNALS, tell_closing

if TYPE_CHECKING:
    from types import FrameType

    from ._endpoint import BlockingEndpoint

__all__ = ["drain_on_signal"]

_log = logging.getLogger("restsock.sync")


@contextmanager
def drain_on_signal(
    *endpoints: BlockingEndpoint[Any], signals: Iterable[int] = SIGNALS, grace: float | None = None
) -> Iterator[None]:
    """Close clients and servers in good order when a signal ends the process.

        with restsock.sync.listen("0.0.0.0", 8443) as server, restsock.sync.drain_on_signal(server):
            server.wait_closed()

    The first of the signals closes them as `close()` does, in the background: no request is started
    any more, and what is in flight goes on for the grace. A second one cuts that short. The block
    is left alone: it ends because what it waits for has ended, as `wait_closed` does.

    While the block runs, SIGINT raises no `KeyboardInterrupt`.

    Args:
        endpoints: What to close.
        signals: Their numbers.
        grace: Seconds; `None` is each one's `Timeouts.grace`.

    Raises:
        ValueError: This is not the main thread, which alone gets signals.
        TypeError: There is nothing to close.
    """
    if not endpoints:
        raise TypeError("drain_on_signal needs a client or a server to close")
    seen = False

    def handle(number: int, frame: FrameType | None) -> None:
        nonlocal seen
        cut, seen = seen, True  # first: the next signal may come in the middle of this
        # No log line from in here: the signal may have come in the middle of another one.
        tell = partial(tell_closing, number, cut=cut)
        for endpoint in endpoints:
            endpoint._close_soon(0 if cut else grace, tell if endpoint is endpoints[0] else None)

    before: dict[int, Any] = {}
    try:
        for number in signals:
            before[number] = signal.signal(number, handle)
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
        if seen:
            _log.info("closed after a signal")
