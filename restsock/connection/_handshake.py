"""From a stream of bytes to a `Connection`: the upgrade, then hello, welcome, ready.

Both ends keep to `timeouts.handshake` for all of it, and close with a code that tells the cause.
"""

from __future__ import annotations

import os
import ssl
import uuid
from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import asynccontextmanager, suppress
from typing import Any, NoReturn

import trio

from restsock._buffered import Buffered
from restsock._exceptions import HandshakeError, RemoteProtocolError
from restsock._limit_log import LimitLog
from restsock._options import Options
from restsock._principal import Principal
from restsock.auth import Refused
from restsock.protocol import (
    BinaryMessage,
    ClientUpgrade,
    CloseCode,
    CloseReceived,
    HandshakeCompleted,
    Headers,
    HelloReceived,
    MessagingSettings,
    MultiplexerEvent,
    ServerUpgrade,
    TextMessage,
    UpgradeRequest,
)
from restsock.tls import explain

from ._access_control import AccessControl
from ._close import Peer, printable
from ._connection import Connection
from ._tls_stream import TLSStream, linger
from ._wire import Wire

__all__ = ["open_accepted", "open_dialed"]

_READ = 16 * 1024
_RESTSOCK = Wire()
# Closes by the listener after which this dialer would only be turned away again.
_FINAL = frozenset((CloseCode.HANDSHAKE_FAILED, CloseCode.FORBIDDEN))


async def open_dialed(
    stream: trio.abc.Stream,
    *,
    host: str,
    target: str = "/",
    name: str | None = None,
    metadata: Any = None,
    headers: Headers = (),
    peer: Peer,
    options: Options,
    limit_log: LimitLog | None = None,
    buffered: Buffered | None = None,
    messaging: MessagingSettings | None = None,
    wire: Wire = _RESTSOCK,
) -> Connection:
    """The dialer's side, over a stream that is connected (and encrypted, if it is to be).

    Args:
        stream: is closed when this fails or is cancelled.
        host: the Host field of the upgrade.
        target: its path and query.
        name: what this side is called.
        metadata: any JSON.
        headers: further fields of the upgrade.
        peer: where the listener is.
        options: of this side.
        limit_log: notes what goes over a limit, together with other connections.
        buffered: counts what they hold, together.
        messaging: how this side takes messages; `None` if it takes none.
        wire: what is spoken after the upgrade.

    Raises:
        HandshakeError: refused, malformed, or too slow.
        LocalProtocolError: name, metadata or headers cannot be sent.
    """
    async with _opening(stream, options, "the listener"):
        upgrade = ClientUpgrade(
            host=host,
            target=target,
            headers=headers,
            key=os.urandom(16),
            tls=peer.tls,
            subprotocol=wire.subprotocol,
            whom=wire.whom,
        )
        await stream.send_all(upgrade.request)
        while not upgrade.receive_data(bytes(await stream.receive_some(_READ))):
            pass
        opening = _Opening(stream, options, limit_log, buffered, messaging, wire, dialer=True)
        opening.multiplexer.send_hello(name, metadata)
        async with opening.explaining():
            opening.websocket.receive_data(upgrade.trailing_data)
            await opening.wait_for(HandshakeCompleted)
            await opening.flush()  # ready
        return opening.connection(name, metadata, peer)


async def open_accepted(
    stream: trio.abc.Stream,
    *,
    peer: Peer,
    options: Options,
    access_control: AccessControl | None = None,
    locate: Callable[[UpgradeRequest], Peer] | None = None,
    room: Callable[[], Refused | None] | None = None,
    claim: Callable[[str | None, Any], object] | None = None,
    urls_of: Callable[[str], Sequence[str]] | None = None,
    ping_frames: bool = False,
    received: bytes = b"",
    limit_log: LimitLog | None = None,
    buffered: Buffered | None = None,
    messaging: MessagingSettings | None = None,
    wire: Wire = _RESTSOCK,
) -> Connection:
    """The listener's side, over a stream that was accepted.

    Anything but the upgrade that is meant gets an HTTP answer that says what this is.

    Args:
        stream: is closed when this fails or is cancelled.
        peer: where the dialer is, as far as the socket tells.
        options: of this side.
        access_control: asked who the dialer is before the upgrade is accepted, and what it may do.
        locate: tells from its request where the dialer is; may refuse the upgrade.
        room: asked last before the upgrade is accepted; may refuse it.
        claim: told name and principal of the dialer before it is welcome; may raise
            `RemoteProtocolError`, whose close code the dialer then gets.
        urls_of: tells where plain HTTP reaches a dialer of this name, for the dialer to know.
        ping_frames: whether to ping by frames of restsock.v1.
        received: what has been read from the stream.
        limit_log: notes what goes over a limit, together with other connections.
        buffered: counts what they hold, together.
        messaging: how this side takes messages; `None` if it takes none.
        wire: what is spoken after the upgrade.

    Raises:
        HandshakeError: not a dialer of ours, malformed, or too slow.
    """
    async with _opening(stream, options, "the dialer"):
        upgrade = ServerUpgrade(wire.subprotocol)
        request = None
        try:
            if received:
                request = upgrade.receive_data(received)
            while request is None:
                request = upgrade.receive_data(bytes(await stream.receive_some(_READ)))
        except HandshakeError:
            if upgrade.data_to_send:
                await stream.send_all(upgrade.data_to_send)
                await linger(stream)
            raise
        principal: Principal | None = None
        refused: Refused | None = None
        try:
            if locate is not None:
                peer = locate(request)
            if access_control is not None:
                principal = await access_control.admit(request, stream, peer)
        except Refused as exc:
            refused = exc
        except trio.Cancelled:
            # Time is over, or the owner leaves: one try, without waiting.
            words = "The listener has no time to find out who you are.\n"
            answer = upgrade.refuse(503, text=words)
            with trio.CancelScope(shield=True), trio.move_on_after(0.1):
                await stream.send_all(answer)
            raise
        if refused is None and room is not None:
            refused = room()
        if refused is not None:
            await _refuse(stream, upgrade, refused)
        await stream.send_all(upgrade.accept())
        opening = _Opening(stream, options, limit_log, buffered, messaging, wire, dialer=False)
        async with opening.explaining():
            opening.websocket.receive_data(upgrade.trailing_data)
            hello = await opening.wait_for(HelloReceived)
            assert isinstance(hello, HelloReceived)
            if access_control is not None:
                access_control.check_name(hello.name, principal)
            if claim is not None:
                claim(hello.name, principal)
            urls = urls_of(hello.name) if urls_of is not None and hello.name is not None else ()
            opening.multiplexer.send_welcome(str(uuid.uuid4()), urls)
            await opening.wait_for(HandshakeCompleted)
        opening.pipeline.ping_frames = ping_frames
        connection = opening.connection(hello.name, hello.metadata, peer)
        if access_control is not None:
            access_control.check_requests_of(connection, principal)
        return connection


async def _refuse(stream: trio.abc.Stream, upgrade: ServerUpgrade, refused: Refused) -> NoReturn:
    await stream.send_all(upgrade.refuse(refused.status, refused.headers, f"{refused.text}\n"))
    await linger(stream)
    raise HandshakeError(f"refused with {refused}", status=refused.status, limit=refused.limit)


class _Opening:
    """WebSocket and multiplexer of a connection that is not one yet."""

    def __init__(
        self,
        stream: trio.abc.Stream,
        options: Options,
        limit_log: LimitLog | None,
        buffered: Buffered | None,
        messaging: MessagingSettings | None,
        wire: Wire,
        *,
        dialer: bool,
    ) -> None:
        # From here on TLS is a part of the pipeline, and its stream is only what has closed it.
        tls = stream.tls if isinstance(stream, TLSStream) else None
        self.stream = stream.transport_stream if isinstance(stream, TLSStream) else stream
        self.options = options
        self.limit_log = limit_log
        self._dialer = dialer
        self._wire = wire
        self.pipeline = wire.pipeline(
            options, tls, dialer=dialer, buffered=buffered, messaging=messaging
        )
        self.websocket = self.pipeline.websocket
        self.multiplexer = self.pipeline.multiplexer

    def connection(self, name: str | None, metadata: Any, peer: Peer) -> Connection:
        return self._wire.connection(
            self.stream,
            self.pipeline,
            name=name,
            metadata=metadata,
            peer=peer,
            options=self.options,
            limit_log=self.limit_log,
        )

    async def flush(self) -> None:
        """Sends all that is due."""
        while data := self.pipeline.data_to_send():
            await self.stream.send_all(data)

    async def wait_for(self, kind: type[MultiplexerEvent]) -> MultiplexerEvent:
        """Exchanges messages until the multiplexer reports the event.

        Raises:
            RemoteProtocolError: what came is not a handshake.
            HandshakeError: the peer closed.
        """
        while True:
            # Before anything is sent: a peer may have closed without waiting for it.
            # One message at a time: those after the last step are for the connection's reader.
            while (event := self.websocket.next_event()) is not None:
                if isinstance(event, (TextMessage, BinaryMessage)):
                    self.multiplexer.receive_message(event.data)
                    for told in self.multiplexer.events.take():
                        if isinstance(told, kind):
                            return told
                elif isinstance(event, CloseReceived):
                    why = f"{event.code} {printable(event.reason)}"
                    raise HandshakeError(
                        f"the peer closed during the handshake: {why}",
                        retryable=event.code not in _FINAL,
                        by_listener=self._dialer and event.code == CloseCode.FORBIDDEN,
                    )
            await self.flush()
            data = await self.stream.receive_some(_READ)
            if not data or self.pipeline.ended:
                raise HandshakeError("the peer closed the socket during the handshake")
            self.pipeline.decode(bytes(data))

    @asynccontextmanager
    async def explaining(self) -> AsyncGenerator[None, None]:
        """Turns what goes wrong inside into a close frame with its code, and a HandshakeError."""
        try:
            yield
        except RemoteProtocolError as exc:
            if exc.limit is not None and self.limit_log is not None:
                self.limit_log.count(exc.limit)  # the caller who gets the error logs it
            await self._say(exc.close_code, str(exc))
            raise HandshakeError(
                f"the handshake failed: {exc}", retryable=False, limit=exc.limit
            ) from exc
        except HandshakeError:
            await self._say(CloseCode.HANDSHAKE_FAILED, "")
            raise
        except trio.Cancelled:
            # Time is over, or the owner leaves: one try, without waiting.
            with trio.CancelScope(shield=True), trio.move_on_after(0.1):
                await self._say(CloseCode.HANDSHAKE_TIMEOUT, "the handshake took too long")
            raise

    async def _say(self, code: int, reason: str) -> None:
        self.websocket.close(code, reason)
        # Where it does not arrive, the reason for it is still what there is to tell.
        with suppress(trio.BrokenResourceError, trio.ClosedResourceError, OSError):
            await self.flush()
            await linger(self.stream)


@asynccontextmanager
async def _opening(
    stream: trio.abc.Stream, options: Options, whom: str
) -> AsyncGenerator[None, None]:
    """Bounds the time, maps what a stream raises, and closes the stream unless all went well."""
    seconds = options.timeouts.handshake
    try:
        with trio.fail_after(seconds):
            yield
    except trio.TooSlowError as exc:
        await _abandon(stream)
        raise HandshakeError(f"the handshake took more than {seconds:g} s") from exc
    except (trio.BrokenResourceError, trio.ClosedResourceError, OSError) as exc:
        await _abandon(stream)
        raise _socket_error(exc, whom) from exc
    except BaseException:
        await _abandon(stream)
        raise


def _socket_error(error: Exception, whom: str) -> HandshakeError:
    # With TLS 1.3 a dialer hears only here what the listener thinks of its certificate; a stream
    # wraps what the ssl module raises.
    explained = explain(error if isinstance(error, ssl.SSLError) else error.__cause__, whom)
    if explained:
        return HandshakeError(explained, retryable=False)
    return HandshakeError(f"the socket failed during the handshake: {error}")


async def _abandon(stream: trio.abc.Stream) -> None:
    with trio.CancelScope(shield=True):
        await trio.aclose_forcefully(stream)
