"""`Ingress`: passes requests of plain HTTP on to the peers of a server, by name."""

from __future__ import annotations

import logging
import math
from collections.abc import AsyncIterator, Callable, Collection, Coroutine, Sequence
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import trio

from restsock._exceptions import (
    LocalProtocolError,
    PeerNotFound,
    PeerUnavailable,
    RequestTimeout,
    RestsockError,
    StreamRefused,
)
from restsock.auth import Authenticator, CredentialStore, Refused
from restsock.connection import AccessControl, Exchange, upgrade_of
from restsock.protocol import ResponseHead
from restsock.server import TrustedProxies

from ._fields import MAY_HAVE_RUN, head_for_client, head_for_peer, host_of
from ._names import RESERVED, Found, Naming
from ._pages import answer_problem
from ._rates import Rate
from ._relay import Relay
from ._request import Access, Explanation, Passed, Request, words_of
from ._routes import Route

if TYPE_CHECKING:
    from restsock._principal import Principal
    from restsock.server import PeersLike

__all__ = ["Ingress"]

_log = logging.getLogger("restsock.ingress")

# Seconds after its start in which a name that was never seen is waited for, as one that is away:
# its peer has yet to come back to a server that was restarted.
_NEWLY_STARTED = 30.0

_NO_SUCH_PEER = Refused(404, "There is no such host here.")
_REFRESH = 1.0


class Ingress:
    """Passes requests on to peers. Give it to `restsock.listen(ingress=...)`.

        ingress = restsock.ingress.Ingress(domains=["hub.example"], access=BearerTokens(...))
        restsock.listen("0.0.0.0", 8080, ingress=ingress)      # http://edge-1.hub.example:8080/

    Whom a request is for is said by its host, or by the field `Restsock-Peer`: docs/hub.md. Peers
    get Host as it came, X-Forwarded-For, -Host and -Proto, Forwarded, and Restsock-Identity with
    the name of the principal; what clients send under these names is dropped.

    Args:
        domains: Below each of them every peer has a host, by its name. `None` is `localhost` if the
            server listens on loopback alone, else none.
        routes: Hosts that are certain peers.
        access: Who may send requests: an authenticator of `restsock.auth`, or a function like
            those. `None` lets everybody in, which a server that is reachable from elsewhere has to
            be told (`public`).
        public: Whether everybody may be let in from anywhere.
        header: Whether `Restsock-Peer` counts, on hosts that are not a peer's.
        path_prefix: Whether `/_/NAME/` counts there; `None` is on loopback alone. Peers then share
            an origin in browsers: for APIs, among peers that trust each other.
        trusted_proxies: Addresses and networks whose X-Forwarded fields count.
        reserved: Labels that are no peers.
        wait: Seconds to wait for a peer that is away.
        timeout: Seconds until the response of a peer begins; `None` sets no bound.
        max_body: Bytes of the body of a request; `None` sets no bound.
        max_in_flight: Requests of one peer at a time; those above get a 503.
        rate: Requests of one caller, `"50/s"` for example; `None` sets no bound.
        on_passed: Is told of each request when it is over. Must not block or raise.

    Raises:
        ValueError: An argument is not valid.
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
        trusted_proxies: str | Collection[str] = (),
        reserved: Collection[str] = RESERVED,
        wait: float = 5.0,
        timeout: float | None = None,
        max_body: int | None = 100 * 1024 * 1024,
        max_in_flight: int = 1000,
        rate: str | None = None,
        on_passed: Callable[[Passed], object] | None = None,
    ) -> None:
        self._domains = domains
        self._routes = tuple(routes)
        self._access = access
        self._public = public
        self._header = header
        self._path_prefix = path_prefix
        self._proxies = TrustedProxies(trusted_proxies)
        self._reserved = reserved
        self._wait = wait
        self._timeout = timeout
        self._max_body = max_body
        self._max_in_flight = max_in_flight
        self._rate = None if rate is None else Rate(rate)
        self._route_rates = {r: Rate(r.rate) for r in self._routes if r.rate is not None}
        self.on_passed = on_passed
        self._naming: Naming | None = None
        self._server: PeersLike | None = None
        self._controls: dict[int, Access] = {}
        self._nursery: trio.Nursery | None = None
        self._in_flight: dict[str, int] = {}
        self._clock: Callable[[], float] = float
        self._started = -math.inf

    # --- life -----------------------------------------------------------------------------

    def bind(self, server: PeersLike, *, loopback: bool) -> None:
        """Learns whose peers they are. For the server, before anything is served.

        Args:
            server: the server.
            loopback: whether it can be reached from this machine alone.

        Raises:
            ValueError: everybody would be let in from elsewhere, and `public` does not say so.
        """
        if self._access is None and not (loopback or self._public):
            raise ValueError(
                "this ingress would let everybody in from anywhere: give it access=, or public=True"
            )
        domains = self._domains
        if domains is None:
            domains = ("localhost",) if loopback else ()
        self._naming = Naming(
            domains,
            self._routes,
            header=self._header,
            path_prefix=loopback if self._path_prefix is None else self._path_prefix,
            reserved=self._reserved,
        )
        self._server = server
        for auth in (self._access, *(route.access for route in self._routes)):
            if id(auth) not in self._controls:
                control = AccessControl(auth=auth, name="ingress", limit_log=server.limit_log)
                self._controls[id(auth)] = Access(auth, control)

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """See `Handler`."""
        self._clock = trio.current_time
        self._started = trio.current_time()
        async with trio.open_nursery() as nursery:
            self._nursery = nursery
            nursery.start_soon(self._refresh_forever)
            try:
                yield
            finally:
                self._nursery = None
                nursery.cancel_scope.cancel()

    async def _refresh_forever(self) -> None:
        """Has credentials that come from files be those of the files."""
        while True:
            for access in list(self._controls.values()):
                access.control.refresh()
            await trio.sleep(_REFRESH)

    def swap(self, other: Ingress) -> None:
        """Takes the rules of another one, which is not to be used itself, for requests to come.

        Those in flight keep the rules that they came under.
        """
        for name in (
            *("_domains", "_routes", "_access", "_public", "_header", "_path_prefix", "_proxies"),
            *("_reserved", "_wait", "_timeout", "_max_body", "_max_in_flight", "_rate"),
            *("_route_rates", "_naming", "_controls"),
        ):
            setattr(self, name, getattr(other, name))

    # --- a request ------------------------------------------------------------------------

    def handle(self, exchange: Exchange) -> None:
        """Takes over a request; see `Handler`."""
        connection = exchange.connection
        assert connection is not None
        assert self._naming is not None
        request = Request(exchange, self._clock(), connection.peer)
        request.relay = Relay(
            exchange,
            max_body=self._max_body,
            on_failure=lambda error: self._answer_failure(request, error),
            on_end=lambda: self._end(request),
            on_waiting=lambda: self._bound_wait(request),
        )
        try:
            request.client = self._proxies.locate(connection.peer, exchange.request.headers)
            request.found = self._naming.find(exchange.request)
            route = request.found.route
            auth = self._access if route is None or route.access is None else route.access
            access = self._controls[id(auth)]
            if access.auth is None:
                self._pass_on(request)
                return
            upgrade = upgrade_of(exchange.request, connection.tls, request.client)
            admission = access.control.authenticate(upgrade)
            if access.at_once:
                request.principal = _result_of(admission)
                self._admit(request)
            elif self._nursery is not None:
                self._nursery.start_soon(self._authenticate, request, admission)
            else:
                admission.close()
                raise Refused(503, "This server is about to close.")
        except Refused as exc:
            self._refuse(request, exc)

    async def _authenticate(
        self, request: Request, admission: Coroutine[Any, Any, Principal]
    ) -> None:
        try:
            request.principal = await admission
            self._admit(request)
        except Refused as exc:
            self._refuse(request, exc)

    def _admit(self, request: Request) -> None:
        assert request.principal is not None
        assert request.found is not None
        if not request.principal.calls(request.found.name):
            raise _NO_SUCH_PEER  # to those who may not know of it, as if it were not there
        self._pass_on(request)

    def _pass_on(self, request: Request) -> None:
        """Sends a request on that may be sent on.

        Raises:
            Refused: there are too many, or there is no such peer.
        """
        found, exchange, relay = request.found, request.exchange, request.relay
        assert found is not None
        assert relay is not None
        assert self._server is not None
        if relay.over or exchange.closed:
            return
        self._check_rate(request, found)
        name = found.name
        if not (
            self._server.connections.was_seen(name)
            or self._clock() - self._started < _NEWLY_STARTED
        ):
            raise _NO_SUCH_PEER
        if self._in_flight.get(name, 0) >= self._max_in_flight:
            self._server.limit_log.note("max_in_flight", "too many requests at once to %r", name)
            raise Refused(503, "This host has too much to do.", headers={"Retry-After": "1"})
        self._in_flight[name] = self._in_flight.get(name, 0) + 1
        request.counted = name
        connection = exchange.connection
        assert connection is not None
        route = found.route
        auth = self._access if route is None or route.access is None else route.access
        head = head_for_peer(
            exchange.request,
            found,
            client=connection.peer,
            trusted=self._proxies.trusts(connection.peer.host),
            principal=request.principal,
            own_authorization=isinstance(auth, CredentialStore),
        )
        host = host_of(exchange.request)

        def translate(answer: ResponseHead) -> ResponseHead:
            request.status = answer.status
            return head_for_client(answer, found, host)

        relay.start(self._server.route(name), head, translate)
        if self._timeout is not None:
            self._start_soon(self._time_out, request, self._timeout)

    def _check_rate(self, request: Request, found: Found) -> None:
        rate = self._rate
        if found.route is not None:
            rate = self._route_rates.get(found.route, rate)
        if rate is None:
            return
        caller = request.client.host if request.principal is None else request.principal.name
        seconds = rate.take(f"{caller}\n{found.route or ''}", self._clock())
        if seconds is not None:
            raise Refused(
                429,
                f"There are more requests than {rate.text}.",
                headers={"Retry-After": str(int(seconds))},
            )

    # --- time -----------------------------------------------------------------------------

    def _start_soon(self, function: Callable[..., Any], *args: object) -> None:
        if self._nursery is not None:
            self._nursery.start_soon(function, *args)

    def _bound_wait(self, request: Request) -> None:
        """Its peer is away: it waits for a while."""
        self._start_soon(self._stop_waiting, request, self._wait)

    async def _stop_waiting(self, request: Request, seconds: float) -> None:
        await trio.sleep(seconds)
        relay = request.relay
        assert relay is not None
        if relay.waiting and not relay.over:
            explain = None if relay.outbound is None else relay.outbound.explain
            error = PeerUnavailable("the peer is away") if explain is None else explain()
            relay.cancel(error)

    async def _time_out(self, request: Request, seconds: float) -> None:
        await trio.sleep(seconds)
        relay = request.relay
        assert relay is not None
        if not (relay.answered or relay.over):
            relay.cancel(
                RequestTimeout("no response in time", phase="read", may_have_run=not relay.waiting)
            )

    # --- answers of its own ---------------------------------------------------------------

    def _refuse(self, request: Request, refused: Refused) -> None:
        """Answers a request that goes no further."""
        relay = request.relay
        assert relay is not None
        if relay.over:
            return
        request.status = refused.status
        if refused.status in (401, 403):
            _log.info(
                "refused with %d: %s %s", refused.status, request.client.host, words_of(request)
            )
        relay.stop()
        answer_problem(request.exchange, refused.status, refused.text, refused.headers)

    def _answer_failure(self, request: Request, error: RestsockError | None) -> None:
        """Answers a request that its peer has not answered."""
        may_have_run = bool(getattr(error, "may_have_run", False))
        request.may_have_run = may_have_run
        fields = [(MAY_HAVE_RUN, b"?1" if may_have_run else b"?0")]
        if error is None:
            status, detail = 413, "The body of the request is too large."
        elif isinstance(error, PeerNotFound):
            status, detail = 404, _NO_SUCH_PEER.text
        elif isinstance(error, (PeerUnavailable, StreamRefused)):
            status, detail = 503, "This host is not available now."
            fields.append((b"Retry-After", b"2"))
        elif isinstance(error, RequestTimeout):
            status, detail = 504, "This host does not answer in time."
        elif isinstance(error, LocalProtocolError):
            status, detail = 400, "The request, or its answer, is malformed."
        else:
            status, detail = 502, "The connection to this host was lost."
        if error is not None:
            _log.info("%s: %d: %s", words_of(request), status, error)
        request.status = status
        answer_problem(request.exchange, status, detail, fields)

    def _end(self, request: Request) -> None:
        relay, exchange = request.relay, request.exchange
        assert relay is not None
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
                    request.status,
                    relay.received,
                    relay.sent,
                    self._clock() - request.begun,
                    request.may_have_run,
                )
            )

    # --- questions ------------------------------------------------------------------------

    def explain(
        self, method: str, url: str, headers: Sequence[tuple[str, str]] = ()
    ) -> Explanation:
        """Says what would become of a request, without sending it.

        Args:
            method: of the request.
            url: where to.
            headers: its fields; Host comes from the URL unless it is among them.

        Raises:
            ValueError: the URL cannot be one.
        """
        from urllib.parse import urlsplit

        from restsock.protocol import RequestHead

        assert self._naming is not None
        assert self._server is not None
        parts = urlsplit(url if "://" in url else f"http://{url}")
        fields = [(name.encode("latin-1"), value.encode("latin-1")) for name, value in headers]
        if not any(name.lower() == b"host" for name, _ in fields):
            fields.insert(0, (b"Host", parts.netloc.rpartition("@")[2].encode("latin-1")))
        target = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
        try:
            found = self._naming.find(RequestHead(method.encode(), target.encode(), fields))
        except Refused as exc:
            return Explanation(None, f"{exc.status}: {exc.text}", "", "", False)
        route = found.route
        auth = self._access if route is None or route.access is None else route.access
        return Explanation(
            found.name,
            found.how,
            found.target.decode("latin-1"),
            "open" if auth is None else type(auth).__name__,
            self._server.connections.by_name(found.name) is not None,
        )


def _result_of(admission: Coroutine[Any, Any, Principal]) -> Principal:
    """The result of a coroutine that never waits."""
    try:
        admission.send(None)
    except StopIteration as exc:
        result: Principal = exc.value
        return result
    admission.close()
    raise AssertionError("an authenticator that says that it never waits has waited")
