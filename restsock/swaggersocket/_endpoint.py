"""`Endpoint`: the path of a listener at which peers of swaggersocket dial in."""

from __future__ import annotations

import logging
import math
from collections.abc import Callable
from dataclasses import replace
from typing import Any

from restsock._exceptions import RemoteProtocolError
from restsock._options import Heartbeat, Options
from restsock.connection import Exchange, answer, ignore, is_async
from restsock.http_server import HTTPConnection
from restsock.protocol import SUBPROTOCOL, CloseCode, offered_subprotocols

from ._wire import SwaggersocketWire

__all__ = ["LATE_RESPONSE", "MAX_REQUEST", "Endpoint", "checked_wire"]

_log = logging.getLogger("restsock.swaggersocket")

MAX_REQUEST = 16 * 1024 * 1024
LATE_RESPONSE = 10.0


class Endpoint:
    """A path at which peers that speak swaggersocket dial in, next to those of restsock.v1.

        endpoints = {"/": swaggersocket.Endpoint()}
        async with restsock.listen("0.0.0.0", 8443, app=app, endpoints=endpoints) as server:
            for connection in server.connections.by_metadata({"name": "pump-7"}):
                response = await connection.request("GET", "/pets")

    They are peers of the listener: in its `connections` and `events()`, with its app, its `auth`
    and its limits. They have no names of their own. `name_of` gives them names, by which
    `server.request`, `server.adapter` and `server.route` find them, also after a reconnect.

    Plain HTTP at this path goes to an ingress if there is one; otherwise it gets a 426. One
    endpoint can serve any number of listeners.

    Args:
        name_of: A function of a peer's metadata that returns its name, or `None`. Names are as with
            `restsock.connect`; `names=` of the listener decides about a second peer of the same
            name. If the function raises, the peer is refused.
        heartbeat: When to ask these peers for a sign of life; `None` is the listener's. A peer of
            the original that only calls, without `KeepAlive`, answers no pings while it is idle:
            use `Heartbeat(interval=None)` for such peers.
        max_request: Bytes of the largest body of a request to a peer. A request is one message, so
            its body is collected first. A larger one raises a `LocalProtocolError`.
        late_response: Seconds. When a caller gives up, the next request waits until the late
            response has arrived, since responses have no ids. After this time, the connection is
            closed instead, and the peer dials again.

    Raises:
        TypeError: An argument is of a wrong type.
        ValueError: A number is out of range.
    """

    def __init__(
        self,
        *,
        name_of: Callable[[Any], str | None] | None = None,
        heartbeat: Heartbeat | None = None,
        max_request: int = MAX_REQUEST,
        late_response: float = LATE_RESPONSE,
    ) -> None:
        if name_of is not None and not callable(name_of):
            raise TypeError(f"name_of has to be a function, not {type(name_of).__name__}")
        if name_of is not None and is_async(name_of):
            raise TypeError("name_of has to be a function that is not async")
        if heartbeat is not None and not isinstance(heartbeat, Heartbeat):
            raise TypeError(f"heartbeat has to be a Heartbeat, not {type(heartbeat).__name__}")
        self._name_of = name_of
        self._heartbeat = heartbeat
        self._wire = checked_wire(max_request, late_response, self._find_name)

    @property
    def wire(self) -> SwaggersocketWire:
        """What its peers speak; for the listener. Raises no error."""
        return self._wire

    def options_for(self, options: Options) -> Options:
        """The options for its peers, given those of the listener. Raises no error."""
        return options if self._heartbeat is None else replace(options, heartbeat=self._heartbeat)

    def handle(self, exchange: Exchange) -> None:
        """Answers a request that opens no connection; for the listener. Raises no error."""
        exchange.observer = ignore
        if exchange.request.upgrade != b"websocket":
            fields = ((b"Sec-WebSocket-Version", b"13"),)
            answer(exchange, 426, "This is for WebSockets of swaggersocket.\n", fields)
            return
        if SUBPROTOCOL in offered_subprotocols(exchange.request.headers):
            answer(exchange, 404, "Peers of restsock.v1 are not taken here.\n")
            return
        # The connection of a client of plain HTTP, a proxy perhaps, that has been used before.
        if isinstance(exchange.connection, HTTPConnection):
            exchange.connection.serve_last()
        answer(exchange, 503, "Dial anew: this connection has been used for other requests.\n")

    def _find_name(self, metadata: Any) -> str | None:
        if self._name_of is None:
            return None
        try:
            name = self._name_of(metadata)
        except Exception as exc:
            # Any peer may bring that about; the line of the listener says it, within bounds.
            _log.debug("name_of failed for the metadata of a peer", exc_info=True)
            raise _nameless(f"name_of failed with {type(exc).__name__}") from exc
        if name is not None and not isinstance(name, str):
            raise _nameless(f"name_of gave a {type(name).__name__}")
        return name


def checked_wire(
    max_request: int, late_response: float, name_of: Callable[[Any], str | None] | None = None
) -> SwaggersocketWire:
    """The wire with these options.

    Raises:
        TypeError: one is of a wrong type.
        ValueError: one is out of range.
    """
    if isinstance(max_request, bool) or not isinstance(max_request, int):
        raise TypeError(f"max_request has to be an int, not {type(max_request).__name__}")
    if not 0 <= max_request < 2**30:
        raise ValueError(f"max_request has to be in 0..{2**30 - 1}, not {max_request}")
    if isinstance(late_response, bool) or not isinstance(late_response, (int, float)):
        raise TypeError(f"late_response has to be a number, not {type(late_response).__name__}")
    if not (math.isfinite(late_response) and late_response > 0):
        raise ValueError(f"late_response has to be seconds above 0, not {late_response}")
    if name_of is None:
        return SwaggersocketWire(max_request=max_request, late_response=late_response)
    return SwaggersocketWire(max_request=max_request, late_response=late_response, name_of=name_of)


def _nameless(why: str) -> RemoteProtocolError:
    return RemoteProtocolError(
        f"this peer has no name: {why}", close_code=CloseCode.HANDSHAKE_FAILED
    )
