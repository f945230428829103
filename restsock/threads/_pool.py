"""Persistent threads that work for a loop."""

from __future__ import annotations

import contextvars
import itertools
import queue
import threading
from collections.abc import Callable, Hashable
from typing import Generic, TypeVar

import trio

from ._fair_queue import FairQueue

__all__ = ["Worker", "WorkerPool"]

_numbers = itertools.count(1)

T = TypeVar("T")


class Worker(Generic[T]):
    """One thread.

    Attributes:
        inbox: Its next item; `None` ends it.
        item: The item that it works on.
        owner: The owner of the item.
        ended: Set on the loop when the thread has ended.
        thread: The thread.
    """

    def __init__(self) -> None:
        self.inbox: queue.SimpleQueue[T | None] = queue.SimpleQueue()
        self.item: T | None = None
        self.owner: Hashable = None
        self.ended = trio.Event()
        self.thread: threading.Thread


class WorkerPool(Generic[T]):
    """The workers of one run, and the items that wait for them. Made on the loop.

    Workers are started as needed. The worker that became idle last gets the next item, because its
    data is still in the CPU caches. Owners of waiting items take turns.

    The threads are daemons, since one that never returns must not keep the process alive.

    Args:
        work: Called with each item, in a worker; it must not raise.
        name: The name of the threads; a number is added.
        number: The maximum number of workers.
        share: The maximum number for one owner; `None` for no such limit. It does not apply to
            items whose owner is `None`.
        done: Called on the loop with each finished item, once its worker is free.
        told: Called with an item that begins or stops waiting, and how many wait then.

    Attributes:
        workers: All workers that were started.
        items: How many items were given and are not finished.
    """

    def __init__(
        self,
        work: Callable[[T], object],
        *,
        name: str,
        number: int,
        share: int | None = None,
        done: Callable[[T], object] | None = None,
        told: Callable[[T, int], object] | None = None,
    ) -> None:
        self.workers: list[Worker[T]] = []
        self.items = 0
        self._work = work
        self._name = name
        self._number = number
        self._share = share
        self._done = done
        self._told = told
        self._token = trio.lowlevel.current_trio_token()
        self._context = contextvars.copy_context()
        self._waiting: FairQueue[T] = FairQueue()
        self._busy: dict[Hashable, int] = {}  # if there are shares
        self._idle: list[Worker[T]] = []
        self._lock = threading.Lock()

    # --- on the loop ------------------------------------------------------------------------

    def give(self, item: T, owner: Hashable = None) -> None:
        """Passes an item to a worker, or queues it for the next one.

        Raises:
            RuntimeError: The system cannot start a thread. Nothing has happened.
        """
        with self._lock:
            if not self._may_have(owner):
                worker = None
            elif self._idle:
                worker = self._idle.pop()
            elif len(self.workers) < self._number:
                worker = self._start()
            else:
                worker = None
            self.items += 1
            if worker is None:
                self._waiting.put(owner, item)
                self._tell(item)
                return
            self._note_begun(worker, owner, item)
        worker.inbox.put(item)

    def waiting(self, owner: Hashable) -> int:
        """How many items of an owner wait."""
        with self._lock:
            return self._waiting.length(owner)

    @property
    def depth(self) -> int:
        """How many items wait. For any thread."""
        return len(self._waiting)

    def drop(self, owner: Hashable, over: Callable[[T], bool]) -> None:
        """Drops waiting items of an owner that have ended before a worker began them."""
        with self._lock:
            for item in filter(over, self._waiting.items(owner)):
                self._remove(owner, item)

    def make_room(self, owner: Hashable) -> T | None:
        """Removes a waiting item, to make room for one of an owner with fewer waiting items.

        Returns:
            The last item of the owner with the most; `None` if none has more than its share.
        """
        with self._lock:
            if not self._waiting:
                return None
            other = self._waiting.longest()
            if self._waiting.length(other) <= self._waiting.length(owner) + 1:
                return None
            item = self._waiting.items(other)[-1]
            self._remove(other, item)
            return item

    def clear(self) -> list[T]:
        """Removes and returns all waiting items."""
        with self._lock:
            left = self._waiting.clear()
            self.items -= len(left)
            for item in left:
                self._tell(item)
            return left

    async def finish(self, seconds: float) -> list[Worker[T]]:
        """Ends the workers when nothing waits any longer, even if this is cancelled.

        Nothing may be given from here on.

        Returns:
            The workers that are still busy after this many seconds. They end later, or with the
            process.
        """
        for worker in self.workers:
            worker.inbox.put(None)
        with trio.CancelScope(shield=True, deadline=trio.current_time() + seconds):
            for worker in self.workers:
                await worker.ended.wait()
                worker.thread.join()  # short: its work is done
        self.clear()
        return [worker for worker in self.workers if not worker.ended.is_set()]

    def _start(self) -> Worker[T]:
        worker = Worker[T]()
        worker.thread = threading.Thread(
            target=self._context.copy().run,
            args=(self._run, worker),
            name=f"{self._name}-{next(_numbers)}",
            daemon=True,
        )
        worker.thread.start()
        self.workers.append(worker)
        return worker

    # --- with the lock ----------------------------------------------------------------------

    def _may_have(self, owner: Hashable) -> bool:
        """Whether an owner may have another worker."""
        return self._share is None or owner is None or self._busy.get(owner, 0) < self._share

    def _note_begun(self, worker: Worker[T], owner: Hashable, item: T) -> None:
        worker.owner, worker.item = owner, item
        if self._share is not None:
            self._busy[owner] = self._busy.get(owner, 0) + 1

    def _note_finished(self, worker: Worker[T]) -> None:
        self.items -= 1
        if self._share is not None:
            self._busy[worker.owner] -= 1
            if not self._busy[worker.owner]:
                del self._busy[worker.owner]
        worker.owner = worker.item = None

    def _remove(self, owner: Hashable, item: T) -> None:
        self._waiting.remove(owner, item)
        self.items -= 1
        self._tell(item)

    def _tell(self, item: T) -> None:
        if self._told is not None:
            self._told(item, len(self._waiting))

    # --- in a worker ------------------------------------------------------------------------

    def _run(self, worker: Worker[T]) -> None:
        item = worker.inbox.get()
        try:
            while item is not None:
                self._work(item)
                done, item = item, self._next(worker)
                if self._done is not None:
                    self._token.run_sync_soon(self._done, done)
                del done  # an idle worker must not keep its last item in memory
                if item is None:
                    item = worker.inbox.get()
            self._token.run_sync_soon(worker.ended.set)
        except trio.RunFinishedError:
            pass  # the loop did not wait

    def _next(self, worker: Worker[T]) -> T | None:
        """The next item for a worker that has finished; `None` if it has to wait."""
        with self._lock:
            self._note_finished(worker)
            found = self._waiting.take(self._may_have)
            if found is None:
                self._idle.append(worker)
                return None
            owner, item = found
            self._note_begun(worker, owner, item)
            self._tell(item)
            return item
