"""`Client`: dials a listener and keeps one connection to it."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Any

import trio

from restsock._exceptions import RequestTimeout, RestsockError, without_frames
from restsock._logging import LoggerLike, PartLog
from restsock._options import Backoff, Options
from restsock.auth import Credentials
from restsock.connection import (
    Closed,
    Connection,
    Exchange,
    Handler,
    Health,
    HealthReport,
    InstrumentLike,
    MessagingLike,
    Wire,
    check_close_code,
)
from restsock.endpoint import (
    AdaptedRequester,
    ClientStatistics,
    Endpoint,
    State,
    documented_like,
)
from restsock.protocol import CloseCode, Headers
from restsock.tls import TLSLike

from ._dial import OpenStream, Transport
from ._dialer import Dialer
from ._proxy import Proxy
from ._reconnector import KEY, Reconnector
from ._url import Address

__all__ = ["Client"]

_log = PartLog("restsock.client")


class Client(AdaptedRequester):
    """Keeps one connection to a listener, and reconnects when it fails. Made by `connect`.

        async with restsock.connect("wss://hub.example/", app=app, name="edge-1") as client:
            response = await client.request("GET", "/pets")

    Entering waits for the first connection. After a failure, or when the listener restarts (close
    codes 1001 and 1012), the client dials again automatically, with the same name, metadata and
    app. Requests that are made meanwhile, or that the peer provably did not start, wait for the new
    connection, up to their connect timeout. Requests in flight fail; their `may_have_run` says
    whether they are safe to repeat. If the listener announces its end (GOAWAY), no request is lost:
    the client dials at once, while requests in flight continue on the old connection.

    The pauses between attempts grow with `Backoff`. They start over after a connection that lasted
    at least 5 seconds, and at least as long as the pause that was due.

    The client ends permanently when it is closed, when the listener closes cleanly (1000) or
    replaces it by a newer client of the same name (4004), after `Backoff.tries` failures in a row,
    and after a failure that `Backoff.give_up` names. From then on requests fail at once with
    `ConnectionClosed`.

    Leaving the block closes the connection with 1000, after the requests in flight in both
    directions (`Timeouts.grace`). After an exception it does not wait for them, and a cancellation
    waits for nothing.

    Args:
        address: The listener to dial.
        handler: Serves the requests of the peer; without it they are refused.
        chance: Returns random numbers in [0, 1), for the jitter.
        open_stream: Opens the stream to an address, by default a TCP connection. TLS comes on top.
        proxy: The proxy to dial through; `None` dials directly, whatever the environment says.

    The other arguments are those of `connect`.
    """

    def __init__(
        self,
        address: Address,
        *,
        handler: Handler | None = None,
        name: str | None = None,
        metadata: Any = None,
        headers: Headers = (),
        auth: Credentials | None = None,
        ssl_context: TLSLike | None = None,
        options: Options | None = None,
        backoff: Backoff | None = None,
        chance: Callable[[], float] = random.random,
        open_stream: OpenStream | None = None,
        proxy: Proxy | None = None,
        instrument: InstrumentLike | None = None,
        messaging: MessagingLike | None = None,
        logger: LoggerLike | None = None,
    ) -> None:
        self._endpoint = endpoint = Endpoint(
            "dialer", _log, handler, options, instrument, messaging, logger
        )
        self.options = endpoint.options
        self.limit_log = endpoint.limit_log
        self.instrument = endpoint.instrument
        self.address = address
        self.name = name
        self.metadata = metadata
        self._dialer = Dialer(
            endpoint,
            Transport(address, ssl_context, open_stream, proxy, self.options.sockets),
            identity=lambda: (self.name, self.metadata),
            headers=headers,
            auth=auth,
            backoff=Backoff() if backoff is None else backoff,
            chance=chance,
        )
        self._reconnector = Reconnector(endpoint, self._dialer)

    # --- state ----------------------------------------------------------------------------

    @property
    def token(self) -> trio.lowlevel.TrioToken:  # type: ignore[override]  # set once it is known
        """The token of the loop that it runs on.

        Raises:
            RuntimeError: The client was not entered yet.
        """
        self._check_entered()
        assert self._endpoint.life.token is not None
        return self._endpoint.life.token

    def _check_entered(self) -> None:
        if self._endpoint.life.state is State.NEW:
            raise RuntimeError(
                'this client was not entered, so it does not dial: use "async with'
                ' restsock.connect(...) as client:"'
            )

    @property
    def connection(self) -> Connection | None:
        """The current connection, or `None` while there is none."""
        return self._reconnector.connection

    @property
    def urls(self) -> tuple[str, ...]:
        """The URLs at which plain HTTP reaches this peer, in order of preference.

        The listener's ingress sends them. Empty without a connection or an ingress.
        """
        connection = self.connection
        return () if connection is None else connection.urls

    @property
    def closed(self) -> bool:
        """Whether the client has ended permanently."""
        return self._endpoint.life.state is State.CLOSED

    def statistics(self) -> ClientStatistics:
        """Counters over the whole life of this client, for all its connections."""
        connections = self._endpoint.counters.begun
        return ClientStatistics(
            connections=connections,
            reconnects=max(0, connections - 1),
            failures=self._endpoint.counters.failed,
            waiting=len(self._endpoint.pending),
            queued=self._endpoint.queued,
            limits=self.limit_log.counts,
            traffic=self._endpoint.counters.statistics(self._reconnector.alive),
        )

    def health(self) -> Health:
        """Whether requests can be served now, and if not, why. On the loop."""
        report = HealthReport()
        connection = self.connection
        if self._endpoint.life.ending:
            report.error(f"the client has ended, or is about to: {self._reconnector.outcome}")
        elif self._endpoint.life.state is State.NEW:
            report.error("the client was not started")
        elif connection is None:
            report.error(f"not connected to {self.address} for {self._dialer.away:.1f} s")
            if self._dialer.last_failure is not None:
                report.warning(f"the last failure: {self._dialer.last_failure}")
        else:
            report.include(connection.health())
        return self._endpoint.complete(report, "a connection")

    def __repr__(self) -> str:
        state = "closed" if self.closed else "connected" if self.connection else "not connected"
        return f"<Client of {self.address}, {state}>"

    @property
    def authority(self) -> str:
        """The default Host of requests: that of the listener."""
        return self.address.authority

    # --- requests -------------------------------------------------------------------------

    def submit(self, exchange: Exchange) -> None:
        """Submits an exchange to the connection, or queues it for the next one. On the loop."""
        self._check_entered()
        exchange.resubmit = self.submit
        connection = self.connection
        # A connection that is about to close accepts no more; the next one will.
        if connection is None or not connection.offer(exchange):
            self._endpoint.pending.add(KEY, exchange, self._too_late)

    def _too_late(self) -> RestsockError:
        error = RequestTimeout(
            f"no connection to {self.address} in time", phase="connect", may_have_run=False
        )
        error.__cause__ = self._dialer.last_failure
        return error

    # --- life cycle -----------------------------------------------------------------------

    def serve_here(self, face: Callable[[Connection], Any]) -> None:
        """Makes the app and `auth` run on the asyncio loop that runs here. Call before entering.

        Args:
            face: Wraps a connection in the class that a function app sees on that loop.
        """
        self._endpoint.serve_here(face)

    def dial_over(self, open_stream: OpenStream) -> None:
        """Makes it dial something other than TCP. Call before entering."""
        self._dialer.transport = replace(self._dialer.transport, open_stream=open_stream)

    def speak(self, wire: Wire) -> None:
        """Makes it speak a protocol other than restsock.v1. Call before entering."""
        self._dialer.wire = wire

    async def wait_connected(self) -> Connection:
        """Waits until there is a connection that accepts requests, and returns it.

        Can be cancelled at any time.

        Raises:
            ConnectionClosed: The client has ended, or is about to.
            RuntimeError: The client was not entered.
        """
        self._check_entered()
        await trio.lowlevel.checkpoint()
        return await self._reconnector.wait_connected()

    async def wait_closed(self) -> Closed:
        """Waits until the client has ended permanently; returns how it ended.

        That is how its last connection ended or, if it gave up dialing, code 1006 and the reason.
        Can be cancelled at any time.

        Raises:
            RuntimeError: The client was not entered.
        """
        self._check_entered()
        await self._endpoint.life.wait_closed()
        assert self._reconnector.outcome is not None
        return self._reconnector.outcome

    @documented_like(Endpoint.drain)
    async def aclose(
        self, code: int = CloseCode.NORMAL, reason: str = "", *, grace: float | None = None
    ) -> None:
        """Ends the client permanently, after the requests in flight.

        From now on neither side starts a request; requests that wait for a connection fail.
        Requests in flight continue, in both directions. The connection closes after the last one,
        or when the grace period is over. Then this waits up to `Timeouts.close` seconds for the
        peer's half of the closing handshake, and drops the connection. If cancelled, the connection
        is dropped at once.

        A second call waits for the first; if its grace period is shorter, that applies.
        """
        check_close_code(code)
        await self._reconnector.close(code, reason, grace)

    async def __aenter__(self) -> Client:
        cancelled = Closed(False, CloseCode.ABNORMAL, "cancelled", by_peer=False)
        end = partial(self._reconnector.end, cancelled)
        endpoint = self._endpoint
        try:
            await endpoint.life.enter([endpoint.handler], self._start, self.aclose, end)
        except RestsockError as exc:
            raise without_frames(exc)  # noqa: B904  # it is the same error
        return self

    async def _start(self, nursery: trio.Nursery) -> None:
        self._endpoint.check_messaging()
        await self._reconnector.start(nursery)

    async def __aexit__(self, *exc: Any) -> bool | None:
        return await self._endpoint.life.leave(*exc)
