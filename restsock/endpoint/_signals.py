"""SIGTERM and SIGINT as a wish to end in good order."""

from __future__ import annotations

import signal
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from functools import partial
from typing import Protocol

import anyio

from restsock._logging import PartLog

__all__ = ["SIGNALS", "Drainable", "drain_on_signal", "tell_closing"]

_log = PartLog("restsock.connection")

SIGNALS: tuple[int, ...] = (signal.SIGTERM, signal.SIGINT)


def tell_closing(number: int, *, cut: bool) -> None:
    """Says that a signal was heard: as a warning, since a person may be waiting."""
    name = signal.Signals(number).name
    if cut:
        _log.warning("%s: closing now", name)
    else:
        _log.warning("%s: closing after what is in flight; once more to cut that off", name)


class Drainable(Protocol):
    """A client or a server."""

    async def aclose(self, *, grace: float | None = ...) -> None:
        """Closes it after what is in flight."""


@asynccontextmanager
async def drain_on_signal(
    *endpoints: Drainable, signals: Iterable[int] = SIGNALS, grace: float | None = None
) -> AsyncIterator[None]:
    """Closes clients and servers in good order when the process is told to end.

        async with restsock.listen("0.0.0.0", 8443) as server, restsock.drain_on_signal(server):
            await trio.sleep_forever()

    The first of the signals closes them as `aclose()` does: no request is started any more, and
    what is in flight goes on for the grace. A second one cuts that short. Once all are closed, what
    the block still does is cancelled, and the block ends without an error.

    Nothing is done unless this is used: a library has no business with the signals of a process.
    While the block runs, SIGINT raises no `KeyboardInterrupt`.

    Args:
        endpoints: What to close.
        signals: Their numbers.
        grace: Seconds; `None` is each one's `Timeouts.grace`.

    Raises:
        RuntimeError: This is not the main thread, which alone gets signals.
        TypeError: There is nothing to close.
    """
    if not endpoints:
        raise TypeError("drain_on_signal needs a client or a server to close")
    numbers = [signal.Signals(number) for number in signals]
    begun = False
    error: BaseException | None = None
    block = anyio.CancelScope()

    async def close(grace: float | None) -> None:
        async with anyio.create_task_group() as closing:
            for endpoint in endpoints:
                closing.start_soon(partial(endpoint.aclose, grace=grace))

    async def cut(caught: AsyncIterator[int]) -> None:
        tell_closing(await anext(caught), cut=True)
        await close(0)

    async def drain(caught: AsyncIterator[int]) -> None:
        nonlocal begun
        number = await anext(caught)
        begun = True
        tell_closing(number, cut=False)
        async with anyio.create_task_group() as watching:
            watching.start_soon(cut, caught)
            await close(grace)
            watching.cancel_scope.cancel()
        block.cancel()

    with anyio.open_signal_receiver(*numbers) as caught:
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(drain, caught)
            try:
                with block:
                    yield
            # Kept from the group, which would wrap it: it is to arrive as it is.
            except (Exception, KeyboardInterrupt, SystemExit) as exc:  # noqa: BLE001  # raised below
                error = exc
            if error is not None or not begun:
                tasks.cancel_scope.cancel()
    if error is not None:
        raise error
