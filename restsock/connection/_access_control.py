"""AccessControl: who may connect, under which name, and what requests it may make.

Everything here is asked before the 101, or before `welcome`; a newcomer that is turned away gets
the status, or the close code, that says why (spec, "Upgrade" and "Handshake").
"""

from __future__ import annotations

import logging
import re
from collections.abc import Collection
from typing import TYPE_CHECKING, Any

import trio

from restsock._exceptions import RemoteProtocolError
from restsock._limit_log import LimitLog
from restsock._logging import PartLog
from restsock._principal import Principal
from restsock.auth import (
    Authenticator,
    Basic,
    Bearer,
    Combined,
    Refused,
    Upgrade,
    stores_of,
)
from restsock.protocol import (
    TLS,
    CloseCode,
    Headers,
    RequestHead,
    ResetCode,
    UpgradeRequest,
    values_of,
)

from ._close import Peer
from ._connection import Connection
from ._exchange import Carrier, Exchange, answer
from ._exchange_events import ignore
from ._tls_stream import TLSStream
from ._user_function import call_user_function, failure_of

if TYPE_CHECKING:
    import asyncio

__all__ = ["AccessControl", "forbid", "upgrade_of"]

_log = PartLog("restsock.connection")

_CHALLENGE = 'Bearer realm="restsock"'

# An origin as browsers write it (RFC 6454, section 6.1), and an authority.
_ORIGIN = re.compile(r"(https?)://([^/?#@\s]+)", re.IGNORECASE)
_AUTHORITY = re.compile(r"(\[[^\]]*\]|[^:\[\]]*)(?::([0-9]*))?")
_PORTS = {"http": "80", "https": "443"}


class AccessControl:
    """Decides who may connect. One for all connections of a listener.

    Args:
        auth: tells who somebody is; without it everybody is let in, without a principal.
        origins: the web origins whose pages may dial in: `None` is the listener's own alone, `"*"`
            is any. What is no browser sends no origin, and is not asked for one.
        name: by which `Principal.may_call` knows the app of this side.
        threads: how many authenticators that are not async may be at work at once.
        limit_log: counts who is turned away (`"refused"`), and also logs what is not let in after
            that (`"may_call"`) and faults of the authenticator (`"auth_failed"`).

    Raises:
        TypeError: an argument is of a wrong type.
        ValueError: an origin is none.
    """

    def __init__(
        self,
        *,
        auth: Authenticator | None = None,
        origins: str | Collection[str] | None = None,
        name: str = "listener",
        threads: int = 256,
        limit_log: LimitLog | None = None,
    ) -> None:
        self._auth = _checked_auth(auth)
        self._origins = _checked_origins(origins)
        self._name = name
        self._threads = threads
        self._limit_log = LimitLog(_log) if limit_log is None else limit_log
        self.asyncio_loop: asyncio.AbstractEventLoop | None = None  # of `auth`, if not trio's
        self._limiter: trio.CapacityLimiter | None = None
        self._stores = tuple(stores_of(auth))

    def allow(self, threads: int) -> None:
        """Sets how many authenticators that are not async may be at work at once."""
        self._threads = threads
        if self._limiter is not None:
            self._limiter.total_tokens = threads

    # --- before the upgrade ---------------------------------------------------------------

    async def admit(
        self, request: UpgradeRequest, stream: trio.abc.Stream, peer: Peer
    ) -> Principal | None:
        """Finds out who asks for the upgrade. Can be cancelled; it takes as long as it takes.

        Raises:
            Refused: the upgrade is not to be.
        """
        try:
            self.check_origin(request.headers)
            if self._auth is None:
                return None
            tls = stream.tls if isinstance(stream, TLSStream) else None
            return await self.authenticate(upgrade_of(request, tls, peer))
        except Refused as exc:
            exc.limit = exc.limit or "refused"
            self._limit_log.count("refused")  # its caller logs it
            raise

    async def authenticate(self, upgrade: Upgrade) -> Principal:
        """Finds out who has sent a request. Does not wait where the authenticator never does.

        Raises:
            Refused: it is not to be served.
        """
        if self._limiter is None:
            self._limiter = trio.CapacityLimiter(self._threads)
        assert self._auth is not None
        try:
            principal = await self._ask(self._auth, upgrade)
        except Refused as exc:
            raise self._challenged(exc)  # noqa: B904  # it is the same refusal
        except Exception as exc:  # noqa: BLE001  # anybody's code, and it must not let anybody in
            raise self._failure("the authenticator has failed: %s", failure_of(exc)) from None
        if principal is None:
            raise self._challenged(Refused(401))
        if not isinstance(principal, Principal):
            kind = type(principal).__name__
            words = "the authenticator gave neither a Principal nor None, but: %s"
            raise self._failure(words, kind)
        return principal

    async def _ask(self, auth: Authenticator, upgrade: Upgrade) -> Any:
        if isinstance(auth, Combined):
            return await auth.decide(lambda member: self._ask(member, upgrade))
        return await call_user_function(
            auth, upgrade, limiter=self._limiter, loop=self.asyncio_loop
        )

    def _failure(self, message: str, what: str) -> Refused:
        self._limit_log.note("auth_failed", message, what, level=logging.ERROR)
        refused = Refused(500, "The listener cannot find out who you are.")
        refused.limit = "auth_failed"
        return refused

    def _challenged(self, refused: Refused) -> Refused:
        """A 401 says how to do better (RFC 9110, section 15.5.2)."""
        if refused.status == 401 and not values_of(refused.headers, b"www-authenticate"):
            challenge = getattr(self._auth, "challenge", None)
            if not isinstance(challenge, str):
                challenge = _CHALLENGE
            refused.headers.append((b"WWW-Authenticate", challenge.encode("latin-1")))
        return refused

    def check_origin(self, headers: Headers) -> None:
        """Asks whether the page that has sent a request, if it was one, may do so.

        Raises:
            Refused: it may not.
        """
        found = values_of(headers, b"origin")
        if not found or self._origins == "*":
            return
        origin = found[0].decode("latin-1").lower()
        if len(found) == 1:
            if self._origins is not None:
                if origin in self._origins:
                    return
            elif _is_same(origin, _host_of(headers)):
                return
        raise Refused(403, "Pages of this origin may not connect here.")

    # --- after the upgrade ----------------------------------------------------------------

    def check_name(self, name: str | None, principal: Principal | None) -> None:
        """Asks whether somebody may have the name that it calls itself.

        Raises:
            RemoteProtocolError: it may not; with the close code.
        """
        if principal is not None and not principal.registers(name):
            raise RemoteProtocolError(
                "this principal may not have this name", close_code=CloseCode.FORBIDDEN
            )

    def check_requests_of(self, connection: Connection, principal: Principal | None) -> None:
        """Has each request of a new connection checked from now on."""
        connection.principal = principal
        if principal is not None:
            connection.admit = self._admit_request

    def _admit_request(self, exchange: Exchange) -> bool:
        connection = exchange.connection
        assert connection is not None
        principal = connection.principal
        assert principal is not None
        if not self.still_accepts(principal):
            exchange.observer = ignore
            # So that the dialer knows that it may repeat it, once it has other credentials.
            exchange.reset(ResetCode.REFUSED, "the credentials are not valid any more")
            forbid(connection)
            return False
        if principal.calls(self._name):
            return True
        exchange.observer = ignore
        self._limit_log.note_about(
            connection,
            "may_call",
            "refused a request: %r may not call %r",
            principal.name,
            self._name,
            level=logging.INFO,
        )
        answer(exchange, 403, f"{principal.name} may not call {self._name}.\n")
        return False

    def still_accepts(self, principal: Principal) -> bool:
        """Whether the authenticator, as far as it can tell, would still say the same."""
        if isinstance(self._auth, Combined):  # it may be another one's than a store's
            return not any(store.withdrew(principal) for store in self._stores)
        return all(store.knows(principal) for store in self._stores)

    def refresh(self) -> bool:
        """Has the authenticator look for news; tells whether there may ever be any."""
        renewable = [store for store in self._stores if store.renewable]
        for store in renewable:
            store.refresh()
        return bool(renewable)


def forbid(connection: Carrier) -> None:
    """Closes a connection whose principal is not what it was any more."""
    connection.close_soon(CloseCode.FORBIDDEN, "the credentials are not valid any more")


def upgrade_of(request: UpgradeRequest | RequestHead, tls: TLS | None, peer: Peer) -> Upgrade:
    """What an authenticator gets of a request that has come from there."""
    certificate: Any = None
    der: bytes | None = None
    if tls is not None:
        # Empty where none was asked for, or none was shown; else it was verified.
        certificate = tls.object.getpeercert() or None
        der = tls.object.getpeercert(binary_form=True) if certificate is not None else None
    return Upgrade(
        request.target.decode("latin-1"),
        [(name.lower(), value) for name, value in request.headers],
        peer.host,
        peer.port,
        certificate,
        der,
        request.method.decode("latin-1") if isinstance(request, RequestHead) else "GET",
        "http" if tls is None else "https",
    )


def _checked_auth(auth: object) -> Authenticator | None:
    if auth is None or (callable(auth) and not isinstance(auth, (type, Basic, Bearer))):
        return auth
    what = f"the class {auth.__name__}" if isinstance(auth, type) else type(auth).__name__
    hint = ""
    if isinstance(auth, (Basic, Bearer)):
        hint = "; that is what a dialer shows: connect(auth=...)"
    raise TypeError(
        "auth= takes BearerTokens({...}), BasicUsers({...}) or CertificateSubject() of"
        f" restsock.auth, or a function that gets an Upgrade, not {what}{hint}"
    )


def _checked_origins(origins: str | Collection[str] | None) -> str | frozenset[str] | None:
    if origins is None or origins == "*":
        return origins
    if isinstance(origins, str):
        origins = (origins,)
    for origin in origins:
        if not isinstance(origin, str):
            raise TypeError(f"an origin is a str, not {type(origin).__name__}")
        if origin != "null" and not re.fullmatch(r"[A-Za-z][A-Za-z0-9+.-]*://[^/?#@\s]+", origin):
            raise ValueError(f"an origin is scheme://host[:port], and nothing more: {origin!r}")
    return frozenset(origin.lower() for origin in origins)


def _host_of(headers: Headers) -> str:
    hosts = values_of(headers, b"host")
    return hosts[0].decode("latin-1") if len(hosts) == 1 else ""


def _is_same(origin: str, host: str) -> bool:
    """Whether a page comes from this host. Its scheme may differ: TLS may end in front of us."""
    found = _ORIGIN.fullmatch(origin)
    if found is None:  # "null": any page can have that
        return False
    default = _PORTS[found[1].lower()]
    return _authority(found[2], default) == _authority(host, default)


def _authority(text: str, default: str) -> tuple[str, str] | str:
    found = _AUTHORITY.fullmatch(text)
    return text if found is None else (found[1].lower(), found[2] or default)
