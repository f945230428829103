"""Session: one peer that messages are exchanged with, for as long as it is connected."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from restsock._principal import Principal
    from restsock.protocol import Envelope

    from ._options import Delivery

__all__ = ["Session", "Subscribed"]


class Subscribed:
    """What became of a subscription.

    Attributes:
        recovered: whether nothing is missing since the last message that was had.
        missed: how many messages are; `None` if that is not known.
    """

    recovered: bool
    missed: int | None


class Session:
    """One peer while it is connected.

    Attributes:
        id: that of its connection.
        name: the name of the peer, if it has one.
        principal: who it is, if it was asked.
        metadata: what is known of it.
        connected_at: Unix time in seconds.
        foreign: whether it speaks a foreign dialect.
        open: whether it is still connected.
    """

    id: str
    name: str | None
    principal: Principal | None
    metadata: Mapping[str, Any]
    connected_at: float
    foreign: bool
    open: bool

    async def send(
        self,
        channel: str,
        body: Any,
        *,
        headers: Mapping[str, str] | None = None,
        reply_to: str | None = None,
        delivery: Delivery = "at_most_once",
    ) -> str:
        """Sends a message to this session; see `Channel.send`.

        Raises:
            SessionClosed: the session has ended, and the peer has no name under which it may come
                back.
            MessagingError: as `Channel.send`.
        """
        raise NotImplementedError

    async def ask(self, method: str, params: Any = None, *, timeout: float | None = None) -> Any:
        """Asks the peer, and waits for its answer.

        At most `MessagingOptions.ask_limit` are open at once; more wait for their turn. If
        cancelled, the answer is dropped.

        Args:
            method: what is asked for.
            params: any JSON value.
            timeout: seconds, with the wait for its turn; `MessagingOptions.ask_timeout` by default.

        Returns:
            What the peer's method has returned: any JSON value.

        Raises:
            AskTimeout: there was no answer in time.
            AskFailed: the answer is an error.
            SessionClosed: the session has ended.
            InvalidMessage: the parameters are not JSON.
            MessageTooLarge: they are larger than an envelope may be.
        """
        raise NotImplementedError

    async def subscribe(self, channel: str, *, timeout: float | None = None) -> Subscribed:
        """Subscribes to what the peer publishes on a channel. It comes to the handlers of that.

        Where the peer has a name (or is the listener that was dialed), it is subscribed again
        whenever it comes back, and sends what was missed, as far as it still has that.

        Raises:
            MessagingError: as `ask`.
        """
        raise NotImplementedError

    async def unsubscribe(self, channel: str, *, timeout: float | None = None) -> None:
        """Ends a subscription.

        Raises:
            MessagingError: as `ask`.
        """
        raise NotImplementedError

    def close_soon(self, code: int = 1000, reason: str = "") -> None:
        """Begins to close the connection, and does not wait."""
        raise NotImplementedError

    # --- for carriers -------------------------------------------------------------------------

    def receive(self, envelope: Envelope, size: int) -> None:
        """Takes in an envelope. Never waits, and raises nothing: a malformed one is counted.

        Args:
            envelope: as it came; the payload may be anything.
            size: bytes of the message that it came in.
        """
        raise NotImplementedError

    def writable(self) -> None:
        """There is room again, after a `Link.send` that had none."""
        raise NotImplementedError

    def detach(self, reason: str) -> None:
        """The connection has ended. A second call does nothing."""
        raise NotImplementedError

    async def ready(self) -> None:
        """Waits until more may be read: at once, unless a queue is full whose policy is to block.

        For foreign carriers, which have no credit. Raises nothing.
        """
        raise NotImplementedError
