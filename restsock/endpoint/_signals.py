"""Graceful shutdown on SIGTERM and SIGINT."""

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
    """Logs that a signal was received: as a warning, since a person may be waiting."""
    name = signal.Signals(number).name
    if cut:
        _log.warning("%s: closing now", name)
    else:
        _log.warning("%s: closing after what is in flight; once more to cut that off", name)


class Drainable(Protocol):
    """A client or a server."""

    async def aclose(self, *, grace: float | None = ...) -> None:
        """Closes it after the requests in flight."""


@asynccontextmanager
async def drain_on_signal(
    *endpoints: Drainable, signals: Iterable[int] = SIGNALS, grace: float | None = None
) -> AsyncIterator[None]:
    """Closes clients and servers gracefully when the process gets a signal to end.

        async with restsock.listen("0.0.0.0", 8443) as server, restsock.drain_on_signal(server):
            await trio.sleep_forever()

    The first signal closes them as `aclose()` does: no more requests are started, and requests in
    flight may finish within `grace`. A second signal closes at once. When all are closed, the block
    is cancelled, and ends without an error.

    restsock handles no signals unless this is used. While the block runs, SIGINT raises no
    `KeyboardInterrupt`.

    Args:
        endpoints: The clients and servers to close.
        signals: The numbers of the signals.
        grace: Seconds; `None` is the `Timeouts.grace` of each.

    Raises:
        RuntimeError: This is not the main thread, the only one that gets signals.
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
            # Kept from the nursery, which would wrap it in an exception group.
            except (Exception, KeyboardInterrupt, SystemExit) as exc:  # noqa: BLE001  # raised below
                error = exc
            if error is not None or not begun:
                tasks.cancel_scope.cancel()
    if error is not None:
        raise error
