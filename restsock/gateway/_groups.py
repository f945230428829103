"""`Groups`: named sets of sessions, to send to all at once."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

if TYPE_CHECKING:
    from ._session import Delivery, Session

__all__ = ["Groups"]

T = TypeVar("T")


class GroupsHost(Protocol):
    """A gateway, as its groups know it."""

    def call_here(self, function: Callable[..., T], *args: Any) -> T:
        """Calls a quick function on the loop, from any thread."""

    def find_session(self, id: str) -> Session | None:
        """The session with this id."""

    def send_to(
        self, sessions: Iterable[Session], body: Any, except_: Collection[str]
    ) -> dict[str, Delivery]:
        """Sends something to each of them but for these ids."""


class Groups:
    """Sessions by the names of groups. A group exists while it has members.

    Methods can be called from any thread, and from tasks of trio and asyncio. A session that ends
    leaves its groups.

        gateway.groups.add("room-7", session)
        gateway.groups.send("room-7", {"action": "joined"}, except_=[session.id])
    """

    def __init__(self, host: GroupsHost) -> None:
        self._host = host
        self._members: dict[str, dict[str, Session]] = {}

    def add(self, name: str, session: Session | str) -> bool:
        """Adds a session, given as such or by its id; returns whether it exists. Twice is harmless.

        Raises:
            TypeError: The name is no text.
            ValueError: The name is empty or longer than 255 characters.
        """
        return self._host.call_here(self._change, session, name, True)

    def remove(self, name: str, session: Session | str) -> bool:
        """Removes a session, given as such or by its id; returns whether it was in the group."""
        return self._host.call_here(self._change, session, name, False)

    def members(self, name: str) -> list[Session]:
        """The sessions in a group, oldest members first; empty if there is no such group."""
        return self._host.call_here(lambda: [*self._members.get(name, {}).values()])

    def send(self, name: str, body: Any, *, except_: Collection[str] = ()) -> dict[str, Delivery]:
        """Sends something to all sessions in a group; see `Session.send`. It is encoded once.

        Args:
            name: Of the group.
            body: A value of JSON, text or bytes.
            except_: Ids of sessions that do not get it.

        Returns:
            What became of the message, by the ids of the sessions.

        Raises:
            TypeError: A dialect cannot express it. Then nobody gets it. ValueError: Likewise.
        """
        return self._host.send_to(self.members(name), body, except_)

    def __len__(self) -> int:
        """How many groups there are."""
        return len(self._members)

    def __iter__(self) -> Iterator[str]:
        """The names, as they are now."""
        return iter(self._host.call_here(lambda: [*self._members]))

    def __contains__(self, name: object) -> bool:
        return name in self._members

    def _change(self, session: Session | str, name: str, here: bool) -> bool:
        found = self._host.find_session(session) if isinstance(session, str) else session
        if found is None or (here and found.closed):
            return False
        there = name in found.groups
        (found.groups.add if here else found.groups.discard)(name)
        return here or there

    # --- for sessions, on the loop ---------------------------------------------------

    def enter(self, name: str, session: Session) -> None:
        """One is in it from now on."""
        self._members.setdefault(name, {})[session.id] = session

    def leave(self, name: str, session: Session) -> None:
        """One is in it no more."""
        members = self._members.get(name, {})
        members.pop(session.id, None)
        if not members:
            self._members.pop(name, None)
