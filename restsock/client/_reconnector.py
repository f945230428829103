"""Keeps one connection to a listener: runs it, and dials the next one when it ends."""

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

# After these close codes of the listener the client does not dial again: the listener has no more
# use for it, or another client of the same name has replaced it (and would be replaced in turn).
_FINAL = frozenset((CloseCode.NORMAL, CloseCode.REPLACED))


class Reconnector:
    """The connections of a client: the current one, and those that it replaced.

    A task runs a connection and dials the next one. When the end of a connection is announced,
    another task dials the next one, while the first task finishes the requests in flight. When the
    last task has ended, the client has ended.

    Attributes:
        alive: The current connection, and earlier ones that still have requests in flight.
        outcome: How the client ends; `None` as long as there may be another connection.
    """

    def __init__(self, endpoint: Endpoint, dialer: Dialer) -> None:
        self.alive: dict[Connection, None] = {}
        self.outcome: Closed | None = None
        self._endpoint = endpoint
        self._life = endpoint.life
        self._dialer = dialer
        self._nursery: trio.Nursery | None = None
        self._scopes: list[trio.CancelScope] = []  # one around each task that runs a connection
        self._final: Closed | None = None  # how the first of them ended permanently
        self._connection: Connection | None = None
        self._changed = trio.lowlevel.ParkingLot()  # tasks that wait for a connection

    @property
    def connection(self) -> Connection | None:
        """The current connection, or `None` while there is none."""
        connection = self._connection
        # One that has just ended may still be here.
        return None if connection is None or connection.closed is not None else connection

    async def wait_connected(self) -> Connection:
        """Waits until there is a connection that accepts requests. See `Client.wait_connected`."""
        while not self._life.ending:
            connection = self.connection
            if connection is not None and connection.takes_requests:
                return connection
            await self._changed.park()
        raise self.ended_error()

    def ended_error(self) -> RestsockError:
        """The error for requests for which there will be no connection."""
        assert self.outcome is not None
        error = ConnectionClosed(
            f"the client of {self._dialer.address} has ended: {self.outcome}",
            code=self.outcome.code,
            reason=self.outcome.reason,
            may_have_run=False,
        )
        error.__cause__ = self._dialer.last_failure
        return error

    # --- life cycle -----------------------------------------------------------------------

    async def start(self, nursery: trio.Nursery) -> None:
        """Makes the first connection, and reconnects from then on, with tasks in this nursery.

        Raises:
            RestsockError: There is no connection, and there will be none.
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
        """Stops dialing: there will be no other connection. Requests in flight may continue."""
        if self._life.to(State.DRAINING):
            self.outcome = outcome
            self._dialer.stop()
            self._endpoint.pending.close(self.ended_error)
            self._changed.unpark_all()

    def end(self, outcome: Closed) -> None:
        """Notes that no connection is left. A second call has no effect."""
        self.stop(outcome)
        if self._life.to(State.CLOSED):
            self.outcome = outcome

    async def close(self, code: int, reason: str, grace: float | None) -> None:
        """Closes it after the requests in flight; the code must be valid. See `Client.aclose`."""
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

    # --- one connection after another -----------------------------------------------------

    def _start_running(self, connection: Connection | None, lost: Closed | None) -> None:
        """Starts a task that runs the connection, dials the next one, and so on."""
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
        # Requests in flight on connections that were replaced may finish.
        if not self._scopes:
            assert self._final is not None
            self.end(self._final)

    async def _run_connections(
        self, connection: Connection | None, lost: Closed | None
    ) -> Closed | None:
        """Runs one connection after another; the first, if there is one, is adopted already.

        When the end of a connection is announced, another task dials the next one, while this task
        finishes the requests in flight.

        Returns:
            How the client ended permanently; `None` if another task continues.
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
                    # The restart begins only now: until here the old connection was still there.
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
        """Dials another connection, unless the code is final, when the end of this is announced."""
        # After a final code there is no other connection; the code counts when the connection
        # closes. 4005 closes everything at once, and becomes the reason.
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
        """Closes a replaced connection if its peer does not, so that they cannot accumulate."""
        with trio.move_on_after(self._endpoint.options.timeouts.grace):
            await connection.wait_closed()
        connection.drain_soon(CloseCode.GOING_AWAY, "replaced by a newer connection")

    def _adopt(self, connection: Connection) -> None:
        counters, instrument = self._endpoint.counters, self._endpoint.instrument
        counters.begin(connection)
        self._endpoint.attach(connection)
        if instrument is not None and counters.begun > 1:
            instrument.reconnected(connection)
        self._connection = connection
        self.alive[connection] = None
        if self._life.ending:
            # It closed during the last step of the handshake.
            connection.close_soon()
            return
        self._changed.unpark_all()
        self._endpoint.pending.offer_all(KEY, connection)


def _gave_up(error: RestsockError) -> Closed:
    return Closed(False, CloseCode.ABNORMAL, str(error), by_peer=False)
