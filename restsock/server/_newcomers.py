"""Newcomers: from an accepted socket to a connection, or to a logged reason without one."""

from __future__ import annotations

import logging
import ssl
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import trio

from restsock._exceptions import HandshakeError
from restsock._logging import PartLog
from restsock.auth import Refused
from restsock.connection import AccessControl, Connection, Peer, TLSStream, Wire, open_accepted
from restsock.endpoint import apply_socket_options
from restsock.http_server import turn_away
from restsock.tls import TLSLike, context_of, explain

from ._accept import PeerOf
from ._connection_limiter import ConnectionLimiter
from ._front_door import read_head
from ._http_clients import HTTPClients
from ._proxies import TrustedProxies

if TYPE_CHECKING:
    from restsock.endpoint import Endpoint
    from restsock.protocol import UpgradeRequest

__all__ = ["Newcomers"]

_log = PartLog("restsock.server")

# Seconds for the Retry-After while the server closes. Its replacement may be there at any moment,
# and our clients have their own backoff.
_RETRY_AFTER = "1"

# Log levels of refused newcomers, by the reason; others are warnings. An error of the authenticator
# has been logged already.
_QUIET: dict[str | None, int] = {
    None: logging.INFO,
    "refused": logging.INFO,
    "auth_failed": logging.DEBUG,
}


class Newcomers:
    """Accepted sockets whose handshake is not complete, and the checks that they have to pass.

    Order of calls for each: `admit()`, in the step that accepts it, and `handshake()`.

    `Limits.max_handshakes` limits how many there may be.

    Args:
        endpoint: The endpoint of the server. While it closes, newcomers are refused.
        ssl_context: For TLS; `None` is plain TCP.
        access_control: Decides who may connect.
        proxies: The trusted proxies, which give the address of a dialer.
        peer_of: Returns the address of a newcomer, as its socket has it.
        limiter: Limits the connections; a connection that `handshake` returns has a slot.
        ping_frames: Whether to ping with frames of restsock.v1.
        claim: Raises `RemoteProtocolError` if a newcomer cannot have the name it asks for.
        http_clients: Takes clients that are not peers, if the server serves them; if not, these get
            a 426.

    Attributes:
        urls_of: Returns the URLs at which plain HTTP reaches a peer of this name; sent to the peer.
    """

    def __init__(
        self,
        endpoint: Endpoint,
        ssl_context: TLSLike | None,
        access_control: AccessControl,
        proxies: TrustedProxies,
        peer_of: PeerOf,
        limiter: ConnectionLimiter,
        claim: Callable[[str | None, Any], object],
        ping_frames: bool,
        http_clients: HTTPClients,
    ) -> None:
        self.endpoint = endpoint
        self.ssl_context = ssl_context
        self.access_control = access_control
        self.proxies = proxies
        self.peer_of = peer_of
        self.limiter = limiter
        self.claim = claim
        self.ping_frames = ping_frames
        self.http_clients = http_clients
        self.urls_of: Callable[[str], Sequence[str]] | None = None
        self._scopes: dict[trio.CancelScope, None] = {}  # oldest first
        self._emptied = trio.lowlevel.ParkingLot()

    def __len__(self) -> int:
        return len(self._scopes)

    @property
    def full(self) -> bool:
        """Whether the next newcomer replaces the oldest one."""
        return len(self._scopes) >= self.endpoint.options.limits.max_handshakes

    def admit(self) -> trio.CancelScope:
        """Counts one more newcomer; returns the cancel scope for its handshake."""
        if self.full:
            # The oldest has had the most time; a client that floods the server drops its own.
            oldest = next(iter(self._scopes))
            del self._scopes[oldest]  # now, or it would be the oldest until its task has ended
            oldest.cancel()
            text = "too many handshakes at once: dropped the oldest"
            self.endpoint.limit_log.note("max_handshakes", text)
        seconds = self.endpoint.options.timeouts.handshake
        scope = trio.CancelScope(deadline=trio.current_time() + seconds)
        self._scopes[scope] = None
        return scope

    async def handshake(
        self, stream: trio.abc.Stream, scope: trio.CancelScope
    ) -> Connection | None:
        """Does TLS and the handshakes; returns the connection of a peer, or `None`.

        With `None` the socket is closed, or was passed to the clients of plain HTTP.
        """
        try:
            return await _Newcomer(self).handshake(stream, scope)
        finally:
            self._scopes.pop(scope, None)
            if not self._scopes:
                self._emptied.unpark_all()

    async def wait_empty(self) -> None:
        """Waits until there is no newcomer."""
        while self._scopes:
            await self._emptied.park()


class _Newcomer:
    """One newcomer: what is known of it so far, and its slot."""

    def __init__(self, newcomers: Newcomers) -> None:
        self._newcomers = newcomers
        self._limit_log = newcomers.endpoint.limit_log
        self._peer = Peer("", 0)
        self._who = "a dialer"
        self._acquired = False
        self._plain = False  # whether it is a client of plain HTTP
        self._taken = False  # whether `HTTPClients` has it

    async def handshake(
        self, stream: trio.abc.Stream, scope: trio.CancelScope
    ) -> Connection | None:
        server = self._newcomers
        tls = server.ssl_context
        connection: Connection | None = None
        try:
            self._place(server.peer_of(stream, tls=tls is not None))  # until its request is known
            apply_socket_options(stream, server.endpoint.options.sockets)
            # The scope has the deadline for TLS and the handshakes together.
            with scope:
                if tls is not None:
                    stream = secured = TLSStream(stream, context_of(tls), server_side=True)
                    await secured.do_handshake()
                received = b""
                wire, options = Wire(), server.endpoint.options
                if server.http_clients.wanted:
                    received, is_peer = await read_head(stream, options.limits.max_head)
                    peers = None if is_peer else server.http_clients.peer_endpoint(received)
                    if peers is not None:
                        wire, options = peers.wire, peers.options_for(options)
                    elif not is_peer or server.http_clients.alone:
                        self._plain = True
                        refused = server.http_clients.add(stream, received, self._peer)
                        self._taken = refused is None
                        if refused is not None:
                            await turn_away(stream, received, refused)
                        return None
                messaging = server.endpoint.messaging
                connection = await open_accepted(
                    stream,
                    received=received,
                    peer=self._peer,
                    options=options,
                    access_control=server.access_control,
                    locate=self._locate,
                    room=self._room,
                    claim=self._claim,
                    urls_of=server.urls_of,
                    ping_frames=server.ping_frames,
                    limit_log=self._limit_log,
                    buffered=server.endpoint.buffered,
                    messaging=None if messaging is None else messaging.settings,
                    wire=wire,
                )
            if connection is None and not self._plain:
                text = "%s: dropped: its handshake took too long"
                self._limit_log.note("handshake", text, self._who, level=logging.INFO)
        except (HandshakeError, OSError, trio.BrokenResourceError) as exc:
            # The stream wraps the exceptions of the ssl module.
            why = exc.__cause__ if isinstance(exc.__cause__, ssl.SSLError) else exc
            limit = getattr(exc, "limit", None)
            self._limit_log.say(
                limit or "handshakes",
                "%s: no connection: %s",
                self._who,
                explain(why, "the dialer") or why,
                level=_QUIET.get(limit, logging.WARNING),
            )
        except Exception:  # noqa: BLE001  # a bug of ours must not end the server
            _log.exception("%s: the handshake failed in an unforeseen way", self._who)
        finally:
            if connection is None and not self._taken:
                if not self._plain:
                    server.endpoint.counters.fail()
                if self._acquired:
                    server.limiter.release(self._peer.host)
                with trio.CancelScope(shield=True):
                    await trio.aclose_forcefully(stream)
        return connection

    def _place(self, peer: Peer) -> Peer:
        self._peer = peer
        self._who = str(peer)
        return peer

    def _locate(self, request: UpgradeRequest) -> Peer:
        try:
            return self._place(self._newcomers.proxies.locate(self._peer, request.headers))
        except Refused:
            self._limit_log.count("refused")
            raise

    def _room(self) -> Refused | None:
        server = self._newcomers
        if server.endpoint.life.ending:
            text = "This listener is about to close."
            return Refused(503, text, headers={"Retry-After": _RETRY_AFTER})
        refused = server.limiter.acquire(self._peer.host)
        self._acquired = refused is None
        return refused

    def _claim(self, name: str | None, principal: Any) -> None:
        self._who += f" (name {name!r})"
        self._newcomers.claim(name, principal)
