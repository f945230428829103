"""What instruments are told of clients of plain HTTP."""

from __future__ import annotations

from typing import TYPE_CHECKING

from restsock.connection import Instruments

if TYPE_CHECKING:
    from restsock.connection import Closed, Direction

__all__ = ["HTTPInstruments"]


class HTTPInstruments(Instruments):
    """Tells of a client of plain HTTP where a connection tells of a peer.

    What is the same of both (errors, the calls of apps) is handed on as it is. Bytes are not told.
    """

    def connection_opened(self, connection: object) -> None:
        self._tell("http_client_opened", connection)

    def connection_closed(self, connection: object, closed: Closed) -> None:
        self._tell("http_client_closed", connection, closed)

    def stream_opened(self, connection: object, direction: Direction) -> None:
        self._tell("http_request_opened", connection)

    def stream_closed(
        self,
        connection: object,
        direction: Direction,
        outcome: str,
        status: int,
        seconds: float,
    ) -> None:
        self._tell("http_request_closed", connection, outcome, status, seconds)

    def bytes_sent(self, connection: object, nbytes: int) -> None:
        pass

    def bytes_received(self, connection: object, nbytes: int) -> None:
        pass
