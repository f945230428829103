"""`connect`: the arguments of a WebSocket that is dialed, checked, and its life."""

from __future__ import annotations

import ssl
from collections.abc import AsyncGenerator, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import TYPE_CHECKING, TypedDict

import trio

from restsock import tls as _tls
from restsock._exceptions import RestsockError, without_frames
from restsock._limit_log import LimitLog
from restsock._logging import LoggerLike, PartLog
from restsock._options import Heartbeat, Options
from restsock._principal import ConnectionInfo
from restsock.auth import Credentials
from restsock.client import ProxyLike, Transport, check_fields, choose_proxy, parse_url
from restsock.connection import ClientWebSocket, FieldsLike, check_trio, heartbeat_calls
from restsock.protocol import CloseCode, Deflate

from ._checks import checked_deflate, checked_subprotocols, positive, whole
from ._dial import Target
from ._keepalive import kept_alive

if TYPE_CHECKING:
    import asyncio

__all__ = ["ConnectOptions", "connect", "opened", "target_of"]

_log = PartLog("restsock.websockets")


class ConnectOptions(TypedDict, total=False):
    """The arguments of `connect` that are given by name."""

    subprotocols: Sequence[str]
    headers: FieldsLike
    auth: Credentials | None
    tls: ssl.SSLContext | _tls.ClientTLS | None
    proxy: ProxyLike
    heartbeat: Heartbeat | None
    idle: float | None
    compression: bool | Deflate
    max_message: int | None
    max_queue: int
    max_queue_bytes: int
    options: Options | None
    logger: LoggerLike | None


def connect(
    url: str,
    *,
    subprotocols: Sequence[str] = (),
    headers: FieldsLike = (),
    auth: Credentials | None = None,
    tls: ssl.SSLContext | _tls.ClientTLS | None = None,
    proxy: ProxyLike = None,
    heartbeat: Heartbeat | None = None,
    idle: float | None = None,
    compression: bool | Deflate = False,
    max_message: int | None = None,
    max_queue: int = 1000,
    max_queue_bytes: int = 1024 * 1024,
    options: Options | None = None,
    logger: LoggerLike | None = None,
) -> AbstractAsyncContextManager[ClientWebSocket]:
    """Opens a WebSocket to any server; to be entered with `async with`.

        async with restsock.websockets.connect("wss://feed.example/v1") as websocket:
            await websocket.send("subscribe")
            async for message in websocket: ...

    It dials once, when it is entered; use `Dialer` to reconnect. Every address of the host is
    tried. Leaving the block closes the WebSocket with 1000, or with 1011 after an exception, and
    waits at most `Timeouts.close` for the server to close. A cancellation cuts it off.

    Args:
        url: `ws://host[:port]/path` or `wss://…`, or a Unix socket: `ws+unix:///run/app.sock`, with
            path and query after a colon.
        subprotocols: The subprotocols of this side, the preferred one first.
        headers: Further fields of the request.
        auth: Tells the server who this is: `restsock.auth.Bearer`, `restsock.auth.Basic`, or a
            function, async or not, that returns header fields.
        tls: For `wss`: `restsock.tls.client(ca=..., certificate=..., server_hostname=...)`, or an
            SSL context. The default accepts the certificates that this system trusts.
        proxy: A `restsock.Proxy`, or its URL; `None` uses the environment, `False` no proxy.
        heartbeat: When to ask the server for a sign of life; by default that of the options.
        idle: Seconds without a message in either direction, after which it is closed with 1001;
            `None` sets no bound.
        compression: Whether to offer permessage-deflate (RFC 7692), or a `Deflate` that says how.
        max_message: Bytes of the largest message to receive; a larger one closes it with 1009.
            `None` is `Limits.max_websocket_message`.
        max_queue: Messages that may wait for a server that does not read; see
            `ClientWebSocket.send_nowait`.
        max_queue_bytes: Bytes of these.
        options: Timeouts (`handshake` bounds everything until the server's response, `close` the
            end), limits, heartbeat and socket options.
        logger: Gets all records about it, instead of `restsock.*`: a `logging.Logger`, or a
            `logging.LoggerAdapter`.

    Raises:
        WebSocketRefused: On entering: the server gave another response, which is attached, with its
        `status`. A redirect is not followed. HandshakeError: On entering: there is no connection,
        or no WebSocket at its end. `retryable`
            says whether dialing again may help.
        RestsockError: On entering: this is not trio.
        ValueError: The URL, a field, a number or the proxy is not valid. No message repeats a
            secret.
        TypeError: An argument is of a wrong type.
    """
    target = target_of(
        url,
        subprotocols=subprotocols,
        headers=headers,
        auth=auth,
        tls=tls,
        proxy=proxy,
        heartbeat=heartbeat,
        idle=idle,
        compression=compression,
        max_message=max_message,
        max_queue=max_queue,
        max_queue_bytes=max_queue_bytes,
        options=options,
        logger=logger,
    )
    return opened(target)


def target_of(
    url: str,
    *,
    subprotocols: Sequence[str] = (),
    headers: FieldsLike = (),
    auth: Credentials | None = None,
    tls: ssl.SSLContext | _tls.ClientTLS | None = None,
    proxy: ProxyLike = None,
    heartbeat: Heartbeat | None = None,
    idle: float | None = None,
    compression: bool | Deflate = False,
    max_message: int | None = None,
    max_queue: int = 1000,
    max_queue_bytes: int = 1024 * 1024,
    options: Options | None = None,
    logger: LoggerLike | None = None,
) -> Target:
    """What to dial, from the arguments of `connect`, checked."""
    address = parse_url(url)
    options = Options() if options is None else options
    if max_message is None:
        max_message = options.limits.max_websocket_message
    return Target(
        transport=Transport(
            address,
            _tls.check_for_url(tls, secure=address.tls, scheme=address.secure_scheme),
            proxy=choose_proxy(address, proxy, logger),
            sockets=options.sockets,
        ),
        subprotocols=checked_subprotocols(subprotocols),
        headers=check_fields(headers, auth),
        auth=auth,
        heartbeat=options.heartbeat if heartbeat is None else heartbeat,
        idle=positive("idle", idle),
        deflate=checked_deflate(compression),
        max_message=whole("max_message", max_message),
        max_queue=whole("max_queue", max_queue),
        max_queue_bytes=whole("max_queue_bytes", max_queue_bytes),
        options=options,
        limit_log=LimitLog(_log.with_own(logger)),
    )


@asynccontextmanager
async def opened(
    target: Target, asyncio_loop: asyncio.AbstractEventLoop | None = None
) -> AsyncGenerator[ClientWebSocket, None]:
    """A WebSocket, while the block runs.

    Args:
        target: where to.
        asyncio_loop: that of `auth` and of functions for the heartbeat, if these are for asyncio.
    """
    check_trio("restsock.websockets.connect", "restsock.websockets.aio")
    try:
        websocket, raw = await target.dial(asyncio_loop)
    except RestsockError as exc:
        raise without_frames(exc)  # noqa: B904  # it is the same error
    error: BaseException | None = None
    async with raw.running(), trio.open_nursery() as nursery:
        nursery.start_soon(websocket.run)
        try:
            calls = heartbeat_calls(
                target.heartbeat,
                lambda: ConnectionInfo("", None, None),
                nursery.start_soon,
                target.limit_log,
                asyncio_loop,
            )
            with kept_alive(websocket, target.heartbeat, target.idle, lambda: raw.unsent, calls):
                yield websocket
        # Kept from the nursery, which would wrap it in a group: it is to arrive as it is.
        except (Exception, KeyboardInterrupt, SystemExit) as exc:  # noqa: BLE001  # raised below
            error = exc
        await websocket.aclose(CloseCode.NORMAL if error is None else CloseCode.INTERNAL_ERROR)
        nursery.cancel_scope.cancel()
    if error is not None:
        raise error
