"""Instrument: is told what happens, to count, measure and trace it.

It does nothing itself; one that does something overrides the methods it needs.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

from ._instruments import Direction, Instruments

if TYPE_CHECKING:
    from restsock.protocol import Headers, RequestHead

    from ._close import Closed
    from ._connection import Connection

__all__ = [
    "Instrument",
    "InstrumentLike",
    "Side",
    "instruments_of",
]

Side: TypeAlias = Literal["dialer", "listener"]


class Instrument:
    """Is told what happens on the connections of a client or a server. Does nothing itself.

        class Slow(restsock.Instrument):
            def stream_closed(self, connection, direction, outcome, status, seconds):
                if seconds > 1: print(connection.name, direction, outcome, status, seconds)

        restsock.listen(host, port, instrument=Slow())

    Every method is called where the thing happens: on the event loop or, under the lock of the
    connection, on whatever thread sends a request. So it must not block, must not call back into
    the connection, and should take microseconds. What it raises is logged once; from then on that
    instrument is called no more, and the traffic goes on without it.

    One instrument may serve any number of clients and servers. Names, paths and headers are the
    peer's words: not to be used as labels without a bound.
    """

    # --- connections ----------------------------------------------------------------------

    def connection_opened(self, connection: Connection) -> None:
        """A handshake is complete, at either end."""

    def connection_closed(self, connection: Connection, closed: Closed) -> None:
        """A connection has ended; all that was on it has been told to be closed before."""

    def reconnected(self, connection: Connection) -> None:
        """A client has a connection again. Told after `connection_opened`."""

    def handshake_failed(self, side: Side) -> None:
        """An attempt to connect came to nothing: refused, malformed, too slow, unreachable."""

    def round_trip(self, connection: Connection, seconds: float) -> None:
        """A ping was answered, after so many seconds."""

    # --- traffic --------------------------------------------------------------------------

    def bytes_sent(self, connection: Connection, nbytes: int) -> None:
        """Bytes were handed to the socket (or to TLS): frames and all."""

    def bytes_received(self, connection: Connection, nbytes: int) -> None:
        """Bytes came from the socket (or from TLS)."""

    def stream_opened(self, connection: Connection, direction: Direction) -> None:
        """A request has started: its head was queued to be sent, or has come."""

    def stream_closed(
        self,
        connection: Connection,
        direction: Direction,
        outcome: str,
        status: int,
        seconds: float,
    ) -> None:
        """A request that was opened is over.

        Args:
            connection: what carried it.
            direction: who asked.
            outcome: one of `restsock.OUTCOMES`, the same at both ends but for `"lost"`.
            status: of the final response (or 101) whose head has come or been sent; else 0.
            seconds: from its opening to the last byte that came or was sent.
        """

    # --- clients of plain HTTP ------------------------------------------------------------

    def http_client_opened(self, connection: Connection) -> None:
        """A client of plain HTTP, which is no peer, has connected to a listener and asks."""

    def http_client_closed(self, connection: Connection, closed: Closed) -> None:
        """Its connection has ended; its requests have been told to be closed before."""

    def http_request_opened(self, connection: Connection) -> None:
        """A request of such a client has come. What passes it on to a peer tells of another one."""

    def http_request_closed(
        self, connection: Connection, outcome: str, status: int, seconds: float
    ) -> None:
        """A request of such a client is over; see `stream_closed`.

        Args:
            connection: what carried it.
            outcome: one of `restsock.OUTCOMES`.
            status: of the final response (or 101) whose head has been sent; else 0.
            seconds: from its opening to the last byte that came or was sent.
        """

    # --- calls of a gateway ---------------------------------------------------------------

    def call_opened(self, channel: str, key: str) -> None:
        """A client of a gateway has sent a message, which is a call. See `restsock.gateway`.

        Args:
            channel: the name that its middleware `Measure` was given.
            key: the pattern that the key of the message is like, or `"other"`: nobody's own word.
        """

    def call_closed(
        self, channel: str, key: str, outcome: str, status: int, seconds: float
    ) -> None:
        """A call that was opened is over.

        Args:
            channel: as above.
            key: as above.
            outcome: `"answered"`, `"failed"` (a reply of 400 and above, or an error that comes to
                that) or `"cancelled"`: nobody waits for it any more.
            status: that the client is told; 0 if it was cancelled.
            seconds: from the message to the reply, or to the last part of one that comes in parts.
        """

    # --- trouble --------------------------------------------------------------------------

    def error(self, connection: Connection, kind: str) -> None:
        """Something went wrong that is not a request's usual failure.

        Args:
            connection: where.
            kind: `"protocol"` (the peer broke the protocol, the connection is closed), `"stream"`
                (what came on one stream was wrong, it was reset), `"rejected"` (a request was
                refused before it was given to the app), `"handler"` (a bug in what serves).
        """

    def limit_hit(self, kind: str) -> None:
        """A limit was in the way. `kind` is the name of the field that set it."""

    def queue(self, name: str, depth: int) -> None:
        """A queue has grown or shrunk.

        Args:
            name: `"workers"`: requests that wait for a thread of a WSGI app.
            depth: how many wait now.
        """

    # --- traces ---------------------------------------------------------------------------

    def request_fields(self, head: RequestHead) -> Headers:
        """Header fields to add to a request of this side.

        Called where the request is made, in the task or thread (and so in the context) of the
        caller, in front of all else.
        """
        return ()

    def serving_begun(self, connection: Connection, head: RequestHead) -> Any:
        """An app is about to be called for a request of the peer: in that task or thread.

        Returns:
            Whatever `serving_ended` is to have.
        """

    def serving_ended(self, token: Any, status: int) -> None:
        """The app's call is over: in the same task or thread.

        Args:
            token: what `serving_begun` has returned.
            status: of the response whose head was sent; 0 for none.
        """

    def call_begun(self, channel: str, key: str, fields: Mapping[str, str]) -> Any:
        """A call of a client of a gateway begins: in the task that makes it.

        Args:
            channel: the name that its middleware `Trace` was given.
            key: the pattern that the key of the message is like, or `"other"`.
            fields: header fields that the client has sent, names in lower case.

        Returns:
            Whatever `call_ended` is to have.
        """

    def call_fields(self) -> Mapping[str, str]:
        """Header fields, names in lower case, to hand to what answers the call that has begun."""
        return {}

    def call_ended(self, token: Any, status: int, error: BaseException | None) -> None:
        """A call is over: in the same task. Parts of its reply may follow.

        Args:
            token: what `call_begun` has returned.
            status: that the client is told; 0 for none.
            error: what the call has raised, if it has.
        """


InstrumentLike: TypeAlias = Instrument | Instruments | Iterable[Instrument]
"""One instrument or several, for `connect` and `listen`."""


def instruments_of(instrument: InstrumentLike | None) -> Instruments | None:
    """What the core calls, from the `instrument` argument of `connect` or `listen`.

    Raises:
        TypeError: it is no instrument.
    """
    if instrument is None or isinstance(instrument, Instruments):
        return instrument
    if isinstance(instrument, Instrument):
        return Instruments((instrument,))
    instruments = tuple(instrument)
    for one in instruments:
        if not isinstance(one, Instrument):
            raise TypeError(f"not an Instrument: {one!r}")
    return Instruments(instruments) if instruments else None
