"""What an ingress goes by: everything that `Ingress.swap` exchanges at once."""

from __future__ import annotations

from collections.abc import Collection, Coroutine, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from restsock.auth import Authenticator
from restsock.connection import AccessControl
from restsock.server import ProxiesLike, TrustedProxies

from ._names import Naming
from ._pages import Pages
from ._rates import Rate
from ._routes import Route
from ._urls import check_url

if TYPE_CHECKING:
    import asyncio

    from restsock._limit_log import LimitLog
    from restsock._principal import Principal

__all__ = ["Access", "Rules", "result_of"]


@dataclass(frozen=True, slots=True)
class Access:
    """Who may use what: an authenticator, and what asks it.

    Attributes:
        auth: `None` lets everybody in.
        control: asks it.
        at_once: whether it never waits.
        takes_authorization: whether the Authorization field is meant for it, and not for the peer.
    """

    auth: Authenticator | None
    control: AccessControl
    at_once: bool
    takes_authorization: bool


class Rules:
    """The rules of an ingress; the arguments are those of `Ingress`.

    Attributes:
        naming: says whom a request is for; there once it is bound.
    """

    naming: Naming

    def __init__(
        self,
        *,
        domains: Sequence[str] | None,
        routes: Sequence[Route],
        access: Authenticator | None,
        public: bool,
        header: bool,
        path_prefix: bool | None,
        trusted_proxies: ProxiesLike,
        reserved: Collection[str],
        wait: float,
        timeout: float | None,
        max_body: int | None,
        max_in_flight: int,
        rate: str | None,
        pages: Pages,
        url: str | None,
    ) -> None:
        for what, number, least in (
            ("wait", wait, 0),
            ("timeout", timeout, 0),
            ("max_body", max_body, 0),
            ("max_in_flight", max_in_flight, 1),
        ):
            if number is not None and not number >= least:  # as NaN is not
                raise ValueError(f"{what} must be {least} or more, not {number!r}")
        Naming(domains or (), routes, header=header, path_prefix=False)  # says what is wrong
        self.proxies = TrustedProxies(trusted_proxies)
        self.wait = wait
        self.timeout = timeout
        self.max_body = max_body
        self.max_in_flight = max_in_flight
        self.pages = pages
        self.url = None if url is None else check_url(url)
        self._domains = domains
        self._routes = tuple(routes)
        self._access = access
        self._public = public
        self._header = header
        self._path_prefix = path_prefix
        self._reserved = reserved
        self._rate = None if rate is None else Rate(rate)
        # By their ids: a route with rules for fields has no hash.
        self._rates = {id(r): Rate(r.rate) for r in self._routes if r.rate is not None}
        self._accesses: dict[int, Access] = {}

    def bind(
        self, limit_log: LimitLog, loop: asyncio.AbstractEventLoop | None, *, loopback: bool
    ) -> None:
        """Makes them ready for use.

        Args:
            limit_log: of the server.
            loop: that of authenticators that are for asyncio.
            loopback: whether this machine alone can reach the ingress.

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
        self.naming = Naming(
            domains,
            self._routes,
            header=self._header,
            path_prefix=loopback if self._path_prefix is None else self._path_prefix,
            reserved=self._reserved,
            own_hosts_only=loopback,
            guarded_by_routes=self._access is None and not loopback,
        )
        self._accesses.clear()
        for auth in (None, self._access, *(route.access for route in self._routes)):
            if id(auth) not in self._accesses:
                control = AccessControl(auth=auth, name="ingress", limit_log=limit_log)
                control.asyncio_loop = loop
                self._accesses[id(auth)] = Access(
                    auth,
                    control,
                    auth is None or not getattr(auth, "waits", True),
                    bool(getattr(auth, "takes_authorization", False)),
                )

    def access(self, route: Route | None) -> Access:
        """Who may use a route. A webhook is let in by its signature, unless it says otherwise."""
        auth = self._access
        if route is not None and (route.access is not None or route.webhook is not None):
            auth = route.access
        return self._accesses[id(auth)]

    def rate(self, route: Route | None) -> Rate | None:
        """How many requests of one caller there may be."""
        return self._rates.get(id(route), self._rate)

    def refresh(self) -> None:
        """Has credentials that come from files be those of the files."""
        for access in self._accesses.values():
            access.control.refresh()


def result_of(admission: Coroutine[Any, Any, Principal]) -> Principal:
    """Whom `Access.control` lets in, where that never waits (`Access.at_once`)."""
    try:
        admission.send(None)
    except StopIteration as exc:
        result: Principal = exc.value
        return result
    admission.close()
    raise AssertionError("an authenticator that says that it never waits has waited")
