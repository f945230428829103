"""Dials a listener until there is a connection: the attempts, their pauses, their failures."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import trio

from restsock._exceptions import (
    ConnectionClosed,
    HandshakeError,
    LocalProtocolError,
    RestsockError,
    without_frames,
)
from restsock.connection import Closed, Connection, Peer, Wire, open_dialed
from restsock.endpoint import Endpoint, State

from ._fields import credentials_of
from ._outage import Outage
from ._redial import Redial

if TYPE_CHECKING:
    from restsock._options import Backoff
    from restsock.auth import Credentials
    from restsock.protocol import Headers

    from ._dial import Transport
    from ._url import Address

__all__ = ["Dialer"]


class Dialer:
    """Makes the connections of a client, one at a time, while the client is open.

    Order of calls: `dial()`; `lose()` and `end()` for each connection that it returned; and again.

    Args:
        endpoint: The endpoint of the client.
        transport: The way to the listener.
        identity: Returns the name and the metadata for each attempt.
        headers: As for `Client`, like the other arguments.

    Attributes:
        address: The listener that it dials.
        transport: The transport that was passed.
        wire: The protocol of the connections; restsock.v1, unless another was set.
        last_failure: Why there is no connection; `None` while there is one.
    """

    def __init__(
        self,
        endpoint: Endpoint,
        transport: Transport,
        *,
        identity: Callable[[], tuple[str | None, Any]],
        headers: Headers,
        auth: Credentials | None,
        backoff: Backoff,
        chance: Callable[[], float],
    ) -> None:
        self.address = transport.address
        self.transport = transport
        self.wire = Wire()
        self.last_failure: RestsockError | None = None
        self._peer = _peer_at(transport.address)
        self._endpoint = endpoint
        self._identity = identity
        self._headers = headers
        self._auth = auth
        self._redial = Redial(backoff, chance)
        self._outage = Outage(transport.address, endpoint.limit_log)
        self._scope = trio.CancelScope()  # around all dialing and waiting between attempts

    @property
    def away(self) -> float:
        """For how many seconds there has been no connection."""
        since = self._outage.since
        return 0.0 if since is None else trio.current_time() - since

    def lose(self) -> None:
        """Notes that the connection is lost."""
        self._outage.since = trio.current_time()

    def end(self, start: float, code: int) -> None:
        """Notes that a connection which began at `start` has ended, or will end soon."""
        now = trio.current_time()
        self._redial.end(now, now - start, code)

    def stop(self) -> None:
        """Cancels the current attempt, because the client is closing."""
        self._scope.cancel()

    async def dial(self, lost: Closed | None = None) -> Connection | None:
        """Dials, with growing pauses, until it succeeds or is stopped; `None` if stopped.

        After a lost connection there is a pause before the first attempt, too. Otherwise all
        clients would dial a restarting listener at once.

        Args:
            lost: How the previous connection ended.

        Raises:
            HandshakeError: Dialing again would not help, or `Backoff.tries` attempts have failed.
        """
        failures, counters = 0, self._endpoint.counters
        if lost is not None:
            self.last_failure = ConnectionClosed(
                f"the last connection has ended: {lost}", code=lost.code, reason=lost.reason
            )
        with trio.CancelScope() as self._scope:
            while self._endpoint.life.state is State.OPEN:
                pause = self._redial.pause(trio.current_time())
                if pause is not None:
                    # A graceful close by the listener is not worth a warning.
                    expected = lost is not None and lost.clean and not failures
                    level = logging.INFO if expected else logging.WARNING
                    self._outage.fail(str(self.last_failure), pause, level, trio.current_time())
                    await trio.sleep(pause)
                self._redial.begin(trio.current_time())
                try:
                    connection = await self._attempt()
                except HandshakeError as exc:
                    self.last_failure = without_frames(exc)
                    counters.fail()
                    failures += 1
                    if self._redial.gives_up(
                        exc,
                        failures=failures,
                        connected_before=counters.begun > 0,
                        # Whether the next attempt may have other credentials.
                        renewable=getattr(self._auth, "renewable", self._auth is not None),
                    ):
                        raise
                else:
                    serving = self._endpoint.handler is not None
                    self._outage.end(connection, trio.current_time(), serving=serving)
                    self.last_failure = None
                    return connection
        return None

    async def _attempt(self) -> Connection:
        address, endpoint = self.address, self._endpoint
        seconds = endpoint.options.timeouts.handshake
        deadline = trio.current_time() + seconds
        headers = list(self._headers)
        with trio.move_on_after(seconds) as scope:
            headers += await credentials_of(self._auth, self._endpoint.asyncio_loop)
        if scope.cancelled_caught:
            raise HandshakeError(f"no credentials to dial with within {seconds:g} s")
        left = max(0.1, round(deadline - trio.current_time(), 1))
        stream = await self.transport.open(left)
        name, metadata = self._identity()
        try:
            # The handshake has the time that the socket and TLS have left.
            with trio.fail_at(deadline):
                return await open_dialed(
                    stream,
                    host=address.authority,
                    target=address.target,
                    name=name,
                    metadata=metadata,
                    headers=headers,
                    peer=self._peer,
                    options=endpoint.options,
                    limit_log=endpoint.limit_log,
                    buffered=endpoint.buffered,
                    messaging=None if endpoint.messaging is None else endpoint.messaging.settings,
                    wire=self.wire,
                )
        except LocalProtocolError as exc:
            # This side tried to send something invalid. That is an error of the program, but must
            # not end a client that was connected: the next attempt may send something else.
            if not endpoint.counters.begun:
                raise
            raise HandshakeError(f"cannot dial: {exc}", retryable=False) from exc
        except trio.TooSlowError as exc:
            raise HandshakeError(
                f"the handshake with {address.where} took more than {seconds:g} s"
            ) from exc


def _peer_at(address: Address) -> Peer:
    if address.socket_path is not None:
        return Peer("", 0, address.tls)
    return Peer(address.host, address.port, address.tls)
