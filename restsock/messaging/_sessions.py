"""Sessions: all peers that are connected."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeAlias

if TYPE_CHECKING:
    from ._errors import MessagingError
    from ._session import Session

__all__ = ["Sent", "Sessions", "Where"]

Where: TypeAlias = "Mapping[str, Any] | Callable[[Session], bool]"
"""Which sessions are meant: values by the dotted path in their metadata, all of which have to be
equal (`{"peer.host": "10.0.0.7"}`); `id`, `name` and `principal` are paths, too. Or a function."""


@dataclass(frozen=True, slots=True)
class Sent:
    """What became of a message to one session.

    Attributes:
        session_id: the id of the session.
        name: the name of its peer, if it has one.
        error: why it was not sent; `None` if it was.
    """

    session_id: str
    name: str | None
    error: MessagingError | None = None

    @property
    def ok(self) -> bool:
        """Whether it was sent."""
        return self.error is None


class Sessions:
    """The sessions of a messaging, as they are now. `Messaging.sessions`."""

    def __len__(self) -> int:
        raise NotImplementedError

    def __iter__(self) -> Iterator[Session]:
        raise NotImplementedError

    def select(self, where: Where | None = None) -> list[Session]:
        """Those that are meant, the oldest first."""
        raise NotImplementedError

    def get(self, session_id: str) -> Session | None:
        """The session of that id, if there is one."""
        raise NotImplementedError

    def named(self, name: str) -> Session | None:
        """The latest session of the peer of that name, if it is connected."""
        raise NotImplementedError

    async def send(
        self,
        session_id: str,
        body: Any,
        *,
        channel: str = "messages",
        headers: Mapping[str, str] | None = None,
    ) -> str:
        """Sends a message to one session, at most once.

        Raises:
            UnknownSession: there is no session of that id.
            MessagingError: as `Channel.send`.
        """
        raise NotImplementedError

    async def broadcast(
        self,
        channel: str,
        body: Any,
        *,
        where: Where | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> list[Sent]:
        """Sends a message to all sessions, or those that are meant, at most once each.

        One that cannot be reached does not keep the others from it.

        Returns:
            What became of it, for each session.

        Raises:
            MessageTooLarge: it is larger than an envelope may be.
            InvalidMessage: the body is neither JSON nor bytes.
        """
        raise NotImplementedError
