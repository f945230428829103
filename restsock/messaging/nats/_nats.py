"""Nats: a connection to NATS that is kept, with its publishers and subscribers."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Coroutine, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar

import nats.errors
import nats.js.errors
import trio

from restsock._exceptions import RequestTimeout
from restsock.apps import asyncio_thread
from restsock.connection import check_trio, failure_of
from restsock.messaging._errors import BrokerUnavailable, MessagingClosed, PublishFailed

from ._link import Keeper, Link, LinkLost
from ._options import NatsOptions, check_name, check_servers, check_subject
from ._publisher import CorePublisher, JetStreamPublisher
from ._subscriber import CoreSubscriber, PullSubscriber

if TYPE_CHECKING:
    from types import TracebackType

    from nats.aio.client import Client

    from restsock.apps import AsyncioThread

__all__ = ["Nats", "NatsReply"]

T = TypeVar("T")

_GRACE = 3.0


class NatsReply(NamedTuple):
    """The answer to a request.

    Attributes:
        body: the message.
        headers: text by name.
    """

    body: bytes
    headers: Mapping[str, str]


class Nats:
    """A connection to NATS, for trio. When it is lost, it is made again, without end.

        async with Nats("nats://127.0.0.1:4222") as nats, messaging, server:
            messaging.on("readings")(publish_to(nats.jetstream(), "readings.{peer}"))

    Its client runs on an asyncio loop in a thread, which ends with the `async with` block. Enter it
    once, outside the messaging that uses it, so that handlers can finish.

    Args:
        servers: the URL of a server, or those of several, which are tried in turn. A `ws://` URL is
            for the WebSocket listener of NATS, and needs aiohttp.
        options: credentials, TLS, limits and times.

    Raises:
        ValueError: a URL is not valid, or has a secret in it.
        ImportError: the extra `nats` is not installed.
    """

    def __init__(self, servers: str | Sequence[str], *, options: NatsOptions | None = None) -> None:
        self.options = options or NatsOptions()
        self._servers = (servers,) if isinstance(servers, str) else tuple(servers)
        check_servers(self._servers)
        self._thread: AsyncioThread | None = None
        self._keeper: Keeper | None = None
        self._context: AbstractAsyncContextManager[None] | None = None
        self._ready = trio.Event()
        self.connected = False
        self.connections = 0

    def __repr__(self) -> str:
        state = "connected" if self.connected else "not connected"
        return f"<restsock.messaging.nats.Nats, {state}>"

    async def __aenter__(self) -> Nats:
        """Connects.

        Raises:
            BrokerUnavailable: no server could be reached in `NatsOptions.ready_timeout`; the text
                says why.
            RuntimeError: it was entered before.
            RestsockError: this is asyncio.
        """
        check_trio("restsock.messaging.nats.Nats", "an asyncio client of NATS")
        if self._context is not None:
            raise RuntimeError("a Nats can be entered once; make another one")
        self._context = self._running()
        await self._context.__aenter__()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> bool | None:
        """Closes the connection. What was published and is not confirmed yet fails."""
        assert self._context is not None
        return await self._context.__aexit__(kind, error, traceback)

    @asynccontextmanager
    async def _running(self) -> AsyncIterator[None]:
        thread = asyncio_thread(grace=_GRACE)
        error: BaseException | None = None
        async with thread.running():
            self._thread = thread
            try:
                async with trio.open_nursery() as nursery:
                    ended, scope = trio.Event(), trio.CancelScope(shield=True)
                    nursery.start_soon(self._run, ended, scope)
                    try:
                        with trio.move_on_after(self.options.ready_timeout):
                            await self._ready.wait()
                        if self._ready.is_set():
                            yield
                    except (Exception, KeyboardInterrupt, SystemExit) as exc:  # noqa: BLE001  # raised below
                        error = exc
                    finally:
                        thread.tell(self._stop)
                        with trio.CancelScope(shield=True), trio.move_on_after(_GRACE):
                            await ended.wait()
                        scope.cancel()
                if not self._ready.is_set():
                    why = self._keeper.last_error if self._keeper else "no attempt was made"
                    raise BrokerUnavailable(f"no server of NATS can be reached: {why}")
            finally:
                self._thread = None
        if error is not None:
            raise error

    async def _run(self, ended: trio.Event, scope: trio.CancelScope) -> None:
        assert self._thread is not None
        # It is told to stop, and then closes its connection: to be cancelled would cut that short.
        with scope:
            try:
                await self._thread.run(self._keep)
            finally:
                ended.set()

    def _stop(self) -> None:
        if self._keeper is not None:
            self._keeper.stop()

    async def _keep(self) -> None:
        assert self._thread is not None
        tell = self._thread.tell_trio
        self._keeper = Keeper(
            self._servers, self.options, lambda there: tell(None, self._changed, there)
        )
        await self._keeper.run()

    def _changed(self, there: bool) -> None:
        self.connected = there
        if there:
            self.connections += 1
            self._ready.set()

    # --- for users ----------------------------------------------------------------------------

    def jetstream(self) -> JetStreamPublisher:
        """Publishes to JetStream. There has to be a stream for the subject."""
        return JetStreamPublisher(self)

    def core(self) -> CorePublisher:
        """Publishes to core NATS: to current subscribers."""
        return CorePublisher(self)

    def pull(
        self,
        stream: str,
        durable: str,
        *,
        subject: str = "",
        window: int = 64,
        ack_wait: float = 30.0,
        max_deliver: int = -1,
    ) -> PullSubscriber:
        """A durable consumer of a stream, which is created if it does not exist.

        Args:
            stream: the stream.
            durable: the name of the consumer. Several processes may share it; each message goes to
                one of them.
            subject: which messages of the stream; all by default. This and the next ones are used
                to create the consumer; an existing one keeps its own.
            window: how many messages may be unhandled at a time.
            ack_wait: seconds after which a message without an acknowledgement comes again. While it
                is handled here, more time is asked for.
            max_deliver: how often it comes at most; -1 for no limit.

        Raises:
            ValueError: a name or a number is not valid.
        """
        check_name("stream", stream)
        check_name("durable", durable)
        if subject:
            check_subject(subject)
        if window < 1 or not ack_wait >= 1 or not (max_deliver == -1 or max_deliver > 0):
            raise ValueError("window is 1 or more, ack_wait 1 s or more, max_deliver -1 or more")
        return PullSubscriber(self, stream, durable, subject, window, ack_wait, max_deliver)

    def subscribe(self, subject: str, *, queue: str = "", window: int = 1000) -> CoreSubscriber:
        """A subscription of core NATS. It misses messages while it is not connected.

        Args:
            subject: with wildcards.
            queue: the name of a queue group: each message goes to one of its members.
            window: how many messages may be unhandled at a time. More are dropped, and logged.

        Raises:
            ValueError: a name or a number is not valid.
        """
        check_subject(subject)
        if queue:
            check_name("queue", queue)
        if window < 1:
            raise ValueError(f"window is 1 or more, not {window!r}")
        return CoreSubscriber(self, subject, queue, window)

    async def request(
        self,
        subject: str,
        body: bytes,
        *,
        headers: Mapping[str, str] | None = None,
        timeout: float,
    ) -> NatsReply | None:
        """Publishes a request, and waits for the answer of a subscriber of the subject.

        It waits for a connection, too. If cancelled, the answer is dropped. It is published once.

        Args:
            subject: where to, without wildcards.
            body: the message.
            headers: text by name.
            timeout: seconds for all of it.

        Returns:
            The answer; `None` if there is no subscriber, so nothing has run.

        Raises:
            BrokerUnavailable: there was no connection in this time. Nothing was sent.
            RequestTimeout: there was no answer in this time.
            PublishFailed: this client may not publish there, the message is too large, or the
                connection was lost meanwhile; `may_have_run` says whether it may have been sent.
            MessagingClosed: it is not open.
        """
        found: NatsReply | None = await self.call(
            self._request, subject, body, dict(headers or {}), timeout
        )
        return found

    async def _request(
        self, subject: str, body: bytes, headers: dict[str, str], timeout: float
    ) -> NatsReply | None:
        """On asyncio."""
        clock = asyncio.get_running_loop().time
        end = clock() + timeout
        while True:
            try:
                link = await asyncio.wait_for(self.link(), max(0.0, end - clock()))
            except asyncio.TimeoutError as exc:
                raise BrokerUnavailable("no connection to NATS in time") from exc
            try:
                answer = await link.request(subject, body, headers, max(0.0, end - clock()))
            except LinkLost as exc:
                if exc.sent:
                    raise PublishFailed("the connection to NATS was lost") from exc
                await asyncio.sleep(0)  # the next connection, as nothing has left on this one
                continue
            except asyncio.TimeoutError as exc:
                raise RequestTimeout(f"no answer within {timeout} s", phase="head") from exc
            return None if answer is None else NatsReply(answer.data, answer.headers or {})

    async def run(self, function: Callable[[Client], Coroutine[Any, Any, T]]) -> T:
        """Awaits a function on asyncio, with the client of nats-py that is connected now.

        For what this class does not offer, such as making a stream. It waits while there is no
        connection. A cancellation cancels the function. Do not close the client.

        Raises:
            MessagingClosed: it is not open.
            Exception: what the function raises, such as an error of nats-py when the connection is
                lost.
        """

        async def call() -> T:
            return await function((await self.link()).client)

        result: T = await self.call(call)
        return result

    async def stream_of(self, subject: str) -> str | None:
        """The name of a stream of JetStream that has a subject; `None` if there is none.

        Args:
            subject: may have wildcards; then the stream has some of what they stand for.

        Raises:
            BrokerUnavailable: JetStream does not answer, or is not there.
            MessagingClosed: it is not open.
        """

        async def find(client: Client) -> str | None:
            try:
                return await client.jetstream().find_stream_name_by_subject(subject)
            except nats.js.errors.NotFoundError:
                return None

        try:
            return await self.run(find)
        except (nats.errors.Error, asyncio.TimeoutError) as exc:
            words = str(exc).removeprefix("nats: ") or failure_of(exc)
            raise BrokerUnavailable(f"JetStream cannot be asked: {words}") from exc

    # --- for publishers and subscribers -------------------------------------------------------

    async def call(self, function: Callable[..., Coroutine[Any, Any, Any]], *args: Any) -> Any:
        """Awaits a function on the loop of its client.

        Raises:
            MessagingClosed: it is not open.
            Exception: what the function raises.
        """
        if self._thread is None:
            raise MessagingClosed("this Nats is not open")
        return await self._thread.run(function, *args)

    def tell(self, function: Callable[..., object], *args: Any) -> None:
        """Has a function called on the loop of its client. Does nothing once it is closed."""
        if self._thread is not None:
            self._thread.tell(function, *args)

    def tell_trio(self, function: Callable[..., object], *args: Any) -> None:
        """Has a function called on trio, from the loop of its client."""
        if self._thread is not None:
            self._thread.tell_trio(None, function, *args)

    async def link(self) -> Link:
        """The present connection, on the loop of its client. Waits while there is none.

        Raises nothing.
        """
        assert self._keeper is not None
        return await self._keeper.link()
