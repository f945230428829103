"""`Scope`: which messages a middleware counts together."""

from __future__ import annotations

from collections.abc import Callable, Hashable
from typing import TYPE_CHECKING, Literal, TypeAlias

from restsock.server import network_of

if TYPE_CHECKING:
    from restsock.gateway._message import Message

__all__ = ["KeyFunction", "Scope", "caller_of", "key_function"]

KeyFunction: TypeAlias = "Callable[[Message], Hashable]"
"""Gives the key of a message; `None` leaves the message alone. Called on the loop: it is quick."""

Scope: TypeAlias = Literal["all", "channel", "session", "principal", "address", "key"] | KeyFunction
"""What is counted together: all that passes (`"all"`), that of one channel, of one session, of one
principal (without authentication, of one address), of one address (one /64 network with IPv6), or
what has the same key. Or a function that gives a key for a message; those with `None` are not
counted."""


def caller_of(message: Message) -> Hashable:
    """Who has sent a message: a principal by its name, all others by their address."""
    principal = message.session.principal
    return _address(message) if principal is None else ("principal", principal.name)


def _address(message: Message) -> Hashable:
    return network_of(message.session.request.peer.host)


_SCOPES: dict[str, KeyFunction] = {
    "all": lambda _: "",
    "channel": lambda message: message.session.channel,
    "session": lambda message: message.session.id,
    "principal": caller_of,
    "address": _address,
    "key": lambda message: message.key,
}


def key_function(scope: Scope) -> KeyFunction:
    """The function for it.

    Raises:
        TypeError: This is neither a name nor a function.
        ValueError: There is no such name.
    """
    if not isinstance(scope, str):
        if not callable(scope):
            raise TypeError(f"a scope is a name or a function, not {type(scope).__name__}")
        return scope
    found = _SCOPES.get(scope)
    if found is None:
        raise ValueError(f"a scope is one of {', '.join(_SCOPES)}, or a function, not {scope!r}")
    return found
