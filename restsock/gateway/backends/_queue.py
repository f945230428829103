"""`Queue`: publishes calls with an id, and takes the answer that comes back with that id."""

from __future__ import annotations

import logging
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import trio

from restsock._exceptions import RestsockError
from restsock._options import between, positive
from restsock.connection import call_user_function, failure_of
from restsock.gateway._backend import Backend
from restsock.gateway._errors import CallFailed
from restsock.gateway._message import Message, Reply

from ._payload import FIELDS, Telling, encode
from ._waiting import Waiting

if TYPE_CHECKING:
    import asyncio

    from restsock.gateway._backend import Peers

__all__ = ["Queue", "QueueMessage"]

_log = logging.getLogger("restsock.gateway")

DEADLINE = "request-timeout-ms"


@dataclass(frozen=True, slots=True)
class QueueMessage:
    """A call, to be published.

    Attributes:
        id: The answer needs the same id. It cannot be guessed. `""` if no answer is expected.
        key: The key of the message.
        body: The body.
        content_type: Its media type.
        headers: Its fields, names in lower case except those of `tell`.
        seconds: For how long the client waits for the answer.
        message: The message that it was made of.
    """

    id: str
    key: str
    body: bytes = field(repr=False)
    content_type: str
    headers: Mapping[str, str] = field(repr=False)
    seconds: float
    message: Message


class Queue(Backend):
    """Answers with the workers of a queue of yours; this class matches answers to calls.

        queue = Queue(publish)

        async def publish(call: QueueMessage) -> None:
            await broker.put({"id": call.id, "body": call.body})

        async for answer in broker.answers():
            queue.answer(answer["id"], answer["body"])

    An answer that is late, a duplicate, or has an unknown id is dropped and counted. `RabbitMQ` and
    `RedisStreams` do the same with their broker.

    Args:
        publish: Sends a call: an async function, which runs on the listener's loop, or a plain one,
            which runs in a thread. An exception becomes a 502, unless it is a `CallFailed`.
        answers: Whether there are answers. If not, a call ends with 202 when it is published.
        timeout: Seconds for an answer, if the message has no earlier deadline.
        max_waiting: Calls that may wait for an answer at a time.
        headers: Which of the message's fields are sent on, by name.
        tell: Fields about the client, each with a source: `{"user": "principal"}`.

    Raises:
        ValueError: An argument is not valid.
        TypeError: Likewise.
    """

    def __init__(
        self,
        publish: Callable[[QueueMessage], Awaitable[object] | object],
        *,
        answers: bool = True,
        timeout: float = 30.0,
        max_waiting: int = 10_000,
        headers: Collection[str] = FIELDS,
        tell: Mapping[str, str] | None = None,
    ) -> None:
        if not callable(publish):
            raise TypeError(f"publish has to be a function, not {type(publish).__name__}")
        self._publish = publish
        self._answers = answers
        self.timeout = timeout
        self.max_waiting = max_waiting
        positive(self, "timeout")
        between(self, "max_waiting", 1, 10_000_000)
        self._telling = Telling(headers, tell or {}, DEADLINE)
        self._waiting: Waiting[Reply] = Waiting(max_waiting, lambda: str(uuid.uuid4()))
        self._token: trio.lowlevel.TrioToken | None = None
        self._loop: asyncio.AbstractEventLoop | None = None

    @property
    def waiting(self) -> int:
        """Calls that wait for an answer."""
        return len(self._waiting)

    @property
    def late(self) -> int:
        """Answers that were dropped, since nobody waited for them."""
        return self._waiting.late

    def bind(self, peers: Peers, loop: asyncio.AbstractEventLoop | None) -> None:
        """See `Backend.bind`. Raises nothing."""
        self._loop = loop

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Lets calls be made. At the end, calls that still wait fail."""
        self._token = trio.lowlevel.current_trio_token()
        try:
            yield
        finally:
            self._token = None
            self.give_up("the gateway closes")

    def give_up(self, why: str) -> None:
        """Ends all calls that wait: their answers will not come. On the loop.

        Args:
            why: For their clients.
        """
        self._waiting.fail_all(CallFailed(502, why, may_have_run=True))

    def answer(
        self,
        id: str,
        body: Any = None,
        *,
        status: int = 200,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        """Passes an answer to its call. For any thread. Twice is harmless.

        Args:
            id: That of its call.
            body: A value of JSON, text or bytes.
            status: As of HTTP: 400 and above is a failure.
            headers: Fields, names in lower case.

        Raises:
            ValueError: The status is none.
        """
        if not 200 <= status <= 599:
            raise ValueError(f"{status!r} is no status of an answer: 200 to 599")
        token = self._token
        reply = Reply(body, status, headers or {})
        if token is None or token is _current_token():
            self._waiting.answer(str(id), reply)
            return
        try:
            token.run_sync_soon(self._waiting.answer, str(id), reply)
        except trio.RunFinishedError:
            pass  # nobody waits any more

    async def call(self, message: Message) -> Reply:
        """See `Backend.call`. If cancelled, its answer is dropped.

        Raises:
            CallFailed: There is no answer.
        """
        if self._token is None:
            raise CallFailed(503, "the gateway is not open")
        now = trio.current_time()
        deadline = min(message.deadline, now + self.timeout)
        if deadline <= now:
            raise CallFailed(504, "no answer in time")
        body, kind = encode(message.body)
        headers = self._telling.fields(message.replace(deadline=deadline))
        await self._get_ready(message, deadline)
        made = QueueMessage("", message.key, body, kind, headers, deadline - now, message)
        if not (self._answers and message.answered):
            await self._send(made, deadline)
            return Reply(None, 202)
        with self._waiting.call() as call:
            await self._send(replace(made, id=call.id), deadline)
            return await call.wait(deadline)

    async def _get_ready(self, message: Message, deadline: float) -> None:
        """Waits until something can be published; raises `CallFailed` if it cannot."""

    async def _send(self, made: QueueMessage, deadline: float) -> None:
        try:
            with trio.move_on_at(deadline) as scope:
                await call_user_function(self._publish, made, loop=self._loop)
        except RestsockError:
            raise
        except Exception as exc:
            # Of the program, or of a client library, whose errors have no common base.
            _log.warning("a message was not published: %s", failure_of(exc))
            raise CallFailed(502, "this could not be passed on", may_have_run=True) from exc
        if scope.cancelled_caught:
            raise CallFailed(504, "this could not be passed on in time", may_have_run=True)

    def __repr__(self) -> str:
        return f"<{type(self).__name__}, {self.waiting} calls wait>"


def _current_token() -> trio.lowlevel.TrioToken | None:
    try:
        return trio.lowlevel.current_trio_token()
    except RuntimeError:
        return None
