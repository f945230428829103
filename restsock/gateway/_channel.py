"""`Channel`: the dialect of a path, who may connect, and what answers."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import KW_ONLY, dataclass, fields
from typing import TYPE_CHECKING, Any

from restsock._options import Heartbeat, between, positive
from restsock.protocol import Deflate
from restsock.websockets import Endpoint, EndpointOptions

from ._backend import Backend
from ._middleware import Middleware, checked_middleware
from .dialects import Dialect

if TYPE_CHECKING:
    from restsock.auth import Authenticator
    from restsock.server import ProxiesLike
    from restsock.websockets import ServerWebSocket

__all__ = ["Channel"]

# What sessions that are open go by from their next message on, or at their end.
_MAY_CHANGE = {
    *("router", "middleware", "on_connect", "on_disconnect"),
    *("in_flight", "max_faults", "max_sessions", "max_age", "grace", "contract"),
}


@dataclass(frozen=True, eq=False, repr=False)
class Channel:
    """A path of a gateway: a dialect, and the backends that answer its messages.

        Channel("/ws", Action(), Router({"pets.*": pets}), auth=tokens, middleware=[Rate(20)])

    `on_connect(session)` is called before the WebSocket is accepted, within `Timeouts.handshake`.
    It may set `principal`, `metadata`, `stash` and `groups` of the session, send to it, and refuse
    it: by raising `restsock.auth.Refused`, or with 403 by returning `False`. Another exception is
    logged, and refuses with 500. `on_disconnect(session, code, reason)` is called exactly once for
    each `on_connect` that has succeeded, however the session ends, and has 5 seconds. Both may be
    async or plain functions: a plain one runs in a thread, an async one on the loop of the
    listener. A thread that takes longer counts as failed, and nobody waits for it.

    Attributes:
        path: The path of the channel.
        dialect: The format of its messages.
        router: What answers: a `Router`, a `Pipe`, or any other backend.
        middleware: What stands before that; the first is the outermost.
        on_connect: See above.
        on_disconnect: See above.
        auth: Authenticates clients. See `restsock.websockets.Endpoint`, also for `origins`,
            `subprotocols`, `browser_token`, `headers`, `name` and `trusted_proxies`. A client whose
            credentials expire, or are withdrawn, is closed with 4005.
        in_flight: Calls of a session at a time. Further messages wait; up to 64 KiB of them are
            read (`Limits.initial_window`), so that pings are answered meanwhile.
        max_faults: Messages of a session that are malformed, have an id in use, or match no route;
            one is forgotten each second. More close the session with 1008. From the eleventh on,
            each delays the next message of the session by half a second; so does an answer with
            429, which never closes it. `None` sets no limit.
        max_message: Bytes of the largest message; a larger one closes the session with 1009.
        max_queue: Bytes that may wait for a client that does not read. Above that, pushed messages
            are dropped, the oldest first; if answers still do not fit, the session is closed with
            1013. The answers of a batch have the same bound; those beyond it are failures.
        max_sessions: Sessions at a time. Further clients get a 503 with Retry-After.
        idle: Seconds without a message, either way, and without a call under way, after which a
            session is closed with 1001; `None` sets no bound. Pings and pongs do not count.
        max_age: Seconds after which a session ends, give or take a tenth, so that not all clients
            reconnect together: calls in flight are answered, further ones refused with 503, and it
            is closed with 1012. `None` sets no bound.
        heartbeat: When to ask a client for a sign of life. One that gives none for
            `interval + timeout` seconds is closed with 1011.
        compression: Whether to compress (permessage-deflate) for clients that offer it.
        contract: Whether anyone can GET its contract, an AsyncAPI document, at its path plus
            `/asyncapi.json`.
        grace: Seconds that calls may go on when the listener closes; `None` is the listener's, and
            ten seconds for `max_age`.

    Raises:
        TypeError: An argument is of a wrong type.
        ValueError: A number, a name, an origin, a network, a field or the path is not valid.
    """

    path: str
    dialect: Dialect
    router: Backend
    _: KW_ONLY
    middleware: Sequence[Middleware] = ()
    on_connect: Callable[..., Any] | None = None
    on_disconnect: Callable[..., Any] | None = None
    auth: Authenticator | None = None
    origins: str | Collection[str] | None = None
    subprotocols: Sequence[str] = ()
    browser_token: str | None = None
    headers: Any = ()
    name: str = "listener"
    trusted_proxies: ProxiesLike = ()
    in_flight: int = 25
    max_faults: int | None = 100
    max_message: int = 32 * 1024
    max_queue: int = 1024 * 1024
    max_sessions: int = 10_000
    idle: float | None = None
    max_age: float | None = None
    heartbeat: Heartbeat = Heartbeat()  # noqa: RUF009  # it is frozen
    compression: bool | Deflate = False
    grace: float | None = None
    contract: bool = False

    def __post_init__(self) -> None:
        if not isinstance(self.path, str):
            raise TypeError(f"a path is a str, not {type(self.path).__name__}")
        if not self.path.startswith("/"):
            raise ValueError(f"a path begins with /, unlike {self.path!r}")
        if not isinstance(self.dialect, Dialect):
            raise TypeError(f"a dialect is an object of Dialect, not {type(self.dialect).__name__}")
        router: object = self.router
        if not isinstance(router, Backend):
            raise TypeError(f"a router is a Router or a Pipe, not {type(router).__name__}")
        object.__setattr__(self, "middleware", checked_middleware(self.middleware))
        for name in ("on_connect", "on_disconnect"):
            hook = getattr(self, name)
            if hook is not None and not callable(hook):
                raise TypeError(f"{name} has to be a function, not {type(hook).__name__}")
        for name in ("in_flight", "max_message", "max_queue", "max_sessions"):
            between(self, name, 1, 2**31)
        if self.max_faults is not None:
            between(self, "max_faults", 1, 2**31)
        if self.max_age is not None:
            positive(self, "max_age")
        Endpoint(_never, **self.endpoint_options(), name=self.name)  # checks the others

    def endpoint_options(self) -> EndpointOptions:
        """Those of its `restsock.websockets.Endpoint`."""
        return {
            "auth": self.auth,
            "origins": self.origins,
            "subprotocols": self.subprotocols,
            "browser_token": self.browser_token,
            "headers": self.headers,
            "heartbeat": self.heartbeat,
            "idle": self.idle,
            "compression": self.compression,
            "max_connections": self.max_sessions,
            "max_message": self.max_message,
            "grace": self.grace,
            "path": self.path,
            "trusted_proxies": self.trusted_proxies,
        }

    def keeps_sessions_of(self, other: Channel) -> bool:
        """Whether the sessions of another channel can go on in this one; see `Gateway.swap`."""
        return all(
            getattr(self, each.name) == getattr(other, each.name)
            for each in fields(self)
            if each.name not in _MAY_CHANGE
        )

    def __repr__(self) -> str:
        return f"<Channel {self.path!r}>"


async def _never(websocket: ServerWebSocket) -> None:
    raise NotImplementedError  # it serves nobody
