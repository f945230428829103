"""`SessionGroups`: the groups that one session is in."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, MutableSet
from typing import Any, Protocol, TypeVar

__all__ = ["GroupsIndex", "SessionGroups"]

T = TypeVar("T")

_MAX_NAME = 255


class GroupsIndex(Protocol):
    """Who is in which group."""

    def enter(self, name: str, session: Any) -> None:
        """One is in it from now on."""

    def leave(self, name: str, session: Any) -> None:
        """One is in it no more."""


class Host(Protocol):
    """A gateway, as this knows it."""

    @property
    def groups(self) -> GroupsIndex:
        """Who is in which group."""

    def call_here(self, function: Callable[..., T], *args: Any) -> T:
        """Calls a quick function on the loop, from any thread."""


class Member(Protocol):
    """A session, as this knows it."""

    @property
    def host(self) -> Host:
        """Its gateway."""

    @property
    def closed(self) -> bool:
        """Whether it has ended."""


class SessionGroups(MutableSet[str]):
    """The names of the groups that one session is in. For any thread.

    Adding a name to it puts the session into the group, unless the session has ended.
    """

    def __init__(self, session: Member) -> None:
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
        """Removes the session from a group, if it is a member."""
        self._here(self._discard, name)

    def clear(self) -> None:
        """Removes the session from all groups."""
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
