"""`Client`: dials a listener and keeps one connection to it alive."""

from __future__ import annotations

import logging
import random
import time
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager, nullcontext
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

import trio

from restsock._buffered import Buffered
from restsock._exceptions import (
    ConnectionClosed,
    HandshakeError,
    LocalProtocolError,
    RequestTimeout,
    RestsockError,
    without_frames,
)
from restsock._limit_log import LimitLog
from restsock._logging import about
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
    Peer,
    Requester,
    Statistics,
    check_close_code,
    instruments_of,
    load_of,
    open_dialed,
)
from restsock.endpoint import EndpointCounters, PendingRequests, check_socket_options
from restsock.protocol import CloseCode, Headers
from restsock.tls import TLSLike, context_of

from ._dial import OpenStream, open_tcp, open_transport
from ._fields import credentials_of
from ._outage import Outage
from ._proxy import Proxy
from ._redial import Redial
from ._url import Address

if TYPE_CHECKING:
    from types import TracebackType

    from requests.adapters import BaseAdapter

    from restsock.openapi import ContractLike

__all__ = ["Client", "ClientStatistics"]

_log = logging.getLogger("restsock.client")

# Closes by the listener after which dialing again is not wanted: it has no more use for this
# client, or another one of the same name has taken its place (and would lose it again in turn).
_FINAL = frozenset((CloseCode.NORMAL, CloseCode.REPLACED))

_KEY = ""  # all pending requests wait for the same thing


@dataclass(frozen=True, slots=True)
class ClientStatistics:
    """What a client has been through. Ready for `dataclasses.asdict` and JSON.

    Attributes:
        connections: How often it was connected.
        reconnects: How often again, behind the first time.
        failures: How many attempts to connect have failed, all told.
        waiting: Requests that wait for a connection now.
        queued: Requests that wait for a thread of the app; `None` where it has no such queue.
        limits: How often each limit was in the way, by its name: those that were, at all.
        traffic: The sum over all connections, with those that have ended.
    """

    connections: int
    reconnects: int
    failures: int
    waiting: int
    queued: int | None
    limits: Mapping[str, int]
    traffic: Statistics


class Client(Requester):
    """One connection to a listener, made again whenever it fails. Made by `connect`.

        async with restsock.connect("wss://hub.example/", app=app, name="edge-1") as client:
            response = await client.request("GET", "/pets")

    Entering waits for the first connection. After a failure, or when the listener restarts (close
    codes 1001 and 1012), the client dials again by itself, sends its name and metadata again and
    serves its app again. Requests that are made meanwhile, or that the peer provably did not start,
    wait for that, up to their connect timeout. Those in flight fail, and say with `may_have_run`
    whether they may be repeated.

    A listener that announces its end (GOAWAY) before it closes costs no request: the client dials
    again at once, with the jitter of `Backoff`, while what is in flight goes on where it is.

    The pauses between attempts grow with `Backoff`, from the first one again after a connection
    that lasted 5 seconds and as long as the pause that was due by then. So a listener that accepts
    and fails at once is dialed ever less often, too. For `Backoff.restart` seconds after the
    listener has said that it restarts, no pause is longer than a second.

    It ends for good when it is closed, when the listener closes cleanly (1000) or replaces it by a
    newer client of the same name (4004), and when `Backoff.tries` attempts in a row have failed.
    `Backoff.give_up` says which other failures end it; by default
    those of the first connect that do not pass by themselves (a 404, a certificate that is not
    accepted) and, later on, the listener's own word that it will not have this client (a 401, say,
    unless its credentials come from a file or a function). Whatever else answers once it has been
    connected is followed by the next attempt; it is in the log and in `health()`. When it has
    ended, requests fail at once with `ConnectionClosed`.

    Leaving the block ends the connection with 1000, behind what is in flight, both ways
    (`Timeouts.grace`); leaving it by an exception does not wait for that, and a cancellation waits
    for nothing.

    Args:
        address: Whom to dial.
        handler: Serves the requests of the peer; without it they are refused.
        name: The name to be known by at the listener.
        metadata: Any JSON value, for the listener.
        headers: Further fields of the upgrade request.
        auth: Gives those that tell who this is, for each attempt.
        ssl_context: For `wss` addresses; those of `restsock.tls` follow their files.
        options: Limits, timeouts and heartbeat of each connection.
        backoff: How long to wait between attempts.
        chance: Random numbers in [0, 1), for the jitter.
        open_stream: Opens the stream to an address: a TCP connection, by default. TLS comes on top.
        proxy: Whom to dial through; `None` dials directly, whatever the environment says.
        instrument: Is told what happens; see `Instrument`.
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
    ) -> None:
        self.address = address
        self.options = Options() if options is None else options
        self.name = name
        self.metadata = metadata
        self._handler = handler
        self._headers = headers
        self._auth = auth
        self._ssl_context = ssl_context
        self._redial = Redial(Backoff() if backoff is None else backoff, chance)
        check_socket_options(self.options.sockets)
        self._open_stream = open_stream or partial(open_tcp, sockets=self.options.sockets)
        self._proxy = proxy
        self.limit_log = LimitLog(_log)
        self.instrument = instruments_of(instrument)
        self._counters = EndpointCounters("dialer", self.instrument, self.limit_log)
        self._outage = Outage(address, self.limit_log)
        self._buffered = Buffered(self.options.limits.buffered_total)
        self._pending = PendingRequests()
        self._connection: Connection | None = None
        # That one, and those before it which still finish what they carry.
        self._alive: dict[Connection, None] = {}
        self._manager: AbstractAsyncContextManager[Client] | None = None
        self._closing = False
        self._nursery: trio.Nursery | None = None
        self._scopes: list[trio.CancelScope] = []  # one around each task that keeps a connection
        self._final: Closed | None = None
        self._dialing = trio.CancelScope()  # around all dialing and waiting between attempts
        self._changed = trio.lowlevel.ParkingLot()  # for those who wait for a connection
        self._ended = trio.Event()
        self._outcome: Closed | None = None
        self._ending: Closed | None = None  # the same, as soon as it is certain
        self._last_failure: RestsockError | None = None  # since there was a connection
        self._token: trio.lowlevel.TrioToken | None = None
        self._connections = 0
        self._failures = 0

    # --- what it is -----------------------------------------------------------------------

    @property
    def token(self) -> trio.lowlevel.TrioToken:  # type: ignore[override]  # set once it is known
        """Of the loop that it lives on.

        Raises:
            RuntimeError: It was not entered yet.
        """
        self._check_entered()
        assert self._token is not None
        return self._token

    def _check_entered(self) -> None:
        if self._manager is None and not self._closing:
            raise RuntimeError(
                'this client was not entered, so it dials nobody: use "async with'
                ' restsock.connect(...) as client:"'
            )

    @property
    def connection(self) -> Connection | None:
        """The present connection, or `None` while there is none."""
        connection = self._connection
        # One that has just ended may not be cleared away yet.
        return None if connection is None or connection.closed is not None else connection

    @property
    def closed(self) -> bool:
        """Whether it has ended for good."""
        return self._outcome is not None

    def statistics(self) -> ClientStatistics:
        """Numbers of the whole life of this client, all its connections together."""
        load = load_of(self._handler)
        return ClientStatistics(
            connections=self._connections,
            reconnects=max(0, self._connections - 1),
            failures=self._failures,
            waiting=len(self._pending),
            queued=None if load is None else load.waiting,
            limits=self.limit_log.counts,
            traffic=self._counters.statistics(self._alive),
        )

    def health(self) -> Health:
        """Whether requests have a fair chance now, and if not, why. On the loop."""
        report = HealthReport()
        connection = self.connection
        if self._ending is not None:
            report.error(f"the client has ended, or is about to: {self._ending}")
        elif self._manager is None:
            report.error("the client was not started")
        elif connection is None:
            since = self._outage.since
            seconds = 0.0 if since is None else trio.current_time() - since
            report.error(f"not connected to {self.address} for {seconds:.1f} s")
            if self._last_failure is not None:
                report.warning(f"the last failure: {self._last_failure}")
        else:
            report.include(connection.health())
        if len(self._pending):
            report.warning(f"{len(self._pending)} requests wait for a connection")
        report.load(load_of(self._handler))
        report.limits(self.limit_log.last_hit, time.monotonic())
        return report.health()

    def __repr__(self) -> str:
        state = "closed" if self.closed else "connected" if self._connection else "not connected"
        return f"<Client of {self.address}, {state}>"

    @property
    def authority(self) -> str:
        """The Host of requests that name none: that of the listener."""
        return self.address.authority

    # --- requests -------------------------------------------------------------------------

    def submit(self, exchange: Exchange) -> None:
        """Hands an exchange to the connection, or lets it wait for the next one. On the loop."""
        self._check_entered()
        exchange.resubmit = self.submit
        connection = self.connection
        # A connection that is about to be closed takes no more, and the next one will.
        if connection is not None and connection.takes_requests:
            connection.submit(exchange)
        else:
            self._pending.add(_KEY, exchange, self._too_late)

    def adapter(self, *, openapi: ContractLike | None = None, **options: Any) -> BaseAdapter:
        """A transport adapter for `requests`; it goes on working across reconnects.

            session.mount("http://hub/", client.adapter())

        Args:
            openapi: Holds calls to an OpenAPI document: the name of its file, a mapping, its path
                on the peer (`"/openapi.json"`), `True` to look for it there, or a
                `restsock.openapi.Contract` with options.
            options: Those of `TunnelAdapter`: `max_retries`, for example.

        Raises:
            SpecError: The document cannot be read or used.
        """
        # Both bring much along that not everybody needs.
        from restsock.adapters import TunnelAdapter

        if openapi is not None:
            from restsock.openapi import bind_contract

            options["contract"] = bind_contract(self, openapi)
        return TunnelAdapter(self, **options)

    def transport(self) -> Any:
        """A transport for the async clients of httpx and httpx2, on trio.

            async with httpx.AsyncClient(transport=client.transport()) as http:
                await http.get("http://hub/pets")

        `restsock.adapters.HTTPXTransport(client)` is the blocking one, for threads.

        Raises:
            ImportError: neither of the two is installed (`pip install 'restsock[httpx]'`).
        """
        from restsock.adapters import transport_for

        return transport_for(self, asynchronous=True)

    def _too_late(self) -> RestsockError:
        error = RequestTimeout(
            f"no connection to {self.address} in time", phase="connect", may_have_run=False
        )
        error.__cause__ = self._last_failure
        return error

    # --- life -----------------------------------------------------------------------------

    async def wait_connected(self) -> Connection:
        """Waits until there is a connection that takes requests, and returns it.

        Raises:
            ConnectionClosed: The client has ended, or is about to.
            RuntimeError: It was not entered.
        """
        self._check_entered()
        await trio.lowlevel.checkpoint()
        while True:
            if self._ending is not None:
                raise self._ended_error()
            connection = self.connection
            if connection is not None and connection.takes_requests:
                return connection
            await self._changed.park()

    async def wait_closed(self) -> Closed:
        """Waits until the client has ended for good; returns how.

        That is the end of its last connection or, when it gave up dialing, code 1006 and why.

        Raises:
            RuntimeError: It was not entered.
        """
        self._check_entered()
        await self._ended.wait()
        assert self._outcome is not None
        return self._outcome

    async def aclose(
        self, code: int = CloseCode.NORMAL, reason: str = "", *, grace: float | None = None
    ) -> None:
        """Ends the client for good, behind what is in flight.

        From the call on no request is started, by neither side; those that wait for a connection
        fail. Requests in flight go on, those of the peer as well as the client's own. When the last
        is over, at once if there is none, or when the grace is, the connection is closed. Then this
        waits up to `Timeouts.close` seconds for the peer's half of the closing handshake, and drops
        the connection. When it is cancelled, it is dropped at once.

        A second call waits for the first; one with a shorter grace shortens it.

        Args:
            code: The close code for the peer.
            reason: For people, at most 123 bytes of UTF-8.
            grace: Seconds for what is in flight; `None` is `Timeouts.grace`, 0 cuts it off.

        Raises:
            ValueError: The code cannot be sent; nothing was changed. Those that can are 1000, 1001,
                1011 to 1013 and 3000 to 4999.
        """
        check_close_code(code)
        timeouts = self.options.timeouts
        self._closing = True
        self._dialing.cancel()
        self._stop_dialing(Closed(True, code, reason, by_peer=False))
        if self._manager is None:  # never entered: there is nobody else to note the end
            self._end(Closed(True, code, reason, by_peer=False))
        for connection in list(self._alive):
            connection.drain_soon(code, reason)
        try:
            with trio.move_on_after(timeouts.grace if grace is None else grace):
                await self._ended.wait()
            for connection in list(self._alive):
                connection.close_soon(code, reason)
            with trio.move_on_after(timeouts.close):
                await self._ended.wait()
        finally:
            for scope in self._scopes:
                scope.cancel()
        await self._ended.wait()

    async def __aenter__(self) -> Client:
        if self._manager is not None or self._closing:
            raise RuntimeError("a client can be entered once; make another one")
        self._manager = self._run()
        try:
            return await self._manager.__aenter__()
        except RestsockError as exc:
            raise without_frames(exc)  # noqa: B904  # it is the same error

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> bool | None:
        assert self._manager is not None
        return await self._manager.__aexit__(exc_type, exc, traceback)

    @asynccontextmanager
    async def _run(self) -> AsyncIterator[Client]:
        self._token = trio.lowlevel.current_trio_token()
        self._outage.since = trio.current_time()
        error: BaseException | None = None
        running = nullcontext() if self._handler is None else self._handler.running()
        try:
            async with running, trio.open_nursery() as nursery:
                try:
                    self._nursery = nursery
                    self._start_running(await self._first_connection(), None)
                    yield self
                # Kept from the nursery, which would wrap it in a group: what the block or the
                # first attempt raises is to arrive as it is.
                except (Exception, KeyboardInterrupt, SystemExit) as exc:  # noqa: BLE001  # raised below
                    error = exc
                if not self.closed:
                    await self.aclose(grace=None if error is None else 0)
                nursery.cancel_scope.cancel()
        finally:
            # Nobody waits in vain, whatever has ended this.
            self._end(Closed(False, CloseCode.ABNORMAL, "cancelled", by_peer=False))
        if error is not None:
            raise error

    def _stop_dialing(self, ending: Closed) -> None:
        """There will be no further connection. What is in flight may still go on."""
        if self._ending is None:
            self._ending = ending
            self._pending.close(self._ended_error)
            self._changed.unpark_all()

    def _end(self, outcome: Closed) -> None:
        if self._outcome is None:
            self._closing = True
            self._outcome = outcome
            self._stop_dialing(outcome)
            self._ended.set()

    def _ended_error(self) -> RestsockError:
        outcome = self._outcome or self._ending
        assert outcome is not None
        error = ConnectionClosed(
            f"the client of {self.address} has ended: {outcome}",
            code=outcome.code,
            reason=outcome.reason,
            may_have_run=False,
        )
        error.__cause__ = self._last_failure
        return error

    # --- connecting -----------------------------------------------------------------------

    async def _first_connection(self) -> Connection:
        try:
            connection = await self._dial_until_connected(failures=0)
        except RestsockError as exc:
            self._end(_gave_up(exc))
            raise
        if connection is None:
            reason = "closed before it was connected"
            self._end(Closed(True, CloseCode.NORMAL, reason, by_peer=False))
            raise self._ended_error()
        self._adopt(connection)
        return connection

    def _start_running(self, connection: Connection | None, lost: Closed | None) -> None:
        """Has a task run the connection, or dial another behind the lost one; and so on."""
        assert self._nursery is not None
        scope = trio.CancelScope()
        self._scopes.append(scope)
        self._nursery.start_soon(self._run_until_ended, scope, connection, lost)

    async def _run_until_ended(
        self, scope: trio.CancelScope, connection: Connection | None, lost: Closed | None
    ) -> None:
        outcome: Closed | None = Closed(False, CloseCode.ABNORMAL, "dropped", by_peer=False)
        with scope:
            outcome = await self._run_connections(connection, lost)
        self._scopes.remove(scope)
        if outcome is not None:
            self._final = self._final or outcome
            self._stop_dialing(outcome)
        # What is in flight on connections that were left in good order goes on to its end.
        if not self._scopes:
            assert self._final is not None
            self._end(self._final)

    async def _run_connections(
        self, connection: Connection | None, lost: Closed | None
    ) -> Closed | None:
        """Runs one connection after the other; the first, if there is one, is adopted already.

        Behind a connection that is announced to end another task goes on, so that this one can
        carry what is in flight to its end.

        Returns:
            How it ended for good; `None` when another task goes on.
        """
        while True:
            if connection is None:
                assert lost is not None
                try:
                    connection = await self._dial_until_connected(lost=lost)
                except RestsockError as exc:
                    _log.error("the client of %s has ended: %s", self.address, exc)
                    return _gave_up(exc)
                if connection is None:
                    return lost
                self._adopt(connection)
            start = trio.current_time()
            connection.on_leaving = partial(self._replace, connection, start)
            try:
                closed = await connection.run(self._handler)
            finally:
                replaced = connection.on_leaving is None
                connection.on_leaving = None
                del self._alive[connection]
                self._counters.end(connection)
                if self._connection is connection:
                    self._connection = None
                    self._outage.since = trio.current_time()
            if replaced:
                if closed.by_peer:
                    # Only now does the restart begin: until here the old one was still there.
                    self._redial.end(trio.current_time(), trio.current_time() - start, closed.code)
                return None
            if self._closing or (closed.by_peer and closed.code in _FINAL):
                _log.log(
                    logging.INFO if self._closing else logging.WARNING,
                    "the client of %s has ended: %s",
                    self.address,
                    closed,
                    extra=about(connection),
                )
                return closed
            self._redial.end(trio.current_time(), trio.current_time() - start, closed.code)
            connection, lost = None, closed

    def _replace(self, connection: Connection, start: float, code: int) -> None:
        """Dials another connection, if there ought to be one, when this one is announced to end."""
        # Behind a final code there will be none, and the code counts when it is there; 4005 cuts
        # everything off at once, and is the reason to be told.
        if self._closing or code in _FINAL or code == CloseCode.FORBIDDEN:
            return
        connection.on_leaving = None
        _log.info(
            "connection %s is going to be closed: %d", connection.id, code, extra=about(connection)
        )
        self._redial.end(trio.current_time(), trio.current_time() - start, code)
        self._start_running(None, Closed(True, code, "it was announced", by_peer=True))
        assert self._nursery is not None
        self._nursery.start_soon(self._drain_old, connection)

    async def _drain_old(self, connection: Connection) -> None:
        """Closes a connection that was replaced, if its peer does not: they would pile up."""
        with trio.move_on_after(self.options.timeouts.grace):
            await connection.wait_closed()
        connection.drain_soon(CloseCode.GOING_AWAY, "left behind")

    def _adopt(self, connection: Connection) -> None:
        self._connections += 1
        serving = self._handler is not None
        self._outage.end(connection, trio.current_time(), serving=serving)
        self._counters.begin(connection)
        if self.instrument is not None and self._connections > 1:
            self.instrument.reconnected(connection)
        self._connection = connection
        self._alive[connection] = None
        self._last_failure = None
        if self._closing:
            # The close came while the last step of the handshake was on its way.
            connection.close_soon()
            return
        self._changed.unpark_all()
        self._pending.submit_all(_KEY, connection)

    async def _dial_until_connected(
        self, *, failures: int = 0, lost: Closed | None = None
    ) -> Connection | None:
        """Dials with growing pauses until it works, or the client is closed: then `None`.

        Behind a lost connection the first attempt has its pause, too: a listener that restarts
        would else meet all its clients at once.

        Raises:
            HandshakeError: Dialing again would not help, or was done often enough.
        """
        if lost is not None:
            self._last_failure = ConnectionClosed(
                f"the last connection has ended: {lost}", code=lost.code, reason=lost.reason
            )
        with trio.CancelScope() as self._dialing:
            while not self._closing:
                pause = self._redial.pause(trio.current_time())
                if pause is not None:
                    # To be sent elsewhere in good order is nothing to worry about.
                    expected = lost is not None and lost.clean and not failures
                    level = logging.INFO if expected else logging.WARNING
                    self._outage.fail(str(self._last_failure), pause, level, trio.current_time())
                    await trio.sleep(pause)
                self._redial.begin(trio.current_time())
                try:
                    return await self._dial()
                except HandshakeError as exc:
                    self._last_failure = without_frames(exc)
                    self._failures += 1
                    self._counters.fail()
                    failures += 1
                    if self._redial.gives_up(
                        exc,
                        failures=failures,
                        connected_before=self._connections > 0,
                        renewable=self._renewable,
                    ):
                        raise
        return None

    @property
    def _renewable(self) -> bool:
        """Whether its credentials may be others the next time."""
        return bool(getattr(self._auth, "renewable", self._auth is not None))

    async def _dial(self) -> Connection:
        address = self.address
        seconds = self.options.timeouts.handshake
        deadline = trio.current_time() + seconds
        headers = list(self._headers)
        with trio.move_on_after(seconds) as scope:
            headers += await credentials_of(self._auth)
        if scope.cancelled_caught:
            raise HandshakeError(f"no credentials to dial with within {seconds:g} s")
        left = max(0.1, round(deadline - trio.current_time(), 1))
        tls = self._ssl_context
        stream = await open_transport(
            address,
            None if tls is None else context_of(tls),
            self._open_stream,
            left,
            proxy=self._proxy,
            sockets=self.options.sockets,
            server_hostname=getattr(tls, "server_hostname", None),
        )
        try:
            # The handshake has what the socket and TLS have left of the time.
            with trio.fail_at(deadline):
                return await open_dialed(
                    stream,
                    host=address.authority,
                    target=address.target,
                    name=self.name,
                    metadata=self.metadata,
                    headers=headers,
                    peer=Peer(address.host, address.port, address.tls),
                    options=self.options,
                    limit_log=self.limit_log,
                    buffered=self._buffered,
                )
        except LocalProtocolError as exc:
            # What this side would send cannot be sent. That is an error of the program, but it is
            # not to end a client that was connected: the next attempt may have something else.
            if not self._connections:
                raise
            raise HandshakeError(f"cannot dial: {exc}", retryable=False) from exc
        except trio.TooSlowError as exc:
            raise HandshakeError(
                f"the handshake with {address.authority} took more than {seconds:g} s"
            ) from exc


def _gave_up(error: RestsockError) -> Closed:
    return Closed(False, CloseCode.ABNORMAL, str(error), by_peer=False)
