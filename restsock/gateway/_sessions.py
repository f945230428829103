"""`Sessions`: who is connected to a gateway."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

from restsock.protocol import CloseCode

from ._session import Delivery

if TYPE_CHECKING:
    from ._session import Session

__all__ = ["Sessions"]

T = TypeVar("T")


class SessionsHost(Protocol):
    """A gateway, as its registry knows it."""

    def call_here(self, function: Callable[..., T], *args: Any) -> T:
        """Calls a quick function on the loop, from any thread."""


class Sessions:
    """The sessions of a gateway whose WebSocket was accepted, of all its channels.

    Methods can be called from any thread, and from tasks of trio and asyncio. Iteration goes over a
    snapshot, oldest first. Looking for a session that does not exist raises no error.

        gateway.sessions.send(id, {"action": "tick", "price": 17})
        gateway.sessions.broadcast({"action": "news"})
    """

    def __init__(self, host: SessionsHost) -> None:
        self._host = host
        self._sessions: dict[str, Session] = {}

    def __len__(self) -> int:
        return len(self._sessions)

    def __iter__(self) -> Iterator[Session]:
        return iter(self._host.call_here(lambda: [*self._sessions.values()]))

    def __contains__(self, session: object) -> bool:
        return getattr(session, "id", session) in self._sessions

    def get(self, id: str) -> Session | None:
        """The session with this id, or `None`."""
        return self._sessions.get(id)

    def where(
        self, predicate: Callable[[Session], object] | None = None, **metadata: Any
    ) -> list[Session]:
        """The sessions that have these metadata, and for which a function is true.

        Args:
            predicate: Called with each session, on the loop: it has to be quick.
            metadata: Values that have to be equal.
        """

        def fits(session: Session) -> bool:
            known = session.metadata
            if any(name not in known or known[name] != metadata[name] for name in metadata):
                return False
            return predicate is None or bool(predicate(session))

        return self._host.call_here(lambda: [*filter(fits, self._sessions.values())])

    def send(self, id: str, body: Any) -> Delivery:
        """Pushes a message to a session; see `Session.send`.

        Raises:
            TypeError: Its dialect has no way to say it.
            ValueError: Likewise.
        """
        session = self.get(id)
        return Delivery.GONE if session is None else session.send_nowait(body)

    def broadcast(self, body: Any, *, except_: Collection[str] = ()) -> dict[str, Delivery]:
        """Pushes a message to all sessions. It is encoded once for each dialect.

        A thousand sessions take the loop some hundredths of a second.

        Args:
            body: A value of JSON, text or bytes.
            except_: Ids of sessions that do not get it.

        Returns:
            What has become of it, by the ids of the sessions.

        Raises:
            TypeError: A dialect has no way to say it. Nobody gets it then.
            ValueError: Likewise.
        """
        return self.send_to(self, body, except_)

    def send_to(
        self, sessions: Iterable[Session], body: Any, except_: Collection[str] = ()
    ) -> dict[str, Delivery]:
        """Sends something to some sessions; see `broadcast`.

        Raises:
            TypeError: A dialect has no way to say it. Nobody gets it then.
            ValueError: Likewise.
        """
        chosen = [session for session in sessions if session.id not in except_]
        dialects = {session.dialect for session in chosen}
        encoded = {dialect: dialect.push(body) for dialect in dialects}
        return self._host.call_here(
            lambda: {each.id: each.deliver(encoded[each.dialect]) for each in chosen}
        )

    def close(self, id: str, code: int = CloseCode.NORMAL, reason: str = "") -> bool:
        """Closes a session; returns whether it exists. See `Session.close`.

        Raises:
            ValueError: This is no code to send.
        """
        session = self.get(id)
        if session is not None:
            session.close(code, reason)
        return session is not None

    # --- for channels, on the loop ----------------------------------------------------------

    def enter(self, session: Session) -> None:
        """One is connected."""
        self._sessions[session.id] = session

    def leave(self, session: Session) -> None:
        """One has ended."""
        self._sessions.pop(session.id, None)

    def __repr__(self) -> str:
        return f"<Sessions, {len(self)}>"
