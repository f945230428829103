"""`Ingress`: passes requests of plain HTTP on to the peers of a server, by name."""

from __future__ import annotations

import math
import os
from collections.abc import AsyncIterator, Callable, Collection, Coroutine, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any

import trio

from restsock.auth import Authenticator, Refused
from restsock.connection import Exchange, upgrade_of, with_fields
from restsock.server import network_of

from ._answers import Answers
from ._explain import explain
from ._fields import scheme_for
from ._fields_fast import pass_to_client, pass_to_peer
from ._names import RESERVED, nobody
from ._pages import Pages
from ._rates import Rate
from ._relay import Relay
from ._request import Explanation, Passed, Request
from ._routes import Route
from ._rules import Rules, result_of
from ._time_limits import TimeLimits
from ._urls import urls_of

if TYPE_CHECKING:
    import asyncio

    from restsock._principal import Principal
    from restsock.server import PeersLike, ProxiesLike

__all__ = ["Ingress"]

# Seconds after its start in which a name that was never seen is waited for, as one that is away:
# its peer has yet to come back to a server that was restarted.
_NEWLY_STARTED = 30.0
_REFRESH = 1.0


class Ingress:
    """Passes requests on to peers. Give it to `restsock.listen(ingress=...)`.

        ingress = restsock.ingress.Ingress(domains=["hub.example"], access=BearerTokens(...))
        restsock.listen("0.0.0.0", 8080, ingress=ingress)      # http://edge-1.hub.example:8080/

    The host, or the field `Restsock-Peer`, says which peer a request is for: docs/ingress.md. Peers
    get Host unchanged, X-Forwarded-For, -Host and -Proto, Forwarded, and Restsock-Identity with the
    name of the principal; fields of clients with these names are dropped.

    Args:
        domains: Each peer has a host below each of them, by its name. `None` is `localhost` if the
            server listens only on loopback, otherwise none.
        routes: Hosts that are certain peers.
        access: Who may send requests: an authenticator of `restsock.auth`, or a similar function.
            `None` lets anybody in; a server that other machines can reach then also needs `public`.
        public: Whether anybody may be let in from anywhere. Then a peer whose routes have access
            rules can be reached only by these routes.
        header: Whether `Restsock-Peer` is used, on hosts that are not a peer's.
        path_prefix: Whether `/_/NAME/` is used there; `None` uses it only on loopback. Peers then
            share an origin in browsers, so it is for APIs of peers that trust each other.
        trusted_proxies: Addresses and networks whose X-Forwarded fields are trusted.
        reserved: Labels that are not peers.
        wait: Seconds to wait for a peer that is not connected.
        timeout: Seconds until the response of a peer begins; `None` sets no bound.
        max_body: Bytes of the body of a request; `None` sets no bound.
        max_in_flight: Requests of one peer at a time; those above get a 503.
        rate: Requests of one caller, `"50/s"` for example; `None` sets no bound.
        pages: A folder with your own error pages: files such as `404.html` and `503.json`, with the
            placeholders `{status}`, `{title}` and `{detail}`.
        url: The URL of this ingress for clients, such as `"https://hub.example"`, if it is behind a
            reverse proxy. Peers are told URLs made from it.
        on_passed: Is called after each request. Must not block or raise.

    Raises:
        ValueError: An argument is not valid.
        OSError: The folder of the pages cannot be read.
    """

    def __init__(
        self,
        *,
        domains: Sequence[str] | None = None,
        routes: Sequence[Route] = (),
        access: Authenticator | None = None,
        public: bool = False,
        header: bool = True,
        path_prefix: bool | None = None,
        trusted_proxies: ProxiesLike = (),
        reserved: Collection[str] = RESERVED,
        wait: float = 5.0,
        timeout: float | None = None,
        max_body: int | None = 100 * 1024 * 1024,
        max_in_flight: int = 1000,
        rate: str | None = None,
        pages: str | os.PathLike[str] | None = None,
        url: str | None = None,
        on_passed: Callable[[Passed], object] | None = None,
    ) -> None:
        self._rules = Rules(
            domains=domains,
            routes=routes,
            access=access,
            public=public,
            header=header,
            path_prefix=path_prefix,
            trusted_proxies=trusted_proxies,
            reserved=reserved,
            wait=wait,
            timeout=timeout,
            max_body=max_body,
            max_in_flight=max_in_flight,
            rate=rate,
            pages=Pages(pages),
            url=url,
        )
        self.on_passed = on_passed
        self._server: PeersLike | None = None
        self._url: Callable[[], str] = str
        self._loopback = False
        self._asyncio_loop: asyncio.AbstractEventLoop | None = None
        self._nursery: trio.Nursery | None = None
        self._in_flight: dict[str, int] = {}
        self._answers = Answers()
        self._time_limits = TimeLimits()
        self._clock: Callable[[], float] = float
        self._started = -math.inf

    # --- life -----------------------------------------------------------------------------

    def bind(
        self, server: PeersLike, *, loopback: bool, url: Callable[[], str] | None = None
    ) -> None:
        """Learns whose peers they are. For the server, before anything is served.

        Args:
            server: the server.
            loopback: whether it can be reached from this machine alone.
            url: tells where the ingress listens, once it does; `None` is where the peers dial in.

        Raises:
            ValueError: everybody would be let in from elsewhere, and `public` does not say so.
        """
        self._server = server
        self._loopback = loopback
        self._rules.bind(server.limit_log, self._asyncio_loop, loopback=loopback)
        self._url = (lambda: server.url) if url is None else url
        server.tell_urls(self.urls_of)

    def serve_here(self, loop: asyncio.AbstractEventLoop | None) -> None:
        """Has authenticators that are async run on this loop. For the server, before it runs."""
        assert self._server is not None
        self._asyncio_loop = loop
        self._rules.bind(self._server.limit_log, loop, loopback=self._loopback)

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """See `Handler`."""
        self._clock = self._answers.clock = trio.lowlevel.current_clock().current_time
        self._started = trio.current_time()
        async with trio.open_nursery() as nursery:
            self._nursery = nursery
            self._time_limits.begin(nursery, self._clock)
            nursery.start_soon(self._refresh_forever)
            try:
                yield
            finally:
                self._nursery = None
                self._time_limits.end()
                nursery.cancel_scope.cancel()

    async def _refresh_forever(self) -> None:
        while True:
            self._rules.refresh()
            await trio.sleep(_REFRESH)

    def swap(self, other: Ingress) -> None:
        """Takes over the rules of another one, for new requests. Do not use the other one itself.

        Requests in flight keep the rules that they began with.

        Raises:
            ValueError: as of `bind`; then the rules stay what they were.
        """
        if self._server is not None:
            other._rules.bind(self._server.limit_log, self._asyncio_loop, loopback=self._loopback)
        self._rules = other._rules

    # --- a request ------------------------------------------------------------------------

    def handle(self, exchange: Exchange) -> None:
        """Takes over a request; see `Handler`."""
        connection = exchange.connection
        assert connection is not None
        rules = self._rules
        request = Request(exchange, rules, self._clock(), connection.peer)
        request.relay = Relay(
            exchange,
            max_body=rules.max_body,
            on_failure=partial(self._answers.answer_failure, request),
            on_end=partial(self._end, request),
            on_waiting=partial(self._time_limits.bound_wait, request),
        )
        try:
            if rules.proxies.trusts(connection.peer.host):
                request.trusted = True
                request.client = rules.proxies.locate(connection.peer, exchange.request.headers)
            request.found = rules.naming.find(exchange.request)
            route = request.found.route
            access = request.access = rules.access(route)
            if access.auth is not None or (route is not None and route.webhook is not None):
                self._answers.check_failures(request)
            if access.auth is None:
                self._pass_on(request)
                return
            scheme = scheme_for(exchange.request, connection.peer, trusted=request.trusted)
            upgrade = upgrade_of(exchange.request, connection.tls, request.client)
            admission = access.control.authenticate(replace(upgrade, scheme=scheme))
            if access.at_once:
                request.principal = result_of(admission)
                self._admit(request)
            elif self._nursery is not None:
                self._nursery.start_soon(self._authenticate, request, admission)
            else:
                admission.close()
                raise Refused(503, "This server is about to close.")
        except Refused as exc:
            self._answers.refuse(request, exc)

    async def _authenticate(
        self, request: Request, admission: Coroutine[Any, Any, Principal]
    ) -> None:
        assert self._server is not None
        try:
            with trio.CancelScope() as request.authentication:  # it ends if the client leaves
                with trio.move_on_after(self._server.options.timeouts.handshake):
                    request.principal = await admission
                    self._admit(request)
                    return
                raise Refused(503, "It takes too long to find out who you are.")
        except Refused as exc:
            self._answers.refuse(request, exc)

    def _admit(self, request: Request) -> None:
        assert request.principal is not None
        assert request.found is not None
        if not request.principal.calls(request.found.name):
            raise nobody()  # to those who may not know of it, as if it were not there
        self._pass_on(request)

    def _pass_on(self, request: Request) -> None:
        """Sends a request on that may be sent on.

        Raises:
            Refused: there are too many, or there is no such peer.
        """
        found, exchange, relay, rules = (
            request.found,
            request.exchange,
            request.relay,
            request.rules,
        )
        assert found is not None
        assert request.access is not None
        assert self._server is not None
        if relay is None or relay.over or exchange.closed:
            return
        rate = rules.rate(found.route)
        if rate is not None:
            self._check_rate(request, rate)
        name = found.name
        if not (
            self._server.connections.was_seen(name)
            or self._clock() - self._started < _NEWLY_STARTED
        ):
            raise nobody()
        if self._in_flight.get(name, 0) >= rules.max_in_flight:
            self._server.limit_log.note("max_in_flight", "too many requests at once to %r", name)
            raise Refused(503, "This host has too much to do.", headers={"Retry-After": "1"})
        self._in_flight[name] = self._in_flight.get(name, 0) + 1
        request.counted = name
        connection = exchange.connection
        assert connection is not None
        head, plain = pass_to_peer(
            exchange.request,
            exchange.plain,
            found,
            client=connection.peer,
            trusted=request.trusted,
            principal=request.principal,
            own_authorization=request.access.takes_authorization,
        )
        route = found.route
        check = None
        if route is not None and route.webhook is not None:
            check = partial(route.webhook.check, exchange.request.headers)
        instrument = self._server.instrument
        if instrument is not None:
            head = with_fields(instrument, head)
        submit = partial(self._server.submit, name)
        relay.start(submit, head, plain, partial(pass_to_client, found), check)
        if rules.timeout is not None:
            self._time_limits.bound_answer(request, rules.timeout)

    # --- bounds ---------------------------------------------------------------------------

    def _check_rate(self, request: Request, rate: Rate) -> None:
        assert request.found is not None
        route = request.found.route
        principal = request.principal
        caller = network_of(request.client.host) if principal is None else principal.name
        seconds = rate.take(f"{principal is None} {caller}\n{route or ''}", self._clock())
        if seconds is not None:
            text = f"There are more requests than {rate.text}."
            raise Refused(429, text, headers={"Retry-After": str(seconds)})

    # --- its end --------------------------------------------------------------------------

    def _end(self, request: Request) -> None:
        relay, exchange = request.relay, request.exchange
        assert relay is not None
        request.relay = None  # they are a ring: cut, both are freed now
        for bounds in request.bounds:
            bounds.remove(request)
        if request.authentication is not None:
            request.authentication.cancel()
        if request.counted:
            left = self._in_flight[request.counted] - 1
            if left:
                self._in_flight[request.counted] = left
            else:
                del self._in_flight[request.counted]
        if self.on_passed is not None:
            self.on_passed(
                Passed(
                    "" if request.found is None else request.found.name,
                    exchange.request.method.decode("latin-1"),
                    exchange.request.target.partition(b"?")[0].decode("latin-1"),
                    request.client.host,
                    None if request.principal is None else request.principal.name,
                    request.status or relay.status,
                    relay.received,
                    relay.sent,
                    self._clock() - request.begun,
                    request.may_have_run,
                )
            )

    # --- questions ------------------------------------------------------------------------

    def urls_of(self, name: str) -> tuple[str, ...]:
        """The URLs of the peer with this name, connected or not: at most 8, the best first.

        Empty if only the field `Restsock-Peer` can name it. The peer is told them: `Client.urls`.
        """
        rules = self._rules
        return urls_of(rules.naming, name, self._url() if rules.url is None else rules.url)

    def explain(
        self, method: str, url: str, headers: Sequence[tuple[str, str]] = ()
    ) -> Explanation:
        """Says where a request would go, without sending it.

        Args:
            method: of the request.
            url: where to.
            headers: its fields; Host comes from the URL unless it is among them.

        Raises:
            ValueError: the URL cannot be one.
        """
        assert self._server is not None
        return explain(self._rules, self._server.connections, method, url, headers)
