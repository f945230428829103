"""Link: one connection, as the engine knows it. A carrier makes them.

The order of calls in `restsock.messaging`, all on its loop:

1. the carrier calls `Messaging.attach(link)` when its connection is open, and gets a `Session`;
2. `Session.receive(envelope, size)` for each envelope that comes, `Session.writable()` when a
   `send` had no room and there is some now;
3. `Session.detach(reason)` when the connection has ended, for whatever reason.

A foreign carrier, one without credit, also awaits `Session.ready()` before it reads more.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from restsock._principal import Principal

    from ._outgoing import Outgoing

__all__ = ["Link"]


class Link(Protocol):
    """One connection to a peer that takes envelopes."""

    @property
    def id(self) -> str:
        """Of the connection, unique among those of a messaging."""

    @property
    def name(self) -> str | None:
        """The name of the peer; `None` if it has none."""

    @property
    def dialed(self) -> bool:
        """Whether this side has dialed.

        Messages to the destination `""` go over a link that was dialed and whose peer has no name.
        """

    @property
    def principal(self) -> Principal | None:
        """Who the peer is, if it was asked."""

    @property
    def metadata(self) -> Mapping[str, Any]:
        """What is known of the peer, for `where=`: JSON values; `{"peer": {"host": ...}}`."""

    @property
    def connected_at(self) -> float:
        """Unix time in seconds."""

    @property
    def max_message(self) -> int:
        """Bytes of an encoded envelope that the other side takes."""

    @property
    def credit(self) -> tuple[int, int] | None:
        """How many messages and bytes of `data` the peer lets this side send to begin with.

        `None` for a foreign peer, which has no credit.
        """

    @property
    def foreign(self) -> bool:
        """Whether the peer knows no credit, attempts and resuming, only what its dialect can say.

        `data` of such a peer may lack all members but `channel` and `body`.
        """

    @property
    def room(self) -> int:
        """Bytes that may be queued now; 0 or less when `send` would refuse."""

    def send(self, outgoing: Outgoing) -> bool:
        """Queues an envelope. Never blocks, never raises, and never calls back.

        Returns:
            `False` if there is no room, or the connection has ended: nothing was queued, and the
            engine keeps it until `Session.writable()`.
        """

    def close_soon(self, code: int, reason: str) -> None:
        """Begins to close the connection, and does not wait. The carrier detaches as usual."""
