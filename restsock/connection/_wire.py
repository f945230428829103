"""`Wire`: what is spoken on a WebSocket once it is open."""

from __future__ import annotations

import time
import uuid
from typing import TYPE_CHECKING, Any

from restsock.protocol import (
    HEADER_SIZE,
    SUBPROTOCOL,
    MessageLayer,
    Multiplexer,
    Pipeline,
    WebSocket,
)

from ._connection import Connection
from ._mask_keys import mask_key

if TYPE_CHECKING:
    import trio

    from restsock._buffered import Buffered
    from restsock._options import Options
    from restsock.protocol import TLS, MessagingSettings

__all__ = ["Wire", "new_id"]


class Wire:
    """Makes what a connection consists of. This one is of restsock.v1; others are subclasses.

    Attributes:
        subprotocol: by which the two sides agree on it; `None` where they know it.
        whom: what a dialer of it dials, for errors.
    """

    subprotocol: str | None = SUBPROTOCOL
    whom = "restsock listener"

    def pipeline(
        self,
        options: Options,
        tls: TLS | None,
        *,
        dialer: bool,
        buffered: Buffered | None = None,
        messaging: MessagingSettings | None = None,
    ) -> Pipeline:
        """All that stands between the socket and the exchanges, before the handshake.

        Args:
            options: of this side.
            tls: after its handshake.
            dialer: whether this side has dialed.
            buffered: counts what connections hold, together.
            messaging: how this side takes messages; `None` if it takes none.
        """
        layer = self.layer(options, tls, dialer=dialer)
        multiplexer = self.multiplexer(
            layer,
            dialer=dialer,
            limits=options.limits,
            heartbeat=options.heartbeat,
            new_id=new_id,
            unix_ms=_unix_ms,
            buffered=buffered,
            messaging=messaging,
        )
        return Pipeline(layer, multiplexer, tls)

    def layer(self, options: Options, tls: TLS | None, *, dialer: bool) -> MessageLayer:
        """What stands between the bytes and the multiplexer. Arguments as with `pipeline`."""
        return WebSocket(
            client=dialer,
            max_message=options.limits.max_message,
            mask_key=mask_key if dialer else None,
            split=HEADER_SIZE,
        )

    def multiplexer(self, layer: MessageLayer, **args: Any) -> Multiplexer:
        """The multiplexer of a layer. The arguments are those of `Multiplexer`."""
        return Multiplexer(**args)

    def connection(self, stream: trio.abc.Stream, pipeline: Pipeline, **args: Any) -> Connection:
        """The connection, after the handshake. The arguments are those of `Connection`."""
        return Connection(stream, pipeline, **args)


def new_id() -> str:
    """A new UUID."""
    return str(uuid.uuid4())


def _unix_ms() -> int:
    """The time, in milliseconds since 1970."""
    return time.time_ns() // 1_000_000
