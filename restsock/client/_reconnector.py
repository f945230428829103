"""Keeps one connection to a listener: runs it, and has the next one dialed when it ends."""

from __future__ import annotations

import logging
from functools import partial

import trio

from restsock._exceptions import ConnectionClosed, RestsockError
from restsock._logging import PartLog, about
from restsock.connection import Closed, Connection
from restsock.endpoint import Endpoint, State
from restsock.protocol import CloseCode

from ._dialer import Dialer

__all__ = ["KEY", "Reconnector"]

_log = PartLog("restsock.client")

KEY = ""  # all pending requests wait for the same thing

# Closes by the listener after which dialing again is not wanted: it has no more use for this
# client, or another one of the same name has taken its place (and would lose it again in turn).
_FINAL = frozenset((CloseCode.NORMAL, CloseCode.REPLACED))


class Reconnector:
    """The connections of a client: the present one, and those that it replaced.

    A task runs a connection and dials the next one. After a connection is announced to end,
    another task goes on, so that the first can carry what is in flight to its end. When the last of
    them has ended, the client has.

    Attributes:
        alive: The present connection, and those before it which still finish what they carry.
        outcome: How the client ends, as soon as it is certain that there is no further connection.
    """

    def __init__(self, endpoint: Endpoint, dialer: Dialer) -> None:
        self.alive: dict[Connection, None] = {}
        self.outcome: Closed | None = None
        self._endpoint = endpoint
        self._life = endpoint.life
        self._dialer = dialer
        self._nursery: trio.Nursery | None = None
        self._scopes: list[trio.CancelScope] = []  # one around each task that keeps a connection
        self._final: Closed | None = None  # what the first of them has ended with for good
        self._connection: Connection | None = None
        self._changed = trio.lowlevel.ParkingLot()  # for those who wait for a connection

    @property
    def connection(self) -> Connection | None:
        """The present connection, or `None` while there is none."""
        connection = self._connection
        # One that has just ended may not be cleared away yet.
        return None if connection is None or connection.closed is not None else connection

    async def wait_connected(self) -> Connection:
        """Waits until there is a connection that takes requests. See `Client.wait_connected`."""
        while not self._life.ending:
            connection = self.connection
            if connection is not None and connection.takes_requests:
                return connection
            await self._changed.park()
        raise self.ended_error()

    def ended_error(self) -> RestsockError:
        """For requests that no connection will come for."""
        assert self.outcome is not None
        error = ConnectionClosed(
            f"the client of {self._dialer.address} has ended: {self.outcome}",
            code=self.outcome.code,
            reason=self.outcome.reason,
            may_have_run=False,
        )
        error.__cause__ = self._dialer.last_failure
        return error

    # --- life -----------------------------------------------------------------------------

    async def start(self, nursery: trio.Nursery) -> None:
        """Makes the first connection, and keeps one from then on, with tasks in this nursery.

        Raises:
            RestsockError: There is none, and will be none.
        """
        self._nursery = nursery
        self._dialer.lose()
        try:
            connection = await self._dialer.dial()
        except RestsockError as exc:
            self.end(_gave_up(exc))
            raise
        if connection is None:
            reason = "closed before it was connected"
            self.end(Closed(True, CloseCode.NORMAL, reason, by_peer=False))
            raise self.ended_error()
        self._adopt(connection)
        self._start_running(connection, None)

    def stop(self, outcome: Closed) -> None:
        """There will be no further connection. What is in flight may still go on."""
        if self._life.to(State.DRAINING):
            self.outcome = outcome
            self._dialer.stop()
            self._endpoint.pending.close(self.ended_error)
            self._changed.unpark_all()

    def end(self, outcome: Closed) -> None:
        """There is no connection any more. A second call changes nothing."""
        self.stop(outcome)
        if self._life.to(State.CLOSED):
            self.outcome = outcome

    async def close(self, code: int, reason: str, grace: float | None) -> None:
        """Ends it after what is in flight, with a code that can be sent. See `Client.aclose`."""
        outcome = Closed(True, code, reason, by_peer=False)
        if self._life.state is State.NEW:  # nothing else would note the end
            self.end(outcome)
        self.stop(outcome)
        try:
            await self._endpoint.drain(
                lambda: self.alive, self._life.wait_closed, code, reason, grace
            )
        finally:
            for scope in self._scopes:
                scope.cancel()
        await self._life.wait_closed()

    # --- one connection after the other ---------------------------------------------------

    def _start_running(self, connection: Connection | None, lost: Closed | None) -> None:
        """Has a task run the connection, or dial another after it is lost, and so on."""
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
            self.stop(outcome)
        # What is in flight on connections that were left in good order goes on to its end.
        if not self._scopes:
            assert self._final is not None
            self.end(self._final)

    async def _run_connections(
        self, connection: Connection | None, lost: Closed | None
    ) -> Closed | None:
        """Runs one connection after the other; the first, if there is one, is adopted already.

        After a connection is announced to end, another task goes on, so that this one can
        carry what is in flight to its end.

        Returns:
            How it ended for good; `None` when another task goes on.
        """
        while True:
            if connection is None:
                assert lost is not None
                try:
                    connection = await self._dialer.dial(lost)
                except RestsockError as exc:
                    _log.error("the client of %s has ended: %s", self._dialer.address, exc)
                    return _gave_up(exc)
                if connection is None:
                    return lost
                self._adopt(connection)
            start = trio.current_time()
            connection.on_leaving = partial(self._replace, connection, start)
            try:
                closed = await connection.run(self._endpoint.handler)
            finally:
                replaced = connection.on_leaving is None
                connection.on_leaving = None
                del self.alive[connection]
                self._endpoint.end(connection)
                if self._connection is connection:
                    self._connection = None
                    self._dialer.lose()
            if replaced:
                if closed.by_peer:
                    # Only now does the restart begin: until here the old one was still there.
                    self._dialer.end(start, closed.code)
                return None
            if self._life.ending or (closed.by_peer and closed.code in _FINAL):
                _log.log(
                    logging.INFO if self._life.ending else logging.WARNING,
                    "the client of %s has ended: %s",
                    self._dialer.address,
                    closed,
                    extra=about(connection),
                )
                return closed
            self._dialer.end(start, closed.code)
            connection, lost = None, closed

    def _replace(self, connection: Connection, start: float, code: int) -> None:
        """Dials another connection, if there ought to be one, when this one is announced to end."""
        # After a final code there will be none, and the code counts when it is there; 4005 cuts
        # everything off at once, and is the reason to be told.
        if self._life.ending or code in _FINAL or code == CloseCode.FORBIDDEN:
            return
        connection.on_leaving = None
        _log.info(
            "connection %s is going to be closed: %d", connection.id, code, extra=about(connection)
        )
        self._dialer.end(start, code)
        self._start_running(None, Closed(True, code, "announced by the listener", by_peer=True))
        assert self._nursery is not None
        self._nursery.start_soon(self._drain_old, connection)

    async def _drain_old(self, connection: Connection) -> None:
        """Closes a connection that was replaced, if its peer does not: they would pile up."""
        with trio.move_on_after(self._endpoint.options.timeouts.grace):
            await connection.wait_closed()
        connection.drain_soon(CloseCode.GOING_AWAY, "left behind")

    def _adopt(self, connection: Connection) -> None:
        counters, instrument = self._endpoint.counters, self._endpoint.instrument
        counters.begin(connection)
        self._endpoint.attach(connection)
        if instrument is not None and counters.begun > 1:
            instrument.reconnected(connection)
        self._connection = connection
        self.alive[connection] = None
        if self._life.ending:
            # The close came while the last step of the handshake was on its way.
            connection.close_soon()
            return
        self._changed.unpark_all()
        self._endpoint.pending.offer_all(KEY, connection)


def _gave_up(error: RestsockError) -> Closed:
    return Closed(False, CloseCode.ABNORMAL, str(error), by_peer=False)
