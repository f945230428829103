"""Messaging for threads: `Messaging`, with the names and arguments of the one for trio.

    with restsock.messaging.sync.Messaging() as messaging:
        with restsock.sync.connect("ws://hub.example:8000/", messaging=messaging):
            messaging.channel("readings", delivery="at_least_once").send({"t": 21.5})

It lives on the background thread that all of `restsock.sync` share. Its methods block the calling
thread only, and may be called from any number of threads at once. Ctrl-C ends what waits. Handlers
and methods that are plain functions are called in threads, and may block.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any, TypeAlias, TypeVar

from restsock.connection import call_user_function, is_async
from restsock.endpoint import documented_like
from restsock.threads import BlockingContext
from restsock.websockets import Reconnect

from ._blocking import BlockingChannel as Channel
from ._blocking import BlockingMessage as Message
from ._blocking import BlockingReceipt as Receipt
from ._blocking import BlockingRequest as Request
from ._blocking import BlockingSession as Session
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
"""As `restsock.messaging.Where`. A function is called in the calling thread."""


def _adapt(function: Callable[..., Any]) -> Callable[..., Awaitable[Any]]:
    """Has a plain function called in a thread."""
    if is_async(function):
        return function

    async def call(*args: Any) -> Any:
        return await call_user_function(function, *map(seen_in_thread, args))

    return call


def _asked(authorize: Authorize | None) -> TrioAuthorize | None:
    """Has a session shown as this API has it."""
    if authorize is None:
        return None
    return lambda session, action, name: authorize(Session(session), action, name)


class Sessions(SessionsView[Session]):
    """The sessions of a messaging, as they are now, for threads. `Messaging.sessions`."""

    def __init__(self, portal: MessagingPortal, sessions: TrioSessions) -> None:
        super().__init__(portal, sessions, Session)

    @documented_like(TrioSessions.send)
    def send(
        self,
        session_id: str,
        body: Any,
        *,
        channel: str = "messages",
        headers: Mapping[str, str] | None = None,
        timeout: float | None = None,
    ) -> str:
        """Send a message to one session, at most once; return its id.

        Args:
            timeout: seconds to wait for room; `None` waits as long as it takes.

        Raises:
            TimeoutError: there is no room. It was not sent.
        """
        send = partial(self._sessions.send, session_id, body, channel=channel, headers=headers)
        return self._portal.run(timeout, send)

    @documented_like(TrioSessions.broadcast)
    def broadcast(
        self,
        channel: str,
        body: Any,
        *,
        where: Where | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> list[Sent]:
        """Send a message to all sessions, or to selected ones, at most once each.

        If one cannot be reached, the others still get it. Does not wait for peers. Returns what
        became of the message, for each session.
        """
        return self._portal.run(None, self._broadcasting(channel, body, where, headers))


class MessageStream(MessageStreamView):
    """The messages of a channel, one after the other. Made by `Messaging.messages`.

        with messaging.messages("readings") as readings:     # or without `with`
            for message in readings:
                ...
                message.ack()

    It is a handler of the channel until it is closed or dropped. Messages that it has given out and
    that are not acknowledged by then come again. Several threads may iterate over it; each message
    goes to one of them. The iteration ends when the messaging is closed.
    """

    def receive(self, timeout: float | None = None) -> Message:
        """Wait for the next message.

        Args:
            timeout: seconds to wait; `None` waits as long as it takes.

        Raises:
            TimeoutError: there was none in time. No message is lost.
            EOFError: there are no more: this or the messaging was closed.
            MessagingClosed: the messaging was not opened yet.
            RestsockError: this is the background thread, or the child of a fork.
        """
        with self._receiving() as (receive, taken):
            self._portal.run(timeout, receive)
        return Message(taken[0])

    def __iter__(self) -> MessageStream:
        return self

    def __next__(self) -> Message:
        try:
            return self.receive()
        except EOFError:
            raise StopIteration from None

    def __enter__(self) -> MessageStream:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()


class Messaging(MessagingFace):
    """A `restsock.messaging.Messaging` for threads.

        messaging = restsock.messaging.sync.Messaging(store=SQLiteStore("in.db"))

        @messaging.on("readings")
        def keep(message):
            database.insert(message.body)

        with messaging, restsock.sync.listen("127.0.0.1", 8443, messaging=messaging) as server:
            server.wait_closed()

    It owns its store, and lives on the background thread from when it is entered until it is
    closed. It is entered once. Any number of threads may share it.

    Args:
        store: keeps messages sent at least once, and notes of handled ones; by default a
            `MemoryStore`.
        options: limits and times.
        authorize: decides what peers may do; by default everything.

    Attributes:
        options: as given.
        sessions: the connected peers.
    """

    _context: BlockingContext[TrioMessaging] | None

    def __init__(
        self,
        store: Store | None = None,
        *,
        options: MessagingOptions | None = None,
        authorize: Authorize | None = None,
    ) -> None:
        super().__init__(store, options, _asked(authorize), _adapt)
        self.sessions = Sessions(self._portal, self._messaging.sessions)

    def __enter__(self) -> Messaging:
        """Opens the store, and begins.

        Raises:
            RuntimeError: it was entered before.
            RestsockError: this is the background thread itself.
            Exception: what makes the store unusable.
        """
        self._check_new()
        self._context = BlockingContext(self._living.run)
        return self

    def __exit__(self, kind: type[BaseException] | None, *exc: object) -> None:
        self._living.at_once = kind is not None
        self.close()

    def close(self) -> None:
        """Let handlers finish for `MessagingOptions.grace`, and close the store.

        For any thread. Calls that wait raise `MessagingClosed`. Twice is harmless. Leaving a `with`
        block does it; after an exception it does not wait for handlers.

        Raises:
            MessagingError: a handler has raised one whose `kind` is `"fatal"`.
            RestsockError: this is the background thread itself.
        """
        context = self._context
        if context is None or context.portal.foreign:
            return  # there is nothing to close, or it is the parent's
        context.portal.check_caller()
        context.close()

    # --- sending ------------------------------------------------------------------------------

    @documented_like(TrioMessaging.channel)
    def channel(
        self, name: str, *, delivery: Delivery = "at_most_once", to: str | Session = ""
    ) -> Channel:
        """A channel to a peer."""
        target = to.on_loop if isinstance(to, Session) else to
        return Channel(self._portal, self._messaging.channel(name, delivery=delivery, to=target))

    @documented_like(TrioMessaging.publish)
    def publish(self, channel: str, body: Any, *, headers: Mapping[str, str] | None = None) -> int:
        """Send a message to all subscribers of a channel, at most once each.

        The latest messages are kept for subscribers that reconnect
        (`MessagingOptions.history_messages`). Does not wait for peers. Returns how many sessions it
        was sent to.
        """
        publish = partial(self._messaging.publish, channel, body, headers=headers)
        return self._portal.run(None, publish)

    @documented_like(TrioMessaging.send_to)
    def send_to(
        self,
        origins: Sequence[str],
        body: Any,
        *,
        channel: str = "messages",
        headers: Mapping[str, str] | None = None,
    ) -> list[Sent]:
        """Send a message to several sessions, such as the `origins` of an aggregate.

        Returns what became of it, for each of them.
        """
        send = partial(self._messaging.send_to, origins, body, channel=channel, headers=headers)
        return self._portal.run(None, send)

    @documented_like(TrioMessaging.transact)
    def transact(self, work: Callable[[Transaction], T]) -> T:
        """Call a function in a transaction of the store's database, and return what it returns."""
        result: T = self._portal.run(None, self._messaging.transact, work)
        return result

    @documented_like(TrioMessaging.dial)
    def dial(
        self,
        url: str,
        dialect: Dialect,
        *,
        name: str | None = None,
        reconnect: Backoff = Reconnect(),  # noqa: B008  # it is frozen
        **options: Unpack[ConnectOptions],
    ) -> None:
        """Connect to a foreign peer, and keep connected until the messaging is closed.

            pool.submit(messaging.dial, "wss://feed.example/ws", Tremor())

        While there is no connection, messages to the peer wait: `channel(...)` without `to`, or
        with its name.

        Raises:
            KeyboardInterrupt: it was interrupted, and the connection is closed.
        """
        dial = partial(
            self._messaging.dial, url, dialect, name=name, reconnect=reconnect, **options
        )
        self._portal.run(None, dial)

    # --- receiving ----------------------------------------------------------------------------

    @documented_like(TrioMessaging.on)
    def on(
        self, channel: str, *, required: bool = True, ordered: bool = True, loop: str = "trio"
    ) -> Callable[[F], F]:
        """Make a function a handler of a channel: it is called in a thread with each `Message`.

        Each handler of a channel gets each message, even if another one fails. A message is
        acknowledged when all required handlers have returned. Otherwise it comes again, for those
        that have failed.

        Args:
            loop: for a coroutine function: `"trio"` for the background loop, or `"asyncio"` for a
                loop in a thread. It gets the message of that API.
        """
        decorate = self._messaging.on(channel, required=required, ordered=ordered, loop=loop)
        return partial(self._add, decorate)

    @documented_like(TrioMessaging.messages)
    def messages(self, channel: str, *, window: int = 1) -> MessageStream:
        """The messages of a channel, for a loop that handles them; see `on`.

            for message in messaging.messages("readings"):
                ...
                message.ack()

        The iteration ends when the messaging is closed.
        """
        make = partial(self._messaging.messages, channel, window=window)
        return MessageStream(self._portal, self._portal.look_up(make))

    @documented_like(TrioMessaging.method)
    def method(self, name: str, *, loop: str = "trio") -> Callable[[F], F]:
        """Make a function answer requests: it gets a `Request`, and returns a JSON value.

        A plain function runs in a thread; see `on`. If it raises, the peer gets an error: with the
        text of a `MessagingError`, or only the class name of another exception.
        """
        return partial(self._add, self._messaging.method(name, loop=loop))

    # --- dead letters -------------------------------------------------------------------------

    @documented_like(TrioMessaging.retry_dead_letters)
    def retry_dead_letters(
        self, ids: Sequence[str] | None = None, *, timeout: float | None = None
    ) -> int:
        """Send dead letters again, as new messages; by default all. Returns how many.

        Args:
            timeout: seconds to wait for the store and for room; `None` waits as long as it takes.

        Raises:
            TimeoutError: some were not sent yet. Another call sends the rest, and may send one of
                them twice.
        """
        return self._portal.run(timeout, self._messaging.retry_dead_letters, ids)
