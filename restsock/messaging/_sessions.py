"""Sessions: all peers that are connected."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, TypeAlias

import trio

from ._channel import Content
from ._driver import Driver
from ._errors import MessageTooLarge, MessagingError, QueueFull, SessionClosed, UnknownSession
from ._session import Session

__all__ = ["Sent", "Sessions", "Where"]

Where: TypeAlias = "Mapping[str, Any] | Callable[[Session], bool]"
"""Selects sessions: by values at dotted paths in their metadata, all of which have to be equal
(`{"peer.host": "10.0.0.7"}`). `id`, `name` and `principal` are those of the session, not of its
metadata. Or by a function."""


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
    """The open sessions of a messaging: `Messaging.sessions`."""

    def __init__(
        self, driver: Driver, encode: Callable[[str, Any, Mapping[str, str] | None], Content]
    ) -> None:
        self._driver = driver
        self._encode = encode

    def __len__(self) -> int:
        return len(self._driver.engine.peers) if self._driver.open else 0

    def __iter__(self) -> Iterator[Session]:
        """The oldest first."""
        peers = [*self._driver.engine.peers.values()] if self._driver.open else []
        return (peer.owner for peer in peers)

    def select(self, where: Where | None = None) -> list[Session]:
        """The selected sessions, oldest first; by default all."""
        if where is None:
            return [*self]
        if callable(where):
            return [session for session in self if where(session)]
        paths = [(path.split("."), value) for path, value in where.items()]
        return [one for one in self if all(_at(one, path) == value for path, value in paths)]

    def get(self, session_id: str) -> Session | None:
        """The session of that id, if there is one."""
        peer = self._driver.engine.peers.get(session_id) if self._driver.open else None
        return None if peer is None else peer.owner

    def named(self, name: str) -> Session | None:
        """The latest session of the peer of that name, if it is connected."""
        found = [session for session in self if session.name == name]
        return found[-1] if found else None

    async def send(
        self,
        session_id: str,
        body: Any,
        *,
        channel: str = "messages",
        headers: Mapping[str, str] | None = None,
    ) -> str:
        """Sends a message to one session, at most once.

        Returns:
            The id of the message.

        Raises:
            UnknownSession: there is no session of that id.
            MessagingError: as `Channel.send`.
        """
        session = self.get(session_id)
        if session is None:
            self._driver.check_open()
            raise UnknownSession(f"there is no session {session_id!r}")
        return await session.send(channel, body, headers=headers)

    async def broadcast(
        self,
        channel: str,
        body: Any,
        *,
        where: Where | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> list[Sent]:
        """Sends a message to all sessions, or to selected ones, at most once each.

        If one cannot be reached, the others still get it. A checkpoint; does not wait for peers.

        Returns:
            What became of it, for each session.

        Raises:
            MessageTooLarge: it does not fit into an envelope. InvalidMessage: the body is neither
            JSON nor bytes. MessagingClosed: the messaging is not open.
        """
        return await self.send_each(self.select(where), channel, body, headers)

    async def send_each(
        self,
        targets: Iterable[Session | str],
        channel: str,
        body: Any,
        headers: Mapping[str, str] | None,
    ) -> list[Sent]:
        """Sends a message, encoded once, to sessions or to what may be their ids.

        Raises:
            MessagingError: as `broadcast`.
        """
        await trio.lowlevel.checkpoint()
        self._driver.check_open()
        content = self._encode(channel, body, headers)
        engine, now = self._driver.engine, self._driver.now()
        outgoing = engine.message(channel, content.text, now)
        results = []
        for target in targets:
            session = self.get(target) if isinstance(target, str) else target
            error: MessagingError | None = None
            if session is None:
                results.append(Sent(str(target), None, UnknownSession("there is no such session")))
                continue
            if not session.open:
                error = SessionClosed("it is not connected any more", may_have_run=False)
            elif outgoing.size > session.state.link.max_message:
                error = MessageTooLarge(f"it takes {session.state.link.max_message} bytes")
            elif not engine.send_to(session.state, outgoing, now):
                error = QueueFull("too many messages wait for it")
            results.append(Sent(session.id, session.name, error))
        return results


def _at(session: Session, path: list[str]) -> Any:
    """The value at a path; `_NOTHING` if there is none."""
    match path:
        case ["id"]:
            return session.id
        case ["name"]:
            return session.name
        case ["principal"]:
            return None if session.principal is None else session.principal.name
    value: Any = session.metadata
    for name in path:
        if not isinstance(value, Mapping) or name not in value:
            return _NOTHING
        value = value[name]
    return value


_NOTHING = object()
