"""`Wire`: what is spoken on a WebSocket once it is open."""

from __future__ import annotations

import time
import uuid
from typing import TYPE_CHECKING, Any

from restsock.protocol import HEADER_SIZE, SUBPROTOCOL, Multiplexer, Pipeline, WebSocket

from ._connection import Connection
from ._mask_keys import mask_key

if TYPE_CHECKING:
    import trio

    from restsock._buffered import Buffered
    from restsock._limit_log import LimitLog
    from restsock._options import Options
    from restsock.protocol import TLS, MessagingSettings

    from ._close import Peer

__all__ = ["Wire", "new_id", "unix_ms"]


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
        websocket = WebSocket(
            client=dialer,
            max_message=options.limits.max_message,
            mask_key=mask_key if dialer else None,
            split=HEADER_SIZE,
        )
        multiplexer = Multiplexer(
            dialer=dialer,
            limits=options.limits,
            heartbeat=options.heartbeat,
            new_id=new_id,
            unix_ms=unix_ms,
            buffered=buffered,
            messaging=messaging,
        )
        return Pipeline(websocket, multiplexer, tls)

    def connection(
        self,
        stream: trio.abc.Stream,
        pipeline: Pipeline,
        *,
        name: str | None,
        metadata: Any,
        peer: Peer,
        options: Options,
        limit_log: LimitLog | None,
    ) -> Connection:
        """The connection, after the handshake. The arguments are those of `Connection`."""
        return Connection(
            stream,
            pipeline,
            name=name,
            metadata=metadata,
            peer=peer,
            options=options,
            limit_log=limit_log,
        )


def new_id() -> str:
    """A new UUID."""
    return str(uuid.uuid4())


def unix_ms() -> int:
    """The time, in milliseconds since 1970."""
    return time.time_ns() // 1_000_000
