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
    """Something that has come is none of the dialect. It is counted, and the connection goes on.

    Args:
        kind: as it is counted: `"parse_error"`, `"unknown_type"` and so on.
        fatal: whether nothing that comes after it can be read, so that the connection ends.
    """

    def __init__(self, kind: str, *, fatal: bool = False) -> None:
        super().__init__(kind)
        self.kind = kind
        self.fatal = fatal


class Unsayable(Exception):
    """A dialect has no way to say something. The text says why, and shows no data."""


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
        """What is left when nothing more comes."""

    def encode(self, outgoing: Outgoing, now: int) -> Sequence[str | bytes]:
        """The messages of the WebSocket that say it; none where it goes without saying.

        Raises:
            Unsayable: it cannot be said.
        """

    def flush(self, now: int) -> Sequence[str | bytes]:
        """What was held back to go with more, once there is nothing more for now.

        Raises:
            Unsayable: it cannot be said.
        """


class Dialect(Protocol):
    """What foreign peers say. One does for all connections."""

    @property
    def name(self) -> str:
        """What it is called in configurations."""

    @property
    def acknowledges(self) -> bool:
        """Whether the peer says what it has handled.

        Where it does not, what is sent at least once counts as handled when it was written to the
        socket.
        """

    def wire(self, end: End) -> Wire:
        """The dialect on a connection that is new."""


def milliseconds(now: int) -> int:
    """Nanoseconds as a timestamp has them."""
    return now // 1_000_000
