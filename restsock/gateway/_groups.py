"""`Groups`: sets of sessions by name, to which something is sent at once."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, MutableSet
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

if TYPE_CHECKING:
    from ._session import Delivery, Session

__all__ = ["Groups", "SessionGroups"]

T = TypeVar("T")

_MAX_NAME = 255


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
    """Sessions by the names of groups. A group exists while somebody is in it.

    All of it is for any thread, and for tasks of trio and asyncio. A session that ends leaves its
    groups.

        gateway.groups.add("room-7", session)
        gateway.groups.send("room-7", {"action": "joined"}, except_=[session.id])
    """

    def __init__(self, host: GroupsHost) -> None:
        self._host = host
        self._members: dict[str, dict[str, Session]] = {}

    def add(self, name: str, session: Session | str) -> bool:
        """Adds a session, or that with this id; tells whether there is one. Twice is harmless.

        Raises:
            TypeError: The name is no text.
            ValueError: The name is empty or longer than 255 characters.
        """
        return self._host.call_here(self._change, session, name, True)

    def remove(self, name: str, session: Session | str) -> bool:
        """Removes a session, or that with this id; tells whether it was in the group."""
        return self._host.call_here(self._change, session, name, False)

    def members(self, name: str) -> list[Session]:
        """The sessions in a group, those that came first at first; none if there is no such."""
        return self._host.call_here(lambda: [*self._members.get(name, {}).values()])

    def send(self, name: str, body: Any, *, except_: Collection[str] = ()) -> dict[str, Delivery]:
        """Sends something to all sessions in a group; see `Session.send`. It is encoded once.

        Args:
            name: Of the group.
            body: A value of JSON, text or bytes.
            except_: Ids of sessions that do not get it.

        Returns:
            What has become of it, by the ids of the sessions.

        Raises:
            TypeError: A dialect has no way to say it. Nobody gets it then.
            ValueError: Likewise.
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

    # --- for `SessionGroups`, on the loop ---------------------------------------------------

    def enter(self, name: str, session: Session) -> None:
        """One is in it from now on."""
        self._members.setdefault(name, {})[session.id] = session

    def leave(self, name: str, session: Session) -> None:
        """One is in it no more."""
        members = self._members.get(name, {})
        members.pop(session.id, None)
        if not members:
            self._members.pop(name, None)


class SessionGroups(MutableSet[str]):
    """The names of the groups that one session is in. For any thread.

    Adding a name to it puts the session into the group, unless the session has ended.
    """

    def __init__(self, session: Session) -> None:
        self._session = session
        self._names: dict[str, None] = {}

    def add(self, name: str) -> None:
        """Puts the session into a group.

        Raises:
            TypeError: The name is no text.
            ValueError: The name is empty or longer than 255 characters.
        """
        self._here(self._add, _checked(name))

    def discard(self, name: str) -> None:
        """Takes the session out of a group, if it is in it."""
        self._here(self._discard, name)

    def clear(self) -> None:
        """Takes the session out of all groups."""
        self.replace(())

    def replace(self, names: Iterable[str]) -> None:
        """Puts the session into exactly these groups.

        Raises:
            TypeError: One is no text, or this is one name and no collection.
            ValueError: One is empty or longer than 255 characters.
        """
        if isinstance(names, str):
            raise TypeError("groups are a collection of names, not one name")
        self._here(self._replace, [*map(_checked, names)])

    def leave_all(self) -> None:
        """Takes the session out of all groups, and keeps their names. On the loop."""
        for name in self._names:
            self._session.host.groups.leave(name, self._session)

    def __contains__(self, name: object) -> bool:
        return name in self._names

    def __iter__(self) -> Iterator[str]:
        return iter([*self._names])

    def __len__(self) -> int:
        return len(self._names)

    def __repr__(self) -> str:
        return repr(set(self._names))

    def _here(self, function: Callable[..., None], argument: Any) -> None:
        self._session.host.call_here(function, argument)

    def _add(self, name: str) -> None:
        if not self._session.closed:
            self._names[name] = None
            self._session.host.groups.enter(name, self._session)

    def _discard(self, name: str) -> None:
        if name in self._names:
            del self._names[name]
            self._session.host.groups.leave(name, self._session)

    def _replace(self, names: Collection[str]) -> None:
        for name in [*self._names]:
            if name not in names:
                self._discard(name)
        for name in names:
            self._add(name)


def _checked(name: object) -> str:
    if not isinstance(name, str):
        raise TypeError(f"the name of a group is a str, not {type(name).__name__}")
    if not 0 < len(name) <= _MAX_NAME:
        raise ValueError("the name of a group has 1 to 255 characters")
    return name
