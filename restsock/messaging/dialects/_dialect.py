"""What a dialect is."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from restsock.messaging.engine import Outgoing
    from restsock.protocol import Envelope

__all__ = ["Dialect", "End", "Garbled", "Unsayable", "Wire", "milliseconds"]


@dataclass(frozen=True)
class End:
    """One end of a WebSocket to a foreign peer.

    Attributes:
        session_id: of the session.
        dialed: whether this side has dialed.
        host: of the peer; empty over a Unix socket.
        port: likewise, or 0.
        tls: whether the socket has TLS.
        new_id: makes the id of a message that has none.
    """

    session_id: str
    dialed: bool
    host: str
    port: int
    tls: bool
    new_id: Callable[[], str]


class Garbled(Exception):
    """A received message does not fit the dialect. It is counted, and the connection goes on.

    Args:
        kind: the name of its counter: `"parse_error"`, `"unknown_type"` and so on.
        fatal: whether nothing after it can be read, so that the connection has to end.
    """

    def __init__(self, kind: str, *, fatal: bool = False) -> None:
        super().__init__(kind)
        self.kind = kind
        self.fatal = fatal


class Unsayable(Exception):
    """A dialect cannot express a message. The text says why, and shows no data."""


class Wire(Protocol):
    """A dialect on one connection, with the state of that.

    Attributes:
        metadata: what it adds to the metadata of the session.
    """

    @property
    def metadata(self) -> Mapping[str, Any]: ...

    def receive(self, message: str | bytes, now: int) -> Iterator[Envelope | Garbled]:
        """What a message of the WebSocket says.

        Args:
            message: as it has come.
            now: nanoseconds since 1970.
        """

    def receive_end(self, now: int) -> Iterator[Envelope | Garbled]:
        """The last envelopes, at the end of the connection."""

    def encode(self, outgoing: Outgoing, now: int) -> Sequence[str | bytes]:
        """The messages of the WebSocket for an envelope; none if the dialect needs none.

        Raises:
            Unsayable: the dialect cannot express it.
        """

    def flush(self, now: int) -> Sequence[str | bytes]:
        """Messages that were held back, when nothing more waits to be sent.

        Raises:
            Unsayable: the dialect cannot express it.
        """


class Dialect(Protocol):
    """The message format of foreign peers. One object serves all connections."""

    @property
    def name(self) -> str:
        """Its name in configurations."""

    @property
    def acknowledges(self) -> bool:
        """Whether the peer acknowledges messages.

        If not, a message sent at least once counts as handled when it is written to the socket.
        """

    def wire(self, end: End) -> Wire:
        """The dialect on a new connection, with its state."""


def milliseconds(now: int) -> int:
    """Nanoseconds as a timestamp has them."""
    return now // 1_000_000
