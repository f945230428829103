"""`Scope`: which messages a middleware counts together."""

from __future__ import annotations

from collections.abc import Callable, Hashable
from typing import TYPE_CHECKING, Literal, TypeAlias

from restsock.server import network_of

if TYPE_CHECKING:
    from restsock.gateway._message import Message

__all__ = ["KeyFunction", "Scope", "caller_of", "key_function"]

KeyFunction: TypeAlias = "Callable[[Message], Hashable]"
"""Returns the key of a message; `None` skips the message. Called on the loop: it has to be
quick."""

Scope: TypeAlias = Literal["all", "channel", "session", "principal", "address", "key"] | KeyFunction
"""Which messages are counted together: all (`"all"`), or those of one channel, one session, one
principal (without authentication, one address), one address (one /64 network with IPv6), or one
key. Or a function that returns a key for a message; with `None`, the message is not counted."""


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
