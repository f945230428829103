"""Messaging for asyncio: `Messaging`, with the names and arguments of the one for trio.

    async with restsock.messaging.aio.Messaging() as messaging:
        async with restsock.aio.connect("ws://hub.example:8000/", messaging=messaging):
            await messaging.channel("readings", delivery="at_least_once").send({"t": 21.5})

It lives on the background thread that all of `restsock.aio` share, and may be used from any task of
any loop. Handlers and methods that are coroutine functions run on the loop that it was entered on;
plain functions run in threads, and get the objects of `restsock.messaging.sync`.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any, TypeAlias, TypeVar

from restsock.connection import call_user_function, check_asyncio, is_async
from restsock.endpoint import documented_like
from restsock.threads import AsyncioContext
from restsock.websockets import Reconnect

from ._asyncio import AsyncioChannel as Channel
from ._asyncio import AsyncioMessage as Message
from ._asyncio import AsyncioReceipt as Receipt
from ._asyncio import AsyncioRequest as Request
from ._asyncio import AsyncioSession as Session
from ._asyncio import seen_on_asyncio
from ._blocking import seen_in_thread
from ._face import MessagingFace
from ._messaging import Authorize as TrioAuthorize
from ._messaging import Messaging as TrioMessaging
from ._sessions import Sent
from ._sessions import Sessions as TrioSessions
from ._views import MessageStreamView, SessionsView

if TYPE_CHECKING:
    from typing_extensions import Unpack

    from restsock._options import Backoff
    from restsock.websockets import ConnectOptions

    from ._options import Delivery, MessagingOptions
    from ._portal import MessagingPortal
    from ._store import Store
    from ._transaction import Transaction
    from .dialects import Dialect

__all__ = [
    "Authorize",
    "Channel",
    "Message",
    "MessageStream",
    "Messaging",
    "Receipt",
    "Request",
    "Session",
    "Sessions",
    "Where",
]

F = TypeVar("F", bound=Callable[..., Any])
T = TypeVar("T")

Authorize: TypeAlias = Callable[[Session, str, str], bool]
"""As `restsock.messaging.Authorize`. It is called on the background thread, and must not block."""

Where: TypeAlias = "Mapping[str, Any] | Callable[[Session], bool]"
"""As `restsock.messaging.Where`. A function is called by the task that has given it."""


class _Home:
    """Where coroutine functions run: on the loop that the messaging was entered on."""

    def __init__(self) -> None:
        self.loop: asyncio.AbstractEventLoop | None = None

    def adapt(self, function: Callable[..., Any]) -> Callable[..., Awaitable[Any]]:
        """Has a coroutine function run there, and a plain one in a thread."""
        see = seen_on_asyncio if is_async(function) else seen_in_thread

        async def call(*args: Any) -> Any:
            return await call_user_function(function, *map(see, args), loop=self.loop)

        return call


def _asked(authorize: Authorize | None) -> TrioAuthorize | None:
    """Has a session shown as this API has it."""
    if authorize is None:
        return None
    return lambda session, action, name: authorize(Session(session), action, name)


class Sessions(SessionsView[Session]):
    """The sessions of a messaging, as they are now, for asyncio. `Messaging.sessions`."""

    def __init__(self, portal: MessagingPortal, sessions: TrioSessions) -> None:
        super().__init__(portal, sessions, Session)

    @documented_like(TrioSessions.send)
    async def send(
        self,
        session_id: str,
        body: Any,
        *,
        channel: str = "messages",
        headers: Mapping[str, str] | None = None,
    ) -> str:
        """Sends a message to one session, at most once; returns its id."""
        send = partial(self._sessions.send, session_id, body, channel=channel, headers=headers)
        return await self._portal.run_from_asyncio(send)

    @documented_like(TrioSessions.broadcast)
    async def broadcast(
        self,
        channel: str,
        body: Any,
        *,
        where: Where | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> list[Sent]:
        """Sends a message to all sessions, or to selected ones, at most once each.

        If one cannot be reached, the others still get it. Does not wait for peers. Returns what
        became of the message, for each session.
        """
        broadcast = self._broadcasting(channel, body, where, headers)
        return await self._portal.run_from_asyncio(broadcast)


class MessageStream(MessageStreamView):
    """The messages of a channel, one after the other. Made by `Messaging.messages`.

        async with messaging.messages("readings") as readings:     # or without `async with`
            async for message in readings:
                ...
                await message.ack()

    It is a handler of the channel until it is closed or dropped. Messages that it has given out and
    that are not acknowledged by then come again. Several tasks may iterate over it; each message
    goes to one of them. The iteration ends when the messaging is closed.
    """

    async def receive(self) -> Message:
        """Waits for the next message. If cancelled, it takes none.

        Raises:
            EOFError: there are no more: this or the messaging was closed.
            MessagingClosed: the messaging was not opened yet.
            RestsockError: this is the child of a fork.
        """
        with self._receiving() as (receive, taken):
            await self._portal.run_from_asyncio(receive)
        return Message(taken[0])

    async def aclose(self) -> None:
        """Like `close`. Raises nothing."""
        self.close()

    def __aiter__(self) -> MessageStream:
        return self

    async def __anext__(self) -> Message:
        try:
            return await self.receive()
        except EOFError:
            raise StopAsyncIteration from None

    async def __aenter__(self) -> MessageStream:
        return self

    async def __aexit__(self, *exc: object) -> None:
        self.close()


class Messaging(MessagingFace):
    """A `restsock.messaging.Messaging` for asyncio.

        messaging = restsock.messaging.aio.Messaging(store=SQLiteStore("in.db"))

        @messaging.on("readings")
        async def keep(message):
            await database.insert(message.body)

        async with messaging:
            async with restsock.aio.listen("127.0.0.1", 8443, messaging=messaging) as server:
                await server.wait_closed()

    It owns its store, and lives on the background thread from when it is entered until it is
    closed. It is entered once.

    Args:
        store: keeps messages sent at least once, and notes of handled ones; by default a
            `MemoryStore`.
        options: limits and times.
        authorize: decides what peers may do; by default everything.

    Attributes:
        options: as given.
        sessions: the connected peers.
    """

    _context: AsyncioContext[TrioMessaging] | None

    def __init__(
        self,
        store: Store | None = None,
        *,
        options: MessagingOptions | None = None,
        authorize: Authorize | None = None,
    ) -> None:
        self._home = _Home()
        super().__init__(store, options, _asked(authorize), self._home.adapt)
        self.sessions = Sessions(self._portal, self._messaging.sessions)

    async def __aenter__(self) -> Messaging:
        """Opens the store, and begins.

        Raises:
            RuntimeError: it was entered before.
            RestsockError: this is not asyncio.
            Exception: what makes the store unusable.
        """
        loop = check_asyncio("restsock.messaging.aio.Messaging", "restsock.messaging.Messaging")
        self._check_new()
        self._home.loop = loop
        self._context = AsyncioContext(self._living.run)
        await self._context.open()
        return self

    async def __aexit__(self, kind: type[BaseException] | None, *exc: object) -> None:
        if kind is not None and issubclass(kind, asyncio.CancelledError):
            if self._context is not None:
                await self._context.close(drop=True)
        else:
            self._living.at_once = kind is not None
            await self.aclose()

    async def aclose(self) -> None:
        """Lets handlers finish for `MessagingOptions.grace`, and closes the store.

        For any task. Calls that wait raise `MessagingClosed`. A cancellation does not shorten it.
        Twice is harmless. Leaving an `async with` block does it; after an exception it does not
        wait for handlers, and after a cancellation it drops them.

        Raises:
            MessagingError: a handler has raised one whose `kind` is `"fatal"`.
        """
        if self._context is not None:
            await self._context.close()

    # --- sending ------------------------------------------------------------------------------

    @documented_like(TrioMessaging.channel)
    def channel(
        self, name: str, *, delivery: Delivery = "at_most_once", to: str | Session = ""
    ) -> Channel:
        """A channel to a peer."""
        target = to.on_loop if isinstance(to, Session) else to
        return Channel(self._portal, self._messaging.channel(name, delivery=delivery, to=target))

    @documented_like(TrioMessaging.publish)
    async def publish(
        self, channel: str, body: Any, *, headers: Mapping[str, str] | None = None
    ) -> int:
        """Sends a message to all subscribers of a channel, at most once each.

        The latest messages are kept for subscribers that reconnect
        (`MessagingOptions.history_messages`). Does not wait for peers. Returns how many sessions it
        was sent to.
        """
        publish = partial(self._messaging.publish, channel, body, headers=headers)
        return await self._portal.run_from_asyncio(publish)

    @documented_like(TrioMessaging.send_to)
    async def send_to(
        self,
        origins: Sequence[str],
        body: Any,
        *,
        channel: str = "messages",
        headers: Mapping[str, str] | None = None,
    ) -> list[Sent]:
        """Sends a message to several sessions, such as the `origins` of an aggregate.

        Returns what became of it, for each of them.
        """
        send = partial(self._messaging.send_to, origins, body, channel=channel, headers=headers)
        return await self._portal.run_from_asyncio(send)

    @documented_like(TrioMessaging.transact)
    async def transact(self, work: Callable[[Transaction], T]) -> T:
        """Calls a function in a transaction of the store's database; returns what it returns."""
        return await self._portal.run_from_asyncio(self._messaging.transact, work)

    @documented_like(TrioMessaging.dial)
    async def dial(
        self,
        url: str,
        dialect: Dialect,
        *,
        name: str | None = None,
        reconnect: Backoff = Reconnect(),  # noqa: B008  # it is frozen
        **options: Unpack[ConnectOptions],
    ) -> None:
        """Connects to a foreign peer, and keeps connected until it is cancelled.

            tasks.create_task(messaging.dial("wss://feed.example/ws", Tremor()))

        While there is no connection, messages to the peer wait: `channel(...)` without `to`, or
        with its name. If `auth` is an async function, it runs on the loop that the messaging was
        entered on.
        """
        auth = options.get("auth")
        if callable(auth) and is_async(auth):
            options["auth"] = self._home.adapt(auth)
        dial = partial(
            self._messaging.dial, url, dialect, name=name, reconnect=reconnect, **options
        )
        await self._portal.run_from_asyncio(dial)

    # --- receiving ----------------------------------------------------------------------------

    @documented_like(TrioMessaging.on)
    def on(self, channel: str, *, required: bool = True, ordered: bool = True) -> Callable[[F], F]:
        """Makes a function a handler of a channel. It is called with each `Message`.

        A coroutine function runs on the loop that the messaging was entered on. A plain one is
        called in a thread, with a `restsock.messaging.sync.Message`.

        Each handler of a channel gets each message, even if another one fails. A message is
        acknowledged when all required handlers have returned. Otherwise it comes again, for those
        that have failed.

        Raises:
            ValueError: the channel is not valid.
        """
        decorate = self._messaging.on(channel, required=required, ordered=ordered)
        return partial(self._add_adapted, decorate)

    @documented_like(TrioMessaging.messages)
    def messages(self, channel: str, *, window: int = 1) -> MessageStream:
        """The messages of a channel, for a loop that handles them; see `on`.

            async for message in messaging.messages("readings"):
                ...
                await message.ack()

        The iteration ends when the messaging is closed.
        """
        make = partial(self._messaging.messages, channel, window=window)
        return MessageStream(self._portal, self._portal.look_up(make))

    @documented_like(TrioMessaging.method)
    def method(self, name: str) -> Callable[[F], F]:
        """Makes a function answer requests: it gets a `Request`, and returns a JSON value.

        It runs where a handler does; see `on`. If it raises, the peer gets an error: with the text
        of a `MessagingError`, or only the class name of another exception.

        Raises:
            ValueError: the name is not valid, or the method has a function already.
        """
        return partial(self._add_adapted, self._messaging.method(name))

    def _add_adapted(self, decorate: Callable[[Any], Any], function: F) -> F:
        self._add(decorate, self._home.adapt(function))
        return function

    # --- dead letters -------------------------------------------------------------------------

    @documented_like(TrioMessaging.retry_dead_letters)
    async def retry_dead_letters(self, ids: Sequence[str] | None = None) -> int:
        """Sends dead letters again, as new messages; by default all. Returns how many.

        If cancelled, another call sends the rest, and may send one of them twice.
        """
        retry = partial(self._messaging.retry_dead_letters, ids)
        return await self._portal.run_from_asyncio(retry)
