"""What happens when a peer comes under a name that another one has."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from restsock.connection import Connection

__all__ = ["NAMES", "check_names", "objection"]

NAMES = ("replace", "reject", "share")


def check_names(names: str) -> str:
    """Gives the policy back, if it is one.

    Raises:
        ValueError: It is none.
    """
    if names not in NAMES:
        raise ValueError(f'names must be "replace", "reject" or "share", not {names!r}')
    return names


def objection(holders: Iterable[Connection], principal: Any, names: str) -> str | None:
    """Why a newcomer cannot have a name, for the newcomer to read; or `None`.

    Args:
        holders: All connections that dialed in under this name and are still there. One that is
            ending makes room for its own principal, and for no other: its next one may be on
            its way, and requests to the name are meant for it.
        principal: The newcomer's.
        names: The policy.
    """
    who = _name_of(principal)
    if any(_name_of(holder.principal) != who for holder in holders):
        return "the name is taken by another principal"
    if names == "reject" and any(holder.takes_requests for holder in holders):
        return "the name is taken"
    return None


def _name_of(principal: Any) -> str | None:
    name: str | None = getattr(principal, "name", None)
    return name
