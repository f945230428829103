"""Instruments: what the core tells of what happens, when anybody wants to know.

It holds one, or `None`: without an instrument an event costs one look whether there is one.
"""

from __future__ import annotations

import logging
import re
import threading
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

if TYPE_CHECKING:
    from restsock.protocol import Headers, RequestHead

    from ._close import Closed

__all__ = ["Direction", "Instruments", "Side", "with_fields"]

_log = logging.getLogger("restsock.connection")

Direction: TypeAlias = Literal["sent", "received"]
"""Who asks: `"sent"` are the requests of this side, `"received"` those of the peer."""

Side: TypeAlias = Literal["dialer", "listener"]
"""Which end of a connection this is."""

_NAME = re.compile(rb"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
_VALUE = re.compile(rb"[\x21-\x7e]([\t\x20-\x7e]*[\x21-\x7e])?")


class Instruments:
    """Several instruments as one, and what they raise held back from the traffic.

    The methods are those of `Instrument`, which says what they mean.

    Args:
        instruments: each is dropped by itself when it raises.
    """

    def __init__(self, instruments: Iterable[Any]) -> None:
        self._instruments = tuple(instruments)

    def connection_opened(self, connection: object) -> None:
        self._tell("connection_opened", connection)

    def connection_closed(self, connection: object, closed: Closed) -> None:
        self._tell("connection_closed", connection, closed)

    def reconnected(self, connection: object) -> None:
        self._tell("reconnected", connection)

    def handshake_failed(self, side: Side) -> None:
        self._tell("handshake_failed", side)

    def round_trip(self, connection: object, seconds: float) -> None:
        self._tell("round_trip", connection, seconds)

    def bytes_sent(self, connection: object, nbytes: int) -> None:
        self._tell("bytes_sent", connection, nbytes)

    def bytes_received(self, connection: object, nbytes: int) -> None:
        self._tell("bytes_received", connection, nbytes)

    def stream_opened(self, connection: object, direction: Direction) -> None:
        self._tell("stream_opened", connection, direction)

    def stream_closed(
        self,
        connection: object,
        direction: Direction,
        outcome: str,
        status: int,
        seconds: float,
    ) -> None:
        self._tell("stream_closed", connection, direction, outcome, status, seconds)

    def http_client_opened(self, connection: object) -> None:
        self._tell("http_client_opened", connection)

    def http_client_closed(self, connection: object, closed: Closed) -> None:
        self._tell("http_client_closed", connection, closed)

    def http_request_opened(self, connection: object) -> None:
        self._tell("http_request_opened", connection)

    def http_request_closed(
        self, connection: object, outcome: str, status: int, seconds: float
    ) -> None:
        self._tell("http_request_closed", connection, outcome, status, seconds)

    def call_opened(self, channel: str, key: str) -> None:
        self._tell("call_opened", channel, key)

    def call_closed(
        self, channel: str, key: str, outcome: str, status: int, seconds: float
    ) -> None:
        self._tell("call_closed", channel, key, outcome, status, seconds)

    def error(self, connection: object, kind: str) -> None:
        self._tell("error", connection, kind)

    def limit_hit(self, kind: str) -> None:
        self._tell("limit_hit", kind)

    def queue(self, name: str, depth: int) -> None:
        self._tell("queue", name, depth)

    def request_fields(self, head: RequestHead) -> Headers:
        fields: list[tuple[bytes, bytes]] = []
        for instrument in self._instruments:
            try:
                fields += map(_checked, instrument.request_fields(head))
            except Exception:  # noqa: BLE001  # see `_tell`
                self._drop(instrument)
        return fields

    def serving_begun(self, connection: object, head: RequestHead) -> Any:
        return self._begin("serving_begun", connection, head)

    def serving_ended(self, token: Any, status: int) -> None:
        self._end("serving_ended", token, status)

    def call_begun(self, channel: str, key: str, fields: Mapping[str, str]) -> Any:
        return self._begin("call_begun", channel, key, fields)

    def call_fields(self) -> Mapping[str, str]:
        fields: dict[str, str] = {}
        for instrument in self._instruments:
            try:
                fields.update(instrument.call_fields())
            except Exception:  # noqa: BLE001  # see `_tell`
                self._drop(instrument)
        return fields

    def call_ended(self, token: Any, status: int, error: BaseException | None) -> None:
        self._end("call_ended", token, status, error)

    def _begin(self, what: str, *args: object) -> list[tuple[Any, Any]]:
        """Has each instrument begin something; gives each one's own token."""
        tokens: list[tuple[Any, Any]] = []
        for instrument in self._instruments:
            try:
                tokens.append((instrument, getattr(instrument, what)(*args)))
            except Exception:  # noqa: BLE001  # see `_tell`
                self._drop(instrument)
        return tokens

    def _end(self, what: str, tokens: list[tuple[Any, Any]], *args: object) -> None:
        # Also those that were dropped meanwhile: what they have begun is to come to its end.
        for instrument, own in reversed(tokens):
            try:
                getattr(instrument, what)(own, *args)
            except Exception:  # noqa: BLE001  # see `_tell`
                self._drop(instrument)

    def _tell(self, what: str, *args: object) -> None:
        for instrument in self._instruments:
            try:
                getattr(instrument, what)(*args)
            except Exception:  # noqa: BLE001  # anybody's code, and the traffic is not to suffer
                self._drop(instrument)

    def _drop(self, instrument: object) -> None:
        """Takes an instrument that has just raised out of use."""
        with _dropping:
            kept = tuple(one for one in self._instruments if one is not instrument)
            if len(kept) == len(self._instruments):
                return  # another thread was quicker, and has logged it
            self._instruments = kept
        _log.exception("%s has failed and is not used any more", type(instrument).__name__)


_dropping = threading.Lock()


def _checked(field: tuple[bytes, bytes]) -> tuple[bytes, bytes]:
    """A field that can be sent; any other would fail the request."""
    name, value = field
    if not (_NAME.fullmatch(name) and _VALUE.fullmatch(value)):
        raise ValueError("not a header field")
    return name, value


def with_fields(instruments: Instruments, head: RequestHead) -> RequestHead:
    """A request's head, with what the instruments add to it."""
    fields = instruments.request_fields(head)
    return head._replace(headers=[*head.headers, *fields]) if fields else head
