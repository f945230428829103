"""Who a peer is: by its authentication, with what it may do, and by its connection."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import KW_ONLY, dataclass, field
from typing import Any

from restsock._patterns import like

__all__ = ["ConnectionInfo", "Principal"]


@dataclass(frozen=True, slots=True)
class Principal:
    """An authenticated peer.

        Principal("edge-1")                                    # may dial in as edge-1, and call
        Principal("site-ulm", may_register=["ulm-*"], may_call=())

    In a pattern `*` stands for any text, an empty one too; nothing else is special.

    Attributes:
        name: who it is, for rules and logs; printable.
        may_register: patterns of the names under which it may dial in; `None` is its own name
            alone, exactly. To dial in without a name needs no permission.
        may_call: patterns of the names whose apps it may call. The listener's own app goes by the
            name that was given to `listen`.
        claims: what else is known of it, from a token or a certificate; read-only. Not shown by
            `repr`.

    Raises:
        TypeError: something is not text.
        ValueError: a name or a pattern is empty or not printable.
    """

    name: str
    _: KW_ONLY
    may_register: Collection[str] | None = None
    may_call: Collection[str] = ("*",)
    claims: Mapping[str, Any] = field(default_factory=dict, repr=False, hash=False)

    def __post_init__(self) -> None:
        _check(self.name, "the name of a principal")
        if self.may_register is not None:
            object.__setattr__(self, "may_register", _patterns(self.may_register))
        object.__setattr__(self, "may_call", _patterns(self.may_call))
        object.__setattr__(self, "claims", dict(self.claims))

    def registers(self, name: str | None) -> bool:
        """Whether it may dial in under this name; `None` is to dial in without one."""
        if name is None:
            return True
        if self.may_register is None:
            # Not as a pattern: a certificate may be made out to "*.example".
            return name == self.name
        return any(like(pattern, name) for pattern in self.may_register)

    def calls(self, name: str) -> bool:
        """Whether it may call the app that goes by this name."""
        return any(like(pattern, name) for pattern in self.may_call)


@dataclass(frozen=True, slots=True)
class ConnectionInfo:
    """What an app, or a function for the heartbeat, knows about a connection.

    An app has it in `scope["restsock"]` or `environ["restsock.connection"]`; all requests of one
    connection get the same object. The address of the peer is where servers always put it: in
    `scope["client"]` and in `REMOTE_ADDR`.

    Attributes:
        id: of the connection, the same at both ends. Of a plain WebSocket that of the
            `ServerWebSocket`; empty at the end that has dialed one.
        name: the name of the dialer; `None` if it has none.
        metadata: the metadata of the dialer, any JSON value. Do not change it, since others read
            it, too.
        principal: who the peer is; `None` without authentication.
    """

    id: str
    name: str | None
    metadata: Any
    principal: Principal | None = None


def _patterns(patterns: Collection[str]) -> tuple[str, ...]:
    found = (patterns,) if isinstance(patterns, str) else tuple(patterns)
    for pattern in found:
        _check(pattern, "a pattern of names")
    return found


def _check(text: object, what: str) -> None:
    if not isinstance(text, str):
        raise TypeError(f"{what} must be a str, not {type(text).__name__}")
    if not text or not text.isprintable():
        raise ValueError(f"{what} must be printable, and not empty")
