"""Messaging: channels, handlers and sessions of one program, over any number of connections."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from typing import TYPE_CHECKING, Any, TypeVar

import trio

from restsock.connection import Connection, check_trio
from restsock.protocol import MessagingSettings

from ._built_in import built_in_methods
from ._caller import Caller, check_loop
from ._channel import Channel
from ._connection_link import ConnectionLink
from ._driver import Driver
from ._errors import MessagingClosed
from ._foreign import ForeignPeers
from ._handlers import Handlers
from ._methods import Methods
from ._monitor import Monitor
from ._options import Delivery, MessagingOptions
from ._owner import Authorize, Owner
from ._session import Session
from ._sessions import Sent, Sessions
from ._statistics import MessagingHealth, MessagingStatistics, statistics_of
from ._store import MemoryStore, Store
from ._stream import MessageStream
from ._transaction import Transaction
from .engine import DeadLetter, Engine, Link, check_name

if TYPE_CHECKING:
    from types import TracebackType

__all__ = ["Authorize", "Messaging"]

F = TypeVar("F", bound=Callable[..., Any])
T = TypeVar("T")


class Messaging(ForeignPeers):
    """Sends and receives messages: at most once, or kept until they are handled; to one or all.

        messaging = restsock.messaging.Messaging()

        @messaging.on("readings")
        async def keep(message):
            await database.insert(message.body)

        async with messaging:
            async with restsock.listen("127.0.0.1", 8443, messaging=messaging):
                await trio.sleep_forever()

    It owns its store and its tasks, which end with the `async with` block. It is for one trio run,
    on the loop of its connections, and is entered once.

    Args:
        store: keeps messages sent at least once, and notes of handled ones; by default a
            `MemoryStore`.
        options: limits and times.
        authorize: decides what peers may do; by default everything.

    Attributes:
        options: as given.
        sessions: the connected peers.
        portal: to its loop, for threads and for asyncio.
    """

    def __init__(
        self,
        store: Store | None = None,
        *,
        options: MessagingOptions | None = None,
        authorize: Authorize | None = None,
    ) -> None:
        self.options = options or MessagingOptions()
        self._monitor = Monitor()
        self._handlers = Handlers(self.options.credit_messages)
        self._methods = Methods()
        self._owner = Owner(self.options, self._handlers, self._methods, self._monitor, authorize)
        driver = Driver(store or MemoryStore(), self.options, self._owner)
        self._driver = driver
        self._caller = Caller(driver)
        self.portal = driver.portal
        self._handlers.driver = self._methods.driver = self._owner.driver = driver
        self.sessions = self._owner.sessions = Sessions(driver, self._owner.content)
        for name, call in built_in_methods(driver, self.health).items():
            self._methods.add_built_in(name, call)
        self._connections: dict[Connection, ConnectionLink] = {}
        self._context: AbstractAsyncContextManager[None] | None = None

    def __repr__(self) -> str:
        return f"<restsock.messaging.Messaging, {len(self.sessions)} sessions>"

    async def __aenter__(self) -> Messaging:
        """Opens the store, and begins.

        Raises:
            RuntimeError: it was entered before.
            RestsockError: this is asyncio.
            Exception: what makes the store unusable.
        """
        check_trio("restsock.messaging.Messaging", "restsock.messaging.aio.Messaging")
        if self._context is not None:
            raise RuntimeError("a messaging can be entered once; make another one")
        self._context = self._driver.running()
        await self._context.__aenter__()
        self._driver.start_soon(self._monitor.sample_forever, self._driver)
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> bool | None:
        """Lets handlers come to their end for `MessagingOptions.grace`, and closes the store.

        Raises:
            MessagingError: a handler has raised one whose `kind` is `"fatal"`.
        """
        assert self._context is not None
        self._handlers.close()
        return await self._context.__aexit__(kind, error, traceback)

    # --- sending ------------------------------------------------------------------------------

    def channel(
        self, name: str, *, delivery: Delivery = "at_most_once", to: str | Session = ""
    ) -> Channel:
        """A channel to a peer.

        Args:
            name: of the channel; 1 to 255 printable characters.
            delivery: `"at_most_once"`: a message is sent once, and may be lost; `"at_least_once"`:
                it is kept until the receiver has handled it, which happens once.
            to: the name of a peer, or a session (which stands for its peer, if that has a name); by
                default the listener that was dialed.

        Raises:
            ValueError: the name or the delivery is not valid.
        """
        check_name("channel", name)
        if delivery not in ("at_most_once", "at_least_once"):
            raise ValueError(f"delivery is at_most_once or at_least_once, not {delivery!r}")
        destination = to.state.destination.name if isinstance(to, Session) else to
        if isinstance(to, str) and to:
            check_name("peer's name", to)
        return Channel(self._driver, self.options, name, destination, delivery)

    async def publish(
        self, channel: str, body: Any, *, headers: Mapping[str, str] | None = None
    ) -> int:
        """Sends a message to all subscribers of a channel, at most once each.

        The latest messages are kept for subscribers that reconnect
        (`MessagingOptions.history_messages`). A checkpoint; does not wait for peers.

        Returns:
            How many sessions it was sent to.

        Raises:
            MessagingError: as `Sessions.broadcast`.
            ValueError: the channel is not valid.
        """
        check_name("channel", channel)
        await trio.lowlevel.checkpoint()
        self._driver.check_open()
        content = self._owner.content(channel, body, headers)
        now = self._driver.now()
        return len(self._driver.engine.publish(channel, content.text, now))

    async def send_to(
        self,
        origins: Sequence[str],
        body: Any,
        *,
        channel: str = "messages",
        headers: Mapping[str, str] | None = None,
    ) -> list[Sent]:
        """Sends a message to several sessions, such as the `origins` of an aggregate.

        Returns:
            What became of it, for each of them.

        Raises:
            MessagingError: as `Sessions.broadcast`.
            ValueError: the channel is not valid.
        """
        check_name("channel", channel)
        return await self.sessions.send_each(dict.fromkeys(origins), channel, body, headers)

    async def transact(self, work: Callable[[Transaction], T]) -> T:
        """Calls a function in a transaction of the store's database, to make or read tables.

            await messaging.transact(lambda transaction: transaction.execute(
                "CREATE TABLE IF NOT EXISTS readings (t REAL)"))

        `Message.transact` does so together with the note that a message is handled. A cancellation
        waits until the transaction has ended.

        Args:
            work: see `Message.transact`.

        Returns:
            What the function has returned. Then everything is stored.

        Raises:
            StoreFailed: the store could not do it. Nothing is stored.
            MessagingClosed: it is not open.
            RuntimeError: the store has no transactions; `SQLiteStore` has.
            TypeError: `work` is not a plain function.
            BaseException: what the function has raised. Nothing is stored.
        """
        return await self._driver.transact(work)

    # --- receiving ----------------------------------------------------------------------------

    def on(
        self,
        channel: str,
        *,
        required: bool = True,
        ordered: bool = True,
        loop: str = "trio",
    ) -> Callable[[F], F]:
        """Makes a function a handler of a channel. It is called with each `Message`.

        Each handler of a channel gets each message, even if another one fails. A message is
        acknowledged when all required handlers have returned. Otherwise it comes again, for those
        that have failed.

        Args:
            channel: the channel; `"*"` for all that have no handler of their own.
            required: whether the acknowledgement waits for it.
            ordered: whether the messages of one sender are handled one after the other.
            loop: `"trio"`, or `"asyncio"` for a coroutine function that runs on an asyncio loop in
                a thread; it gets a `restsock.messaging.aio.Message`. A plain function runs in a
                thread, and gets a `restsock.messaging.sync.Message`.

        Raises:
            ValueError: the channel or the loop is not valid.
        """
        check_name("channel", channel)
        check_loop(loop)

        def add(function: F) -> F:
            call = self._caller.prepare(function, loop)
            handler = self._handlers.function(call, required=required, ordered=ordered)
            self._handlers.add(channel, handler)
            return function

        return add

    def messages(self, channel: str, *, window: int = 1) -> MessageStream:
        """The messages of a channel, for a loop that handles them; see `on`.

            async for message in messaging.messages("readings"):
                ...
                await message.ack()

        Args:
            channel: the channel.
            window: how many messages of one sender may be given out before the first of them has
                its `ack` or `nack`. With 1 they come strictly in order. With more, a message that
                was not handled may come again after later ones.

        Raises:
            ValueError: the channel or the window is not valid.
        """
        check_name("channel", channel)
        if window < 1:
            raise ValueError(f"window must be 1 or more, not {window!r}")
        return MessageStream(self._handlers, channel, window)

    def method(self, name: str, *, loop: str = "trio") -> Callable[[F], F]:
        """Makes a function answer requests: it gets a `Request`, and returns a JSON value.

        In a thread, or on asyncio, it gets the `Request` of that API; see `on`.

        If it raises, the peer gets an error: with the text of a `MessagingError`, or only the class
        name of another exception. `backpressure`, `status`, `replay`, `subscribe` and `unsubscribe`
        exist already, and may be replaced. `"*"` is for all methods without a function.

        Raises:
            ValueError: the name or the loop is not valid, or the method has a function already.
        """
        check_loop(loop)

        def add(function: F) -> F:
            self._methods.add(name, self._caller.prepare(function, loop))
            return function

        return add

    def recheck(self) -> int:
        """Ends the subscriptions that `authorize` no longer allows. On the loop.

        Call it when the answers of `authorize` have changed, since that is called only when a peer
        subscribes. Peers are not told.

        Returns:
            How many subscriptions were ended.

        Raises:
            MessagingClosed: the messaging is not open.
        """
        self._driver.check_open()
        return self._driver.recheck()

    # --- dead letters -------------------------------------------------------------------------

    @property
    def dead_letters(self) -> Sequence[DeadLetter]:
        """Messages that were given up, oldest first: the latest `MessagingOptions.dead_letters`."""
        return self._owner.dead_letters.list()

    def on_dead_letter(self, function: F) -> F:
        """Registers a function for new `DeadLetter`s. It runs on the loop and must not block."""
        self._owner.dead_letters.hooks.append(function)
        return function

    async def retry_dead_letters(self, ids: Sequence[str] | None = None) -> int:
        """Sends dead letters again, as new messages; by default all in `dead_letters`.

        Returns:
            How many.

        Raises:
            MessagingError: as `Channel.send`. Those before it were sent.
        """
        return await self._owner.dead_letters.retry(ids)

    def on_recovery(self, function: F) -> F:
        """Registers a function that is called when messages of a subscription are lost.

        They were sent while the connection was down. Its arguments are the session, the channel,
        and how many are lost (`None`: not known). It runs on the loop and must not block.
        """
        self._owner.recovery_hooks.append(function)
        return function

    def on_request(self, function: F) -> F:
        """Registers a function that is called after each request of this side, for measuring.

        Its arguments are the method, and the seconds until the answer or the time-out. It runs on
        the loop and must not block.
        """
        self._owner.request_hooks.append(function)
        return function

    # --- what it is doing ---------------------------------------------------------------------

    def statistics(self) -> MessagingStatistics:
        """Counters since it was opened.

        Raises:
            MessagingClosed: it was not opened yet.
        """
        return statistics_of(
            self._engine(), self._owner.requests, self._methods.received, self._monitor.redials
        )

    def health(self) -> MessagingHealth:
        """Whether it is healthy.

        It is not while a carrier listens and nobody has been connected for 5 minutes, after a
        carrier has given up dialing, and while a queue has been full for 30 s.
        """
        return self._monitor.health_of(self._driver)

    def _engine(self) -> Engine:
        if not hasattr(self._driver, "engine"):
            raise MessagingClosed("this messaging was not opened yet")
        return self._driver.engine

    # --- for clients and servers (see `restsock.connection.MessagingLike`) --------------------

    @property
    def settings(self) -> MessagingSettings:
        """What peers are told of it."""
        options = self.options
        return MessagingSettings(options.max_message, options.credit_messages, options.credit_bytes)

    def check_running(self) -> None:
        """Raises `RuntimeError` unless it is open, on this loop."""
        if not (self._driver.open and self._driver.here):
            raise RuntimeError(
                "this messaging is not open here: the client or server goes into its"
                ' "async with" block'
            )

    def attach_connection(self, connection: Connection) -> None:
        """Learns of a connection that is about to begin."""
        if self._driver.open:
            self._connections[connection] = ConnectionLink(self, connection)

    def detach_connection(self, connection: Connection) -> None:
        """Learns that it has ended; or one that was never attached."""
        link = self._connections.pop(connection, None)
        if link is not None:
            link.end()

    # --- for carriers -------------------------------------------------------------------------

    def attach(self, link: Link) -> Session:
        """A connection is open. On the loop.

        Raises:
            MessagingClosed: the messaging is not open.
            ValueError: there is a session of that id.
        """
        self._driver.check_open()
        if link.id in self._driver.engine.peers:
            raise ValueError(f"there is a session {link.id!r} already")
        session = Session(link, self._driver, self._owner)
        self._monitor.note_connected(dialed=link.dialed)
        session.state = self._driver.engine.attach(link, self._driver.now())
        session.state.owner = session
        self._owner.resubscribe(session)
        self._driver.changed()
        return session

    async def wait_until(self, reached: Callable[[], bool]) -> None:
        """Waits until a function returns true. Can be cancelled.

        It is called at once, and whenever a session begins or ends, messages are handled here or by
        a peer, or everything is written to the socket of a foreign peer. It must be quick. Its
        exceptions are raised here.
        """
        await self._driver.wait_until(reached)

    def unavailable(self, name: str | None, *, dialed: bool, connected: bool = True) -> None:
        """A peer has connected that knows no messaging, or has gone again.

        What is sent to it while it is connected is refused.
        """
        if self._driver.open and (name is not None or dialed):
            self._driver.engine.without(name or "", connected=connected)

    def note_listening(self) -> None:
        """A carrier waits for peers: with nobody connected for 5 minutes, it is not healthy."""
        self._monitor.note_listening(trio.current_time())

    def note_dialing(self, *, again: bool = False) -> None:
        """A carrier begins to dial; `again` counts as an attempt to reconnect."""
        self._monitor.note_dialing(again=again)

    def note_gave_up(self, reason: str) -> None:
        """A carrier dials no more: it is not healthy until one that it has dialed is attached."""
        self._monitor.note_gave_up(reason)

    def note_error(self, kind: str) -> None:
        """Counts an error of a carrier: `"auth_failed"`, `"upgrade_error"` and so on."""
        counters = self._engine().counters
        counters.one(counters.errors, kind)
