"""`SwaggersocketWire`: what a connection of swaggersocket consists of."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import trio

from restsock._http_date import http_date
from restsock.connection import Connection, Wire, mask_key, new_id
from restsock.protocol import MessageLayer, Multiplexer, Pipeline

from ._connection import SwaggersocketConnection
from .engine import OneAtATime, SwaggersocketLayer

if TYPE_CHECKING:
    from restsock._options import Options
    from restsock.protocol import TLS

__all__ = ["SwaggersocketWire"]


def _no_name(metadata: Any) -> str | None:
    return None


class SwaggersocketWire(Wire):
    """The wire of swaggersocket.

    Args:
        max_request: bytes of the body of a request of this side.
        late_response: seconds that a response may take after its request was given up.
        name_of: what a dialer is called, given its metadata.
    """

    subprotocol = None
    whom = "swaggersocket server"

    def __init__(
        self,
        *,
        max_request: int,
        late_response: float,
        name_of: Callable[[Any], str | None] = _no_name,
    ) -> None:
        self._max_request = max_request
        self._late_response = late_response
        self._name_of = name_of

    def layer(self, options: Options, tls: TLS | None, *, dialer: bool) -> MessageLayer:
        """See `Wire.layer`."""
        return SwaggersocketLayer(
            dialer=dialer,
            limits=options.limits,
            scheme="http" if tls is None else "https",
            date=http_date,
            clock=trio.lowlevel.current_clock().current_time,  # for any thread
            mask_key=mask_key if dialer else None,
            new_id=new_id,
            name_of=self._name_of,
            patience=self._late_response,
        )

    def multiplexer(self, layer: MessageLayer, **args: Any) -> Multiplexer:
        """See `Wire.multiplexer`. There are no messages beside HTTP on this wire."""
        assert isinstance(layer, SwaggersocketLayer)
        args["messaging"] = None
        return OneAtATime(layer.own, self._max_request, **args)

    def connection(self, stream: trio.abc.Stream, pipeline: Pipeline, **args: Any) -> Connection:
        """See `Wire.connection`."""
        return SwaggersocketConnection(stream, pipeline, **args)
