"""Persistent threads that do what a loop gives them, so that the loop does not."""

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
        item: What it is busy with.
        owner: Whose that is.
        ended: Set on the loop when the thread has ended.
        thread: It.
    """

    def __init__(self) -> None:
        self.inbox: queue.SimpleQueue[T | None] = queue.SimpleQueue()
        self.item: T | None = None
        self.owner: Hashable = None
        self.ended = trio.Event()
        self.thread: threading.Thread


class WorkerPool(Generic[T]):
    """The workers of one run, and what waits for them. Made on the loop.

    Workers are started as they are needed. The last to become idle is called first: what it needs
    is still in the caches. What waits is taken in turn from its owners.

    They are daemons, since one that never returns must not keep the process from ending.

    Args:
        work: Is called with each item, in a worker; it must not raise.
        name: Of the threads, with a number.
        number: How many there are at most.
        share: How many one owner may have at most; `None` for all. An item whose owner is `None`
            may always have one.
        done: Is called on the loop with each item that was worked on, once its worker is free.
        told: Is called with an item that begins or ceases to wait, and how many wait then.

    Attributes:
        workers: All that were started.
        items: How many have been given and are not finished.
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
        self._busy: dict[Hashable, int] = {}  # where there are shares
        self._idle: list[Worker[T]] = []
        self._lock = threading.Lock()

    # --- on the loop ------------------------------------------------------------------------

    def give(self, item: T, owner: Hashable = None) -> None:
        """Hands an item to a worker, or lets it wait for the next one.

        Raises:
            RuntimeError: The system has no thread to give. Nothing has happened.
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
        """Drops those of an owner that wait and are over before anybody has begun them."""
        with self._lock:
            for item in filter(over, self._waiting.items(owner)):
                self._remove(owner, item)

    def make_room(self, owner: Hashable) -> T | None:
        """Gives up an item for another one, of an owner who has fewer waiting.

        Returns:
            The last one of those who have the most; `None` if none has more than their part.
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
        """Gives up all that waits."""
        with self._lock:
            left = self._waiting.clear()
            self.items -= len(left)
            for item in left:
                self._tell(item)
            return left

    async def finish(self, seconds: float) -> list[Worker[T]]:
        """Ends the workers when nothing waits any more, whatever cancels the surroundings.

        Nothing may be given from here on.

        Returns:
            Those that are still busy after so many seconds. They end later, or with the process.
        """
        for worker in self.workers:
            worker.inbox.put(None)
        with trio.CancelScope(shield=True, deadline=trio.current_time() + seconds):
            for worker in self.workers:
                await worker.ended.wait()
                worker.thread.join()  # that was the last it had to do
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
                del done  # idle, it must not keep the memory of what it did last
                if item is None:
                    item = worker.inbox.get()
            self._token.run_sync_soon(worker.ended.set)
        except trio.RunFinishedError:
            pass  # the loop did not wait

    def _next(self, worker: Worker[T]) -> T | None:
        """What a worker does next that has finished its last; `None` when it is to wait."""
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
