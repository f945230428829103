"""Driver: runs an engine on trio, with its store, its clock and its handlers.

Its tasks are those of `Storage`; one that waits for the time at which the engine has something to
do; and for each line of messages one that has them handled, while there are any.
"""

from __future__ import annotations

import os
import random
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any, Protocol, TypeVar

import trio

from restsock._limit_log import LimitLog
from restsock._logging import PartLog
from restsock.protocol import CloseCode

from ._errors import MessagingClosed
from ._ids import IdSource
from ._options import MessagingOptions
from ._portal import MessagingPortal
from ._storage import Storage
from ._store import Store
from ._transaction import Transaction
from .engine import (
    DeadLetter,
    Delivery,
    Destination,
    Engine,
    Entry,
    Inbox,
    Line,
    Outbox,
    Peer,
    RecordKey,
    Reply,
    Request,
)

__all__ = ["Driver", "Owner"]

_log = PartLog("restsock.messaging")

# Messages that may be sent before other tasks have their turn.
_IN_A_ROW = 16

T = TypeVar("T")


class Owner(Protocol):
    """Whose messages a driver runs. None of these raises, nor waits unless it is async."""

    def plan(self, channel: str) -> tuple[int, bool]:
        """How many messages of a line may be handled at once, and whether they begin in order."""

    async def handle(self, delivery: Delivery) -> None:
        """Has a message handled, and calls `Engine.finish`."""

    async def answer(self, peer: Peer, request: Request) -> None:
        """Has a request answered, and calls `Engine.reply`."""

    def may(self, peer: Peer, action: str, name: str) -> bool:
        """See `Host.may`."""

    def restored(self, letter: DeadLetter) -> None:
        """The store has a message that was given up in a former run."""

    def buried(self, letter: DeadLetter) -> None:
        """A message was given up."""

    def recovered(self, peer: Peer, channel: str, missed: int | None) -> None:
        """See `Host.recovered`."""


class Driver:
    """See above. It is the host of its engine.

    Args:
        store: keeps what is sent at least once.
        options: limits and times.
        owner: whose it is.

    Attributes:
        engine: what it runs.
        now: the time of its loop, for the engine; `trio.current_time` without its detours.
        open: whether it runs.
        options: as above.
        log: of what a peer can repeat.
        portal: to it, for threads and for asyncio.
    """

    engine: Engine
    now: Callable[[], float]

    def __init__(self, store: Store, options: MessagingOptions, owner: Owner) -> None:
        self.open = False
        self.log = LimitLog(_log)
        self.portal = MessagingPortal(self.log)
        self.options = options
        self._store = store
        self._owner = owner
        self._nursery: trio.Nursery
        self._token: trio.lowlevel.TrioToken | None = None
        self._failure: Exception | None = None
        self._ending = False
        self._storage: Storage
        self._alarm = trio.Event()
        self._runners: dict[Inbox | Line, int] = {}
        self._in_a_row = 0  # messages that were sent since others had their turn
        self._busy = 0  # runners, and answers
        self._idle = trio.lowlevel.ParkingLot()
        self._lots: dict[Destination | Peer, trio.lowlevel.ParkingLot] = {}
        self._watching = trio.lowlevel.ParkingLot()

    # --- life ---------------------------------------------------------------------------------

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Runs the engine for as long as the block lasts.

        Raises:
            Exception: what makes the store unusable, or a handler has raised as fatal.
        """
        self._token = trio.lowlevel.current_trio_token()
        self.now = trio.lowlevel.current_clock().current_time
        error: BaseException | None = None
        await self._store.open()
        try:
            await self._load()
            async with trio.open_nursery() as callers:
                self.portal.open(callers)
                try:
                    async with trio.open_nursery() as nursery:
                        self._nursery = nursery
                        self._storage.start(nursery)
                        nursery.start_soon(self._timer_loop)
                        self.open = True
                        try:
                            yield
                        # Kept from the nursery, which would wrap it in a group.
                        except (Exception, KeyboardInterrupt, SystemExit) as exc:  # noqa: BLE001  # raised below
                            error = exc
                        else:
                            await self._wind_down()
                        self._ending = True
                        nursery.cancel_scope.cancel()
                finally:
                    await self._finish()
                    self.portal.end()
                    callers.cancel_scope.cancel()  # whoever still waits there
        finally:
            self._ending = True
            with trio.CancelScope(shield=True):
                await self._store.aclose()
        if error is not None or self._failure is not None:
            raise error or self._failure  # type: ignore[misc]  # one of them is there

    async def _load(self) -> None:
        ids = IdSource(os.urandom)
        loaded = await self._store.load()
        self.engine = Engine(
            self.options,
            epoch=ids.epoch(),
            host=self,
            new_id=ids.uuid,
            chance=random.random,
            wall=time.time() - self.now(),
            remembers=self._store.durable,
        )
        self._storage = Storage(self._store, self.engine, self.log, self.now)
        for record in loaded.records:
            self.engine.restore(record)
        for mark in loaded.marks:
            self.engine.restore_mark(mark)
        for letter in loaded.dead:
            self._owner.restored(letter)

    async def _wind_down(self) -> None:
        """Lets what has begun come to its end, for a while."""
        self._ending = True  # nothing more is begun
        with trio.move_on_after(self.options.grace):
            while self._busy:
                await self._idle.park()

    async def _finish(self) -> None:
        """Has what was handled last stored, and ends the sessions."""
        self.open, self._ending = False, True
        with trio.CancelScope(shield=True), trio.move_on_after(self.options.grace):
            await self._storage.finish()
        self._end_all()

    def _end_all(self) -> None:
        """Ends the sessions. Nobody may wait for what does not come any more."""
        for peer in [*self.engine.peers.values()]:
            peer.link.close_soon(CloseCode.GOING_AWAY, "going away")
            self.engine.detach(peer, self.now())
        for lot in self._lots.values():
            lot.unpark_all()
        self.changed()

    def check_open(self) -> None:
        """Raises `MessagingClosed` unless it runs."""
        if not self.open:
            raise MessagingClosed("this messaging is not open: use it inside its `async with`")

    def fail(self, error: Exception) -> None:
        """Ends it with an error."""
        if self._failure is None:
            self._failure = error
        self._nursery.cancel_scope.cancel()

    @property
    def here(self) -> bool:
        """Whether this is its loop."""
        try:
            return trio.lowlevel.current_trio_token() is self._token
        except RuntimeError:  # there is none
            return False

    def call_soon(self, function: Callable[..., object], *args: Any) -> None:
        """Has something called on the loop, from any thread; at once, if that is the loop's."""
        if self._token is None or self.here:
            function(*args)
            return
        try:
            self._token.run_sync_soon(function, *args)
        except trio.RunFinishedError:
            pass  # it is over, whatever it was for

    def start_soon(self, function: Callable[..., Awaitable[object]], *args: Any) -> None:
        """Starts a task that ends with the messaging."""
        if not self._ending:
            self._nursery.start_soon(function, *args)

    async def start(self, function: Callable[..., Awaitable[object]], *args: Any) -> Any:
        """Starts a task that ends with the messaging, and waits until it says that it is ready."""
        return await self._nursery.start(function, *args)

    # --- sending ------------------------------------------------------------------------------

    async def save(self, outbox: Outbox, entry: Entry) -> None:
        """Has the store keep a message, which then leaves; see `Storage.save`.

        Raises:
            StoreFailed: it could not.
            MessagingClosed: the messaging was closed before.
        """
        await self._storage.save(outbox, entry)

    def save_nowait(self, outbox: Outbox, entry: Entry) -> None:
        """The same without waiting."""
        self._storage.save_nowait(self._nursery, outbox, entry)

    async def revive(self, key: RecordKey) -> None:
        """Has the store forget a dead letter."""
        await self._storage.revive(key)

    async def transact(
        self, work: Callable[[Transaction], T], delivery: Delivery | None = None
    ) -> T:
        """Calls a function in a transaction of the store; see `Storage.transact`.

        Raises:
            MessagingClosed: it does not run.
        """
        self.check_open()
        await trio.lowlevel.checkpoint_if_cancelled()
        return await self._storage.transact(work, delivery)

    @property
    def durable(self) -> bool:
        """Whether the store takes its time."""
        return self._store.durable

    async def pause(self) -> None:
        """A checkpoint for who sends: others have their turn after so many messages.

        With each message the loop would turn once, and each would leave alone.
        """
        self._in_a_row += 1
        if self._in_a_row < _IN_A_ROW:
            await trio.lowlevel.checkpoint_if_cancelled()
        else:
            self._in_a_row = 0
            await trio.lowlevel.checkpoint()

    async def park(self, what: Destination | Peer) -> None:
        """Waits until there may be room again.

        Raises:
            MessagingClosed: the messaging is over.
        """
        await self.wait_drained(what)
        self.check_open()

    async def wait_drained(self, what: Destination | Peer) -> None:
        """The same, and raises nothing."""
        lot = self._lots.setdefault(what, trio.lowlevel.ParkingLot())
        try:
            await lot.park()
        finally:
            if not lot and self._lots.get(what) is lot:
                del self._lots[what]

    def recheck(self) -> int:
        """Ends the subscriptions that are not allowed; see `Messaging.recheck`."""
        ended = 0
        for peer in [*self.engine.peers.values()]:
            for channel in [*peer.subscriptions]:
                if not self.may(peer, "subscribe", channel):
                    self.engine.unsubscribe(peer, channel)
                    ended += 1
        return ended

    async def wait_until(self, reached: Callable[[], bool]) -> None:
        """Waits until a function gives true; see `Messaging.wait_until`."""
        await trio.lowlevel.checkpoint()
        while not reached():
            await self._watching.park()

    def changed(self) -> None:
        """Something has changed that `wait_until` may look at."""
        self._watching.unpark_all()

    # --- the host of the engine ---------------------------------------------------------------

    def work(self, line: Inbox | Line) -> None:
        """See `Host`."""
        if self._ending:
            return
        window, _ = self._owner.plan(line.channel)
        running = self._runners.get(line, 0)
        if running < window:
            self._runners[line] = running + 1
            self._busy += 1
            self._nursery.start_soon(self._run_line, line)

    def dirty(self) -> None:
        """See `Host`."""
        self._storage.flush()

    def asked(self, peer: Peer, request: Request) -> None:
        """See `Host`."""
        if not self._ending:
            self._busy += 1
            self._nursery.start_soon(self._answer, peer, request)

    def answered(self, waiter: Any, reply: Reply | None) -> None:
        """See `Host`."""
        waiter.answer(reply)

    def dead(self, letter: DeadLetter) -> None:
        """See `Host`."""
        self._owner.buried(letter)
        self.changed()

    def room(self, destination: Destination) -> None:
        """See `Host`."""
        if self._lots:
            self._unpark(destination)
        if self._watching:
            self.changed()

    def recovered(self, peer: Peer, channel: str, missed: int | None) -> None:
        """See `Host`."""
        self._owner.recovered(peer, channel, missed)

    def may(self, peer: Peer, action: str, name: str) -> bool:
        """See `Host`."""
        return self._owner.may(peer, action, name)

    def alarm(self, due: float) -> None:
        """See `Host`."""
        self._alarm.set()

    def drained(self, peer: Peer) -> None:
        """See `Host`."""
        self._unpark(peer)
        self.changed()

    def _unpark(self, what: Destination | Peer) -> None:
        lot = self._lots.get(what)
        if lot is not None:
            lot.unpark_all()

    # --- tasks --------------------------------------------------------------------------------

    async def _run_line(self, line: Inbox | Line) -> None:
        owner, engine = self._owner, self.engine
        try:
            while not self._ending:
                window, ordered = owner.plan(line.channel)
                delivery = engine.next(line, window, ordered=ordered)
                if delivery is None:
                    break
                if window > 1:
                    self.work(line)  # there may be one more
                await owner.handle(delivery)
                if self._watching:
                    self.changed()
        finally:
            running = self._runners[line] - 1
            if running:
                self._runners[line] = running
            else:
                del self._runners[line]
            self._end_one()

    async def _answer(self, peer: Peer, request: Request) -> None:
        try:
            await self._owner.answer(peer, request)
        finally:
            self._end_one()

    def _end_one(self) -> None:
        self._busy -= 1
        if not self._busy:
            self._idle.unpark_all()

    async def _timer_loop(self) -> None:
        while True:
            due = self.engine.due()
            self._alarm = trio.Event()
            with trio.move_on_at(trio.current_time() + 86_400 if due is None else due):
                await self._alarm.wait()
            self.engine.tick(self.now())
