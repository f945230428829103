"""`Peer`: a peer answers, by its name."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING

import trio

from restsock._options import between, positive
from restsock._patterns import like
from restsock.gateway._errors import CallFailed

from ._http_backend import MAX_BODY, HTTPBackend, ask
from ._template import Template

if TYPE_CHECKING:
    import asyncio

    from restsock.connection import Response
    from restsock.gateway._backend import Peers
    from restsock.gateway._message import Message

    from ._http_mapping import HTTPMapping, HTTPRequest

__all__ = ["Peer"]

_MAX_NAME = 255


class Peer(HTTPBackend):
    """Answers with a peer that has dialed the listener of the gateway, by its name.

        Peer("edge-1", HTTPMapping(method="GET", path="/pets/{body[id]}"))
        Peer(name_from="edge-{body[site]}", allowed="edge-*")

    A request that the peer provably has not begun is sent again, whatever its method: to another
    peer of the name (`names="share"`), or to the next connection of this one. So a restart of a
    peer loses no call and runs none twice. A request that may have run is never repeated; its
    client gets a 502 that says so.

    Args:
        name: The name of the peer.
        mapping: How messages become requests; by default they are POSTs to `/`.
        name_from: Instead of the name: a template, as in `HTTPMapping`, or a plain function of the
            message that returns the name.
        allowed: Patterns of the names that `name_from` may produce, in which `*` is any text;
            required with it, since clients can influence the name. Any other name is answered with
            404.
        wait: Seconds to wait for a peer that is not connected; then the answer is 503.
        max_body: Bytes of the largest body of an answer; a larger one is a 502.

    Raises:
        ValueError: An argument is not valid.
        TypeError: There is no name, or there are two, or nothing says which are allowed.
    """

    def __init__(
        self,
        name: str | None = None,
        mapping: HTTPMapping | None = None,
        *,
        name_from: str | Callable[[Message], str] | None = None,
        allowed: str | Iterable[str] | None = None,
        wait: float = 10.0,
        max_body: int = MAX_BODY,
    ) -> None:
        super().__init__(mapping)
        if (name is None) == (name_from is None):
            raise TypeError("a Peer has a name, or name_from=")
        if name is not None and not _is_name(name):
            raise ValueError(f"no name of a peer: {name!r}")
        if callable(name_from) and inspect.iscoroutinefunction(name_from):
            raise TypeError("name_from is a plain function: it must not wait")
        self._name = name
        self._name_from = name_from
        self._template = Template(name_from, _as_it_is) if isinstance(name_from, str) else None
        if self._template is None and not callable(name_from) and name is None:
            raise TypeError(f"name_from is a template or a function, not {name_from!r}")
        if (allowed is None) != (name_from is None):
            raise TypeError("name_from= and allowed= go together: which peers may clients name?")
        self._allowed = (allowed,) if isinstance(allowed, str) else tuple(allowed or ())
        self.wait = wait
        self.max_body = max_body
        positive(self, "wait")
        between(self, "max_body", 1, 2**31)
        self._peers: Peers | None = None

    @property
    def name(self) -> str | None:
        """The name of the peer, where it is always the same."""
        return self._name

    def bind(self, peers: Peers, loop: asyncio.AbstractEventLoop | None) -> None:
        """See `Backend.bind`. Raises nothing."""
        self._peers = peers

    def name_for(self, message: Message) -> str:
        """The name of the peer that a message goes to.

        Raises:
            CallFailed: None that is allowed: 404.
            Exception: What `name_from` raises.
        """
        if self._name is not None:
            return self._name
        if self._template is not None:
            found: object = self._template.fill(message)
        else:
            assert callable(self._name_from)
            found = self._name_from(message)
        if not (_is_name(found) and any(like(pattern, str(found)) for pattern in self._allowed)):
            raise CallFailed(404, "there is no such peer for this")
        return str(found)

    async def _send(self, message: Message, request: HTTPRequest) -> Response:
        if self._peers is None:
            raise CallFailed(503, "the gateway is not open")
        route = self._peers.route(self.name_for(message))
        return await ask(
            route,
            request,
            wait=min(self.wait, max(0.0, message.deadline - trio.current_time())),
            deadline=message.deadline,
            max_body=self.max_body,
        )

    def __repr__(self) -> str:
        return f"Peer({self._name!r})" if self._name is not None else "Peer(name_from=...)"


def _is_name(name: object) -> bool:
    return isinstance(name, str) and 0 < len(name) <= _MAX_NAME and name.isprintable()


def _as_it_is(text: str, wide: bool) -> str:
    if not _is_name(text):
        raise ValueError("is no name")
    return text
