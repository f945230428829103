"""One request on its way through the ingress: what is known of it, and what is told of it."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import trio

    from restsock._principal import Principal
    from restsock.connection import Deadlines, Exchange, Peer

    from ._names import Found
    from ._relay import Relay
    from ._rules import Access, Rules

__all__ = ["Explanation", "Passed", "Request", "words_of"]


@dataclass(frozen=True, slots=True)
class Passed:
    """A request that is over, for those who count or log it.

    Attributes:
        name: of the peer; empty if that was not found out.
        method: of the request.
        target: its path, without the query.
        client: the address that it has come from.
        principal: whom access has found that to be; `None` where it asks nobody.
        status: of the response.
        received: bytes of the body of the request.
        sent: bytes of the body of the response.
        seconds: from its head to its end.
        may_have_run: whether the peer may have begun with it.
    """

    name: str
    method: str
    target: str
    client: str
    principal: str | None
    status: int
    received: int
    sent: int
    seconds: float
    may_have_run: bool


@dataclass(frozen=True, slots=True)
class Explanation:
    """What would become of a request; see `Ingress.explain`.

    Attributes:
        name: of the peer that would get it; `None` if none would.
        how: what says so, or why not.
        target: path and query that the peer would get.
        access: what has to be shown, in a few words.
        connected: whether that peer is connected now.
    """

    name: str | None
    how: str
    target: str
    access: str
    connected: bool


@dataclass(slots=True, eq=False)
class Request:
    """A request on its way: what is known of it.

    Attributes:
        exchange: as it came.
        rules: that it came under.
        begun: when, on the clock of the loop.
        client: where it comes from, as far as trusted proxies say it.
        trusted: whether it comes from such a proxy.
        access: who may do what it asks for.
        found: whom it is for.
        principal: whom it was found to come from.
        relay: passes it on; `None` once it is over.
        status: of the answer that it was given here; 0 without one.
        may_have_run: whether the peer may have begun with it.
        counted: the name whose requests in flight it is one of.
        bounds: where the times are watched that it may take.
        authentication: finds out who has sent it; ends with it.
    """

    exchange: Exchange
    rules: Rules
    begun: float
    client: Peer
    trusted: bool = False
    access: Access | None = None
    found: Found | None = None
    principal: Principal | None = None
    relay: Relay | None = None
    status: int = 0
    may_have_run: bool = False
    counted: str = ""  # the name whose requests in flight it is one of
    waits_until: float = 0.0  # for a stream, while it has none
    bounds: list[Deadlines[Request]] = field(default_factory=list)
    authentication: trio.CancelScope | None = None


def words_of(request: Request) -> str:
    """What was asked for, for the log; without the query, which may hold secrets."""
    head = request.exchange.request
    name = "?" if request.found is None else request.found.name
    target = head.target.partition(b"?")[0].decode("latin-1")
    return f"{head.method.decode('latin-1')} {target} for {name!r}"
