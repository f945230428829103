"""What happens when a peer comes under a name that another one has."""

from __future__ import annotations

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
        raise ValueError(f'names has to be "replace", "reject" or "share", not {names!r}')
    return names


def objection(older: Connection, principal: Any, names: str) -> str | None:
    """Why a newcomer cannot have the name of a connection, for the newcomer to read; or `None`.

    Args:
        older: Has the name.
        principal: The newcomer's.
        names: The policy.
    """
    # One that is ending lets go of its name, whoever it was.
    if not older.takes_requests:
        return None
    if _name_of(older.principal) != _name_of(principal):
        return "the name is taken by another principal"
    return "the name is taken" if names == "reject" else None


def _name_of(principal: Any) -> str | None:
    name: str | None = getattr(principal, "name", None)
    return name
