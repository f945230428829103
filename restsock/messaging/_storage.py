"""Storage: what an engine has for its store, and what is sent, in calls of the store.

What happens in one turn of the loop is one call, and one ack. A store that takes its time gets what
has come meanwhile in one go (`Store.durable`). One that fails loses nothing: what is sent is
refused, and all else is tried again.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import TypeVar

import trio

from restsock._limit_log import LimitLog
from restsock._logging import PartLog
from restsock.connection import failure_of

from ._errors import MessagingClosed, StoreFailed
from ._store import Store
from ._transaction import Transaction, TransactionalStore, check_work
from .engine import Delivery, Effects, Engine, Entry, Outbox, RecordKey

__all__ = ["Storage"]

_log = PartLog("restsock.messaging")

# Seconds until a store that has failed is tried again.
_RETRY = 1.0
# Seconds that what need not be stored at once waits for more of its kind. New messages do not share
# the disk with it then; those that a crash lets leave again are known to their receivers.
_REST = 0.05

T = TypeVar("T")


class _Saving:
    """A message on its way into the store."""

    __slots__ = ("done", "entry", "error", "outbox")

    def __init__(self, outbox: Outbox, entry: Entry) -> None:
        self.outbox = outbox
        self.entry = entry
        self.done = trio.Event()
        self.error: Exception | None = None


class Storage:
    """See above.

    Args:
        store: the store, which is open.
        engine: what it is for.
        log: of what goes wrong.
        now: the time.
    """

    def __init__(
        self, store: Store, engine: Engine, log: LimitLog, now: Callable[[], float]
    ) -> None:
        self._engine = engine
        self._log = log
        self._now = now
        self._store = store
        self._dirty = trio.Event()
        self._storing: list[Effects] = []  # what the tasks are at
        self._rest = Effects()
        self._rest_due = trio.Event()
        self._to_save: list[_Saving] = []
        self._save_due = trio.Event()

    @property
    def durable(self) -> bool:
        """Whether the store takes its time."""
        return self._store.durable

    def start(self, nursery: trio.Nursery) -> None:
        """Starts its tasks."""
        nursery.start_soon(self._flush_loop)
        if self.durable:
            nursery.start_soon(self._save_loop)
            nursery.start_soon(self._rest_loop)

    def flush(self) -> None:
        """The engine has something to do."""
        self._dirty.set()

    async def finish(self) -> None:
        """What is known to be handled is stored, if the store takes it, and the peers are told."""
        left = [*self._storing, self._rest, self._engine.take()]
        self._rest = Effects()
        self._storing.clear()
        try:
            for effects in left:
                if effects.marks:
                    await self._store.mark([*effects.marks.values()])
                self._tell_stored(effects)
            self._engine.flush(self._now())
            for effects in left:
                await self._clean(effects)
        except Exception as exc:  # noqa: BLE001  # of any store; the peers send it again
            _log.error("the store could not keep what was handled last: %s", failure_of(exc))
        self._engine.flush(self._now())
        for saving in self._to_save:
            saving.error = MessagingClosed("the messaging was closed")
            saving.done.set()
        self._to_save.clear()

    # --- messages -----------------------------------------------------------------------------

    async def save(self, outbox: Outbox, entry: Entry) -> None:
        """Has the store keep a message, which then leaves.

        If cancelled, it may be kept and leave all the same.

        Raises:
            StoreFailed: it could not.
            MessagingClosed: the messaging was closed before.
        """
        if not self._store.durable:
            try:
                await self._store.add([outbox.record(entry)])
            except Exception as exc:
                self._engine.withdrawn(outbox, entry)
                raise StoreFailed(f"the store could not keep a message: {exc}") from exc
            self._engine.saved(outbox, entry, self._now())
            return
        saving = self._save_soon(outbox, entry)
        await saving.done.wait()
        if isinstance(saving.error, MessagingClosed):
            raise saving.error
        if saving.error is not None:
            error = saving.error
            raise StoreFailed(f"the store could not keep a message: {error}") from error

    def save_nowait(self, nursery: trio.Nursery, outbox: Outbox, entry: Entry) -> None:
        """The same without waiting. What the store cannot keep then is told in the log alone.

        Args:
            nursery: for a task.
            outbox: where the message is.
            entry: the message.
        """
        if self._store.durable:
            self._save_soon(outbox, entry)
        else:
            nursery.start_soon(self._save_quietly, outbox, entry)

    async def _save_quietly(self, outbox: Outbox, entry: Entry) -> None:
        try:
            await self.save(outbox, entry)
        except StoreFailed as exc:
            self._note_failure("the store failed to keep a message: %s", exc)

    def _save_soon(self, outbox: Outbox, entry: Entry) -> _Saving:
        saving = _Saving(outbox, entry)
        self._to_save.append(saving)
        self._save_due.set()
        return saving

    async def revive(self, key: RecordKey) -> None:
        """Has the store forget a dead letter."""
        await self._persist(self._store.revive, [key])

    # --- transactions of the program ----------------------------------------------------------

    async def transact(
        self, work: Callable[[Transaction], T], delivery: Delivery | None = None
    ) -> T:
        """Calls a function in a transaction of the store.

        Args:
            work: see `TransactionalStore.transact`.
            delivery: a message that is noted as handled in the same transaction.

        Raises:
            StoreFailed: the store could not do it. Nothing is stored.
            RuntimeError: the store has no transactions.
            TypeError: `work` is no function that can be called there.
            BaseException: what the function has raised. Nothing is stored.
        """
        check_work(work)
        store = self._store
        if not isinstance(store, TransactionalStore):
            raise RuntimeError(f"{type(store).__name__} has no transactions: use SQLiteStore")
        failure: BaseException | None = None

        def call(transaction: Transaction) -> T:
            nonlocal failure
            failure = None
            try:
                return work(transaction)
            except BaseException as exc:
                failure = exc
                raise

        marks = () if delivery is None else self._engine.mark_of(delivery)
        try:
            return await store.transact(call, marks)
        except Exception as exc:
            if exc is failure:
                raise
            raise StoreFailed(f"the store could not do a transaction: {exc}") from exc

    # --- tasks --------------------------------------------------------------------------------

    async def _flush_loop(self) -> None:
        durable = self._store.durable
        while True:
            await self._dirty.wait()
            self._dirty = trio.Event()
            effects = self._engine.take()
            self._storing.append(effects)
            if effects.marks:
                if durable:
                    self._engine.flush(self._now())  # what does not wait for the store
                await self._persist(self._store.mark, [*effects.marks.values()])
            self._tell_stored(effects)
            self._engine.flush(self._now())
            if not durable:
                await self._clean(effects)
            self._storing.remove(effects)
            if not durable:
                continue
            if effects.done or effects.attempts or effects.dead or effects.forget:
                self._rest.done += effects.done
                self._rest.attempts.update(effects.attempts)
                self._rest.dead += effects.dead
                self._rest.forget += effects.forget
                self._rest_due.set()

    def _tell_stored(self, effects: Effects) -> None:
        self._engine.stored(effects)
        for delivery in effects.acks:
            if delivery.owner is not None:
                delivery.owner.set()

    async def _rest_loop(self) -> None:
        while True:
            await self._rest_due.wait()
            await trio.sleep(_REST)
            self._rest_due = trio.Event()
            rest, self._rest = self._rest, Effects()
            self._storing.append(rest)
            await self._clean(rest)
            self._storing.remove(rest)

    async def _clean(self, effects: Effects) -> None:
        store = self._store
        if effects.attempts:
            await self._persist(store.attempts, effects.attempts)
        if effects.done:
            await self._persist(store.done, effects.done)
        if effects.dead:
            await self._persist(store.dead, effects.dead)
        # What has come again since then has marks again, and they stay.
        forget = [key for key in effects.forget if not self._engine.knows(key)]
        if forget:
            await self._persist(store.forget, forget)

    async def _persist(self, call: Callable[[T], Awaitable[None]], what: T) -> None:
        """Tries until the store takes it."""
        while True:
            try:
                await call(what)
            except Exception as exc:  # noqa: BLE001  # of any store; there is a disk behind it
                self._note_failure("the store failed, trying again: %s", exc)
                await trio.sleep(_RETRY)
            else:
                return

    async def _save_loop(self) -> None:
        while True:
            await self._save_due.wait()
            self._save_due = trio.Event()
            batch, self._to_save = self._to_save, []
            error: Exception | None = None
            try:
                await self._store.add([one.outbox.record(one.entry) for one in batch])
            except trio.Cancelled:
                self._to_save = batch + self._to_save  # they are told that it is over
                raise
            except Exception as exc:  # noqa: BLE001  # of any store; told to who waits for it
                error = exc
                self._note_failure("the store failed to keep messages: %s", exc)
            now = self._now()
            for saving in batch:
                saving.error = error
                if error is None:
                    self._engine.saved(saving.outbox, saving.entry, now)
                else:
                    self._engine.withdrawn(saving.outbox, saving.entry)
                saving.done.set()

    def _note_failure(self, message: str, error: Exception) -> None:
        self._engine.counters.one(self._engine.counters.errors, "store")
        self._log.say("store", message, failure_of(error))
