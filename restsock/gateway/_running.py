"""`RunningParts`: backends and middleware while they run. `Pipeline`: how a channel answers."""

from __future__ import annotations

import logging
from collections.abc import Iterable
from typing import TYPE_CHECKING, Protocol

import trio

from ._backend import Backend, Call, Part
from ._middleware import chain

if TYPE_CHECKING:
    import asyncio
    from contextlib import AbstractAsyncContextManager

    from ._backend import Peers
    from ._channel import Channel

__all__ = ["Pipeline", "Running", "RunningParts", "backend_behind"]


_log = logging.getLogger("restsock.gateway")


class Pipeline:
    """How a channel answers, with its middleware. A block in it counts as a call.

    Args:
        channel: The channel.
    """

    def __init__(self, channel: Channel) -> None:
        self._answer = chain(channel.middleware, channel.router.call)
        self._in_flight = 0
        self._emptied = trio.lowlevel.ParkingLot()

    def __enter__(self) -> Call:
        self._in_flight += 1
        return self._answer

    def __exit__(self, *exc: object) -> None:
        self._in_flight -= 1
        if not self._in_flight:
            self._emptied.unpark_all()

    async def wait_idle(self) -> None:
        """Waits until no call is under way. Can be cancelled."""
        while self._in_flight:
            await self._emptied.park()


class RunningParts:
    """Backends and middleware that run, each in a task of its own, so that others may take over.

    Args:
        nursery: For the tasks.
        peers: The listener.
        loop: That of asyncio functions.
    """

    def __init__(
        self, nursery: trio.Nursery, peers: Peers, loop: asyncio.AbstractEventLoop | None
    ) -> None:
        self._nursery = nursery
        self._peers = peers
        self._loop = loop
        self._running: dict[int, Running] = {}  # by the identity of the part

    async def start(self, channels: Iterable[Channel]) -> None:
        """Starts what these are made of and does not run yet, one after the other.

        If one fails, or this is cancelled, those that it has started end again. Raises what the one
        does that fails.
        """
        fresh = [part for part in _parts_of(channels) if id(part) not in self._running]
        for part in fresh:
            part.bind(self._peers, self._loop)
        try:
            for part in fresh:
                self._running[id(part)] = running = Running(part)
                await self._nursery.start(running.run)
        except BaseException:
            with trio.CancelScope(shield=True):
                await self._end({id(part) for part in fresh})
            raise

    async def keep(self, channels: Iterable[Channel]) -> None:
        """Ends all that these are not made of, the last one first."""
        kept = {id(part) for part in _parts_of(channels)}
        await self._end(self._running.keys() - kept)

    async def _end(self, these: set[int]) -> None:
        for key in [key for key in reversed(self._running) if key in these]:
            running = self._running.pop(key, None)
            if running is not None:
                await running.stop()


class Runs(Protocol):
    """What runs while a block does."""

    def running(self) -> AbstractAsyncContextManager[None]:
        """Starts what it needs, and ends it."""


class Running:
    """Runs something in a task, until it is told to stop.

    Args:
        part: What is to run.
    """

    def __init__(self, part: Runs) -> None:
        self._part = part
        self._begun = False
        self._stop = trio.Event()
        self._ended = trio.Event()

    async def run(self, task_status: trio.TaskStatus[None]) -> None:
        """The task. Raises what it does that runs; what it does at its end is logged."""
        try:
            async with self._part.running():
                self._begun = True
                task_status.started()
                await self._stop.wait()
        except Exception:
            if not self._stop.is_set():
                raise
            # It is not used any more, and others go on.
            _log.exception("%r has failed at its end", self._part)
        finally:
            self._ended.set()

    async def stop(self) -> None:
        """Has it end, and waits for that."""
        if self._begun:
            self._stop.set()
            await self._ended.wait()


def backend_behind(hook: object) -> Backend | None:
    """The backend that a hook of a channel is, or is a method of; `None` for a function."""
    owner = getattr(hook, "__self__", hook)
    return owner if isinstance(owner, Backend) else None


def _parts_of(channels: Iterable[Channel]) -> list[Part]:
    """All that is to be started, each once: what something is made of stands before it."""
    found: dict[int, Part] = {}

    def add(part: Part) -> None:
        if id(part) in found:
            return
        if isinstance(part, Backend):
            for inner in part.parts():
                add(inner)
        found[id(part)] = part

    for channel in channels:
        for middleware in channel.middleware:
            add(middleware)
        add(channel.router)
        for hook in (channel.on_connect, channel.on_disconnect):
            if (owner := backend_behind(hook)) is not None:
                add(owner)
    return list(found.values())
