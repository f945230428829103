"""`Broker`: a `Queue` with its broker, whose client runs on a loop of asyncio in a thread."""

from __future__ import annotations

import logging
import random
import ssl
from abc import abstractmethod
from collections.abc import AsyncIterator, Collection, Mapping
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any, TypedDict

import trio

from restsock import tls as _tls
from restsock._options import Backoff
from restsock.apps import asyncio_thread
from restsock.connection import failure_of, until
from restsock.gateway._errors import CallFailed

from ._payload import decode
from ._queue import Queue, QueueMessage

if TYPE_CHECKING:
    import asyncio

    from typing_extensions import Unpack

    from restsock.apps import AsyncioThread
    from restsock.gateway._message import Message

    from ._template import Template

__all__ = ["Broker", "QueueOptions"]

_log = logging.getLogger("restsock.gateway")

_AGAIN = Backoff(initial=0.5, cap=10)
# Seconds that a call waits for a connection, and the client has to close its own.
_WAIT = 2.0
_GRACE = 3.0
_REASONS = 5


class QueueOptions(TypedDict, total=False):
    """The arguments of `Queue` that are given by name."""

    answers: bool
    timeout: float
    max_waiting: int
    headers: Collection[str]
    tell: Mapping[str, str] | None


class Broker(Queue):
    """See above. What is lost on the way is answered with 502, and the connection made again.

    The gateway starts without the broker, too; calls then are answered with 503.

    Args:
        where: Makes of a message where its call is published.
        options: Those of `Queue`.
    """

    def __init__(self, where: Template, **options: Unpack[QueueOptions]) -> None:
        super().__init__(self._publish_there, **options)
        self._where = where
        self._thread: AsyncioThread | None = None
        self._ready = trio.Event()
        self._over = trio.Event()
        self._failed = 0
        self._task: asyncio.Future[None] | None = None  # on asyncio

    @property
    def connected(self) -> bool:
        """Whether there is a connection to the broker."""
        return self._ready.is_set()

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Keeps a connection meanwhile."""
        async with super().running():
            thread = asyncio_thread(grace=_GRACE)
            async with thread.running(), trio.open_nursery() as nursery:
                self._thread = thread
                self._over = trio.Event()
                ended, scope = trio.Event(), trio.CancelScope(shield=True)
                nursery.start_soon(self._keep, thread, ended, scope)
                try:
                    yield
                finally:
                    self._thread = None
                    self._over.set()
                    thread.tell(self._stop)
                    # It closes its connection: to be cancelled here would cut that short.
                    with trio.CancelScope(shield=True), trio.move_on_after(_GRACE):
                        await ended.wait()
                    scope.cancel()

    async def _keep(
        self, thread: AsyncioThread, ended: trio.Event, scope: trio.CancelScope
    ) -> None:
        said: set[str] = set()  # since it was last connected
        with scope:
            while self._thread is not None:
                try:
                    await thread.run(self._serve_once)
                    said.clear()
                    if self._thread is not None:
                        _log.warning("%r: the connection is lost", self)
                except Exception as exc:  # noqa: BLE001  # those of a client have no common base
                    why = _why(exc)
                    known = why in said or len(said) > _REASONS
                    say = _log.debug if known else _log.warning
                    say("%r: no connection: %s", self, why)
                    said.add(why)
                finally:
                    if self._ready.is_set():  # else some wait for it
                        self._ready = trio.Event()
                    self.give_up("the connection to what answers was lost")
                self._failed += 1
                pause = _AGAIN.delay(self._failed, random.random())  # noqa: S311  # not a secret
                with trio.move_on_after(pause):
                    await self._over.wait()
        ended.set()

    async def _get_ready(self, message: Message, deadline: float) -> None:
        self._where.fill(message)  # before anything else: it may be wrong
        with until(min(trio.current_time() + _WAIT, deadline)):
            await self._ready.wait()
        self._check_ready()

    def _check_ready(self) -> AsyncioThread:
        if self._thread is None or not self._ready.is_set():
            raise CallFailed(503, "what this goes to is not connected", retry_after=1)
        return self._thread

    async def _publish_there(self, made: QueueMessage) -> None:
        thread = self._check_ready()
        await thread.run(self._put, made, self._where.fill(made.message))

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self._where.text!r})"

    def _now_ready(self) -> None:
        self._failed = 0
        self._ready.set()

    # --- on asyncio ---------------------------------------------------------------------------

    async def _serve_once(self) -> None:
        import asyncio  # loaded: its loop runs this

        if self._thread is None:
            return
        self._task = asyncio.ensure_future(self._serve())
        await asyncio.wait({self._task})
        if not self._task.cancelled():
            self._task.result()

    def _stop(self) -> None:
        if self._task is not None:
            self._task.cancel()

    @abstractmethod
    async def _serve(self) -> None:
        """Connects, calls `_tell_ready`, and takes answers until the connection is lost.

        If cancelled, it closes its connection in good order.
        """

    @abstractmethod
    async def _put(self, made: QueueMessage, where: str) -> None:
        """Publishes a call there. Only while `_serve` runs."""

    def _tell_ready(self) -> None:
        if self._thread is not None:
            self._thread.tell_trio(None, self._now_ready)

    def _tell_answer(self, id: str, data: bytes, content_type: str | None, status: Any) -> None:
        """An answer has come. What is wrong with it is the answer."""
        try:
            number = int(status) if status is not None else 200
            if not 200 <= number <= 599:
                raise ValueError
            body = decode(data, content_type)
        except (CallFailed, ValueError):
            number, body = 502, None
        headers = {} if content_type is None else {"content-type": content_type}
        self.answer(id, body, status=number, headers=headers)


def _why(error: BaseException) -> str:
    """What failed. Only the system and TLS have words without a secret in them."""
    at: BaseException | None = error
    while at is not None:
        if isinstance(at, ssl.SSLCertVerificationError):
            return f"its certificate is not accepted: {at.verify_message}"
        if isinstance(at, OSError) and type(at).__module__ in ("builtins", "socket", "ssl"):
            return _tls.explain(at, "the broker") or str(at) or type(at).__name__
        at = at.__cause__ or at.__context__
    return failure_of(error)
