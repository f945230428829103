"""Message: what a handler gets."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, TypeVar

import trio

from .engine import MAX_SECONDS, Delivery, Refusal, sayable

if TYPE_CHECKING:
    from ._options import Delivery as DeliveryPromise
    from ._session import Session
    from ._transaction import Transaction

__all__ = ["Message"]

T = TypeVar("T")


class Message:
    """One message of a peer.

    When a handler returns, the message is handled; when it raises, it is not. So most handlers need
    no method of this class. A loop over `Messaging.messages()` has to call `ack` or `nack`.

    Attributes:
        body: any JSON value, or bytes.
        channel: the channel.
        id: the id that its sender has given it.
        timestamp: Unix time of the sender in milliseconds; it may be wrong.
        headers: text by name, from the sender.
        seq: its number in the channel; 0 if the peer gives none.
        attempt: 1, or more if it was delivered before and not handled.
        delivery: `"at_most_once"` or `"at_least_once"`, as the sender says.
        missed: how many messages of the channel just before this one are lost; 0 for none, `None`
            if it is not known.
        session: the session that it came from.
        reply_to: the id of a session, or the name of a peer, that gets an answer: by default the
            sender's, or another one that the sender may name.
        origins: the ids of the sessions that it came from: one, unless you set it to those of
            several messages, for an aggregate.
    """

    __slots__ = (
        "_alone",
        "_delivery",
        "_done",
        "_said",
        "attempt",
        "body",
        "channel",
        "delivery",
        "headers",
        "id",
        "missed",
        "origins",
        "refusal",
        "reply_to",
        "seq",
        "session",
        "timestamp",
    )

    def __init__(self, delivery: Delivery, *, alone: bool = True) -> None:
        data = delivery.data
        session: Session = delivery.session.owner
        self.body: Any = data.body
        self.channel: str = data.channel
        self.id: str = data.id
        self.timestamp: int = data.timestamp
        self.headers: Mapping[str, str] = data.headers
        self.seq: int = data.seq
        self.attempt: int = data.attempt
        self.delivery: DeliveryPromise = "at_least_once" if data.reliable else "at_most_once"
        self.missed: int | None = delivery.missed
        self.session: Session = session
        self.reply_to: str = data.reply_to or session.id
        self.origins: tuple[str, ...] = (session.id,)
        self.refusal: Refusal | None = None
        self._delivery = delivery
        self._alone = alone
        self._said = False
        self._done: trio.Event | None = None

    def __repr__(self) -> str:
        return f"<restsock.messaging.Message {self.id} on {self.channel!r}>"

    @property
    def acknowledged(self) -> bool:
        """Whether `ack` was called."""
        return self._said and self.refusal is None

    async def reply(
        self, body: Any, *, channel: str | None = None, headers: Mapping[str, str] | None = None
    ) -> None:
        """Sends an answer to `reply_to`, at most once.

        Args:
            body: any JSON value, or bytes.
            channel: the channel; by default that of this message.
            headers: text by name.

        Raises:
            MessagingError: as `Sessions.send`.
        """
        channel = channel or self.channel
        await self.session.reply(self.reply_to, body, channel=channel, headers=headers)

    async def ack(self) -> None:
        """Says that it is handled. Has no effect after another `ack` or a `nack`.

        For a message from `Messaging.messages()`, it returns when the store has noted it. In a
        handler function it takes effect when the function ends, even if that raises. If cancelled,
        it still takes effect.
        """
        self._say(None)
        stored: trio.Event | None = self._delivery.owner
        if stored is None:
            await trio.lowlevel.checkpoint()
        else:
            await stored.wait()

    def nack(
        self, reason: str = "", *, retry_after: float | None = None, final: bool = False
    ) -> None:
        """Says that it is not handled. In a handler function, it takes effect when that ends.

        For any thread. Has no effect after `ack`.

        Args:
            reason: why, in a few words, for the sender's log.
            retry_after: seconds to wait before it is sent again.
            final: never send it again: it becomes a dead letter of its sender.
        """
        if retry_after is not None and not 0 <= retry_after <= MAX_SECONDS:
            raise ValueError(f"retry_after must be 0 to {MAX_SECONDS} seconds, not {retry_after!r}")
        self._say(Refusal(sayable(reason) or "refused", retry_after, final))

    async def transact(self, work: Callable[[Transaction], T]) -> T:
        """Handles it in the store: changes that the function makes there happen exactly once.

            def keep(transaction):
                transaction.execute("INSERT INTO readings VALUES (?)", [message.body["t"]])

            await message.transact(keep)

        The function is called in a transaction of the store's database, which also notes that the
        message is handled. Both are stored, or neither, so a process that is killed at any moment
        does not repeat it. When this returns, the message is acknowledged, as by `ack`.

        A message that is sent at most once never comes again anyway. After a restart, peers without
        a name and foreign peers are not recognized: if that matters, have the function store `id`.

        It needs a `SQLiteStore`, and this must be the only required handler of the channel. A
        cancellation waits until the transaction has ended.

        Args:
            work: a plain function that is called with a `Transaction`, in a thread of the store. It
                should only use that and be quick: the whole store waits for it. It may be called
                again if the transaction has to be repeated.

        Returns:
            What the function has returned.

        Raises:
            StoreFailed: the store could not do it. Nothing is stored, nor is the message handled.
            MessagingClosed: the messaging is not open.
            RuntimeError: the message has its ack or nack, this is not the only required handler, or
                the store has no transactions.
            TypeError: `work` is not a plain function.
            BaseException: what the function has raised. Nothing is stored, nor is it handled.
        """
        if self._said:
            raise RuntimeError("this message has its ack or nack already")
        if not self._alone:
            raise RuntimeError("transact is for the only required handler of a channel")
        self._said = True  # nobody else may say anything meanwhile
        try:
            result = await self.session.transact_message(self._delivery, work)
        except BaseException:
            self._said = False
            raise
        self._said = False
        self._say(None)
        return result

    def working(self, seconds: float) -> None:
        """Asks for time: the sender waits this many seconds from now before it sends it again.

        For any thread. Does nothing for a message that is sent at most once.
        """
        if not 0 < seconds <= MAX_SECONDS:
            raise ValueError(f"seconds must be above 0 and at most {MAX_SECONDS}, not {seconds!r}")
        self.session.working(self._delivery, seconds)

    def _say(self, refusal: Refusal | None) -> None:
        if not self._said:
            self._said = True
            self.refusal = refusal
            if self._done is not None:
                self.session.call_soon(self._done.set)

    def give_out(self) -> trio.Event:
        """It is given to who has to say `ack` or `nack`, which sets the event. For its stream."""
        self._done = trio.Event()
        if self.session.durable and self.delivery == "at_least_once":
            self._delivery.owner = trio.Event()
        return self._done
