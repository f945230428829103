"""`Client`: dials a listener and keeps one connection to it alive."""

from __future__ import annotations

import logging
import random
import ssl
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager, nullcontext
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import trio

from restsock._config import Backoff, Options
from restsock._exceptions import ConnectionClosed, HandshakeError, RequestTimeout, RestsockError
from restsock.connection import (
    Closed,
    Connection,
    Dispatcher,
    Exchange,
    Handler,
    Lobby,
    Peer,
    check_close_code,
    open_dialed,
)
from restsock.protocol import CloseCode, Headers

from ._dial import OpenStream, open_tcp, open_transport
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

# Seconds. A listener that accepts and then fails, again and again, is as good as away: a connection
# that lasted less than this, or less than the pause due behind it, does not shorten the pauses.
_BRIEF = 5.0

_KEY = ""  # all that waits in the lobby waits for the same thing


@dataclass(frozen=True)
class ClientStatistics:
    """What a client has been through.

    Attributes:
        connections: How often it was connected.
        failures: How many attempts to connect have failed, all told.
        waiting: Requests that wait for a connection now.
    """

    connections: int
    failures: int
    waiting: int


class Client(Dispatcher):
    """One connection to a listener, made again whenever it fails. Made by `connect`.

        async with restsock.connect("wss://hub.example/", app=app, name="edge-1") as client:
            response = await client.request("GET", "/pets")

    Entering waits for the first connection. After a failure, or when the listener restarts (close
    code 1001), the client dials again by itself, sends its name and metadata again and serves its
    app again. Requests that are made meanwhile, or that had no stream yet, wait for that, up to
    their connect timeout. Those in flight fail, and say with `may_have_run` whether they may be
    repeated.

    The pauses between attempts grow with `Backoff`, from the first one again behind a connection
    that lasted 5 seconds and as long as the pause that was due by then. So a listener that accepts
    and fails at once is dialed ever less often, too.

    It ends for good when it is closed, when the listener closes cleanly (1000) or replaces it by a
    newer client of the same name (4004), when the listener refuses it for a reason that does
    not pass (a 401, say), and when `Backoff.tries` attempts in a row have failed. From then on
    requests fail at once with `ConnectionClosed`.

    What leaves the block ends the connection with 1000. A cancellation ends it at once.

    Args:
        address: Whom to dial.
        handler: Serves the requests of the peer; without it they are refused.
        name: The name to be known by at the listener.
        metadata: Any JSON value, for the listener.
        headers: Further fields of the upgrade request.
        ssl_context: For `wss` addresses.
        options: Limits, timeouts and heartbeat of each connection.
        backoff: How long to wait between attempts.
        chance: Random numbers in [0, 1), for the jitter.
        open_stream: Opens the stream to an address: a TCP connection, by default. TLS comes on top.
    """

    def __init__(
        self,
        address: Address,
        *,
        handler: Handler | None = None,
        name: str | None = None,
        metadata: Any = None,
        headers: Headers = (),
        ssl_context: ssl.SSLContext | None = None,
        options: Options | None = None,
        backoff: Backoff | None = None,
        chance: Callable[[], float] = random.random,
        open_stream: OpenStream = open_tcp,
    ) -> None:
        self.address = address
        self.options = Options() if options is None else options
        self.name = name
        self.metadata = metadata
        self._handler = handler
        self._headers = headers
        self._ssl_context = ssl_context
        self._backoff = Backoff() if backoff is None else backoff
        self._chance = chance
        self._open_stream = open_stream
        self._lobby = Lobby()
        self._connection: Connection | None = None
        self._manager: AbstractAsyncContextManager[Client] | None = None
        self._closing = False
        self._life = trio.CancelScope()  # around everything
        self._patience = trio.CancelScope()  # around all dialing and waiting between attempts
        self._changed = trio.lowlevel.ParkingLot()  # for those who wait for a connection
        self._ended = trio.Event()
        self._outcome: Closed | None = None
        self._last_failure: RestsockError | None = None  # since there was a connection
        self._attempts = 0  # since a connection lasted, the one that made it included
        self._connections = 0
        self._failures = 0

    # --- what it is -----------------------------------------------------------------------

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
        """Numbers of the whole life of this client; `Connection.statistics` has more."""
        return ClientStatistics(self._connections, self._failures, len(self._lobby))

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
        exchange.home = self.submit
        connection = self.connection
        # A connection that the peer is about to close takes no more, and the next one will.
        if connection is not None and connection.session.accepts_streams:
            connection.submit(exchange)
        else:
            self._lobby.enter(_KEY, exchange, self._too_late)

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
        """Waits until there is a connection and returns it.

        Raises:
            ConnectionClosed: The client has ended.
        """
        await trio.lowlevel.checkpoint()
        while True:
            if self._outcome is not None:
                raise self._ended_error()
            connection = self.connection
            if connection is not None:
                return connection
            await self._changed.park()

    async def wait_closed(self) -> Closed:
        """Waits until the client has ended for good; returns how.

        That is the end of its last connection or, when it gave up dialing, code 1006 and why.
        """
        await self._ended.wait()
        assert self._outcome is not None
        return self._outcome

    async def aclose(self, code: int = CloseCode.NORMAL, reason: str = "") -> None:
        """Ends the client for good. A second call waits for the first.

        Waits up to `Timeouts.close` seconds for the peer's half of the closing handshake, and drops
        the connection then, or at once when it is cancelled.

        Args:
            code: The close code for the peer.
            reason: For people, at most 123 bytes of UTF-8.

        Raises:
            ValueError: The code cannot be sent; nothing was changed. Those that can are 1000, 1001,
                1011 to 1013 and 3000 to 4999.
        """
        check_close_code(code)
        self._closing = True
        self._patience.cancel()
        if self._manager is None:  # never entered: there is nobody else to note the end
            self._end(Closed(True, code, reason, by_peer=False))
        if self._connection is not None:
            self._connection.close_soon(code, reason)
        try:
            with trio.move_on_after(self.options.timeouts.close):
                await self._ended.wait()
        finally:
            self._life.cancel()
        await self._ended.wait()

    async def __aenter__(self) -> Client:
        if self._manager is not None or self._closing:
            raise RuntimeError("a client can be entered once; make another one")
        self._manager = self._run()
        return await self._manager.__aenter__()

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
        self.token = trio.lowlevel.current_trio_token()
        error: BaseException | None = None
        running = nullcontext() if self._handler is None else self._handler.running()
        try:
            async with running, trio.open_nursery() as nursery:
                try:
                    nursery.start_soon(self._keep, await self._first_connection())
                    yield self
                # Kept from the nursery, which would wrap it in a group: what the block or the
                # first attempt raises is to arrive as it is.
                except (Exception, KeyboardInterrupt, SystemExit) as exc:  # noqa: BLE001  # raised below
                    error = exc
                if not self.closed:
                    await self.aclose()
                nursery.cancel_scope.cancel()
        finally:
            # Nobody waits in vain, whatever has ended this.
            self._end(Closed(False, CloseCode.ABNORMAL, "cancelled", by_peer=False))
        if error is not None:
            raise error

    def _end(self, outcome: Closed) -> None:
        if self._outcome is None:
            self._closing = True
            self._outcome = outcome
            self._lobby.close(self._ended_error)
            self._ended.set()
            self._changed.unpark_all()

    def _ended_error(self) -> RestsockError:
        outcome = self._outcome
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

    async def _keep(self, connection: Connection) -> None:
        with self._life:
            await self._keep_connected(connection)
        self._end(Closed(False, CloseCode.ABNORMAL, "dropped", by_peer=False))

    async def _keep_connected(self, connection: Connection) -> None:
        """Runs one connection after the other; the first is adopted already."""
        while True:
            start = trio.current_time()
            try:
                closed = await connection.run(self._handler)
            finally:
                self._connection = None
            if self._closing or (closed.by_peer and closed.code in _FINAL):
                _log.info("the client of %s has ended: %s", self.address, closed)
                self._end(closed)
                return
            due = self._backoff.delay(self._attempts, 1.0)
            if trio.current_time() - start >= max(due, _BRIEF):
                self._attempts = 1
            try:
                replacement = await self._dial_until_connected(lost=closed)
            except RestsockError as exc:
                _log.error("the client of %s has ended: %s", self.address, exc)
                self._end(_gave_up(exc))
                return
            if replacement is None:
                self._end(closed)
                return
            self._adopt(replacement)
            connection = replacement

    def _adopt(self, connection: Connection) -> None:
        self._connections += 1
        self._connection = connection
        self._last_failure = None
        _log.info("connected to %s as %s (name %r)", self.address, connection.id, connection.name)
        if self._closing:
            # The close came while the last step of the handshake was on its way.
            connection.close_soon()
            return
        self._changed.unpark_all()
        self._lobby.leave(_KEY, connection)

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
        with trio.CancelScope() as self._patience:
            while not self._closing:
                if self._attempts:
                    pause = self._backoff.delay(self._attempts, self._chance())
                    _log.warning(
                        "no connection to %s: %s; dialing again in %.2f s",
                        self.address,
                        self._last_failure,
                        pause,
                    )
                    await trio.sleep(pause)
                self._attempts += 1
                try:
                    return await self._dial()
                except HandshakeError as exc:
                    self._last_failure = exc
                    self._failures += 1
                    failures += 1
                    if not exc.retryable or failures == self._backoff.tries:
                        raise
        return None

    async def _dial(self) -> Connection:
        address = self.address
        seconds = self.options.timeouts.handshake
        deadline = trio.current_time() + seconds
        stream = await open_transport(address, self._ssl_context, self._open_stream, seconds)
        try:
            # The handshake has what the socket and TLS have left of the time.
            with trio.fail_at(deadline):
                return await open_dialed(
                    stream,
                    host=address.authority,
                    target=address.target,
                    name=self.name,
                    metadata=self.metadata,
                    headers=self._headers,
                    peer=Peer(address.host, address.port, address.tls),
                    options=self.options,
                )
        except trio.TooSlowError as exc:
            raise HandshakeError(
                f"the handshake with {address.authority} took more than {seconds:g} s"
            ) from exc


def _gave_up(error: RestsockError) -> Closed:
    return Closed(False, CloseCode.ABNORMAL, str(error), by_peer=False)
