"""One attempt: a socket, a proxy's consent and TLS, with every failure as a `HandshakeError`."""

from __future__ import annotations

import errno
import ssl
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from functools import partial

import trio

from restsock._addresses import without_zone
from restsock._exceptions import HandshakeError
from restsock._options import SocketOptions
from restsock.connection import TLSStream
from restsock.endpoint import apply_socket_options
from restsock.http1 import ConnectTunnel
from restsock.tls import TLSLike, context_of, explain, name_of

from ._proxy import Proxy
from ._socks import open_socks
from ._url import Address

__all__ = ["OpenStream", "Transport", "open_tcp", "open_unix"]

OpenStream = Callable[[Address], Awaitable[trio.abc.Stream]]
"""Opens the stream to an address on which TLS, or the WebSocket, is going to run."""

_READ = 16 * 1024
_SOCKETS = SocketOptions()
_STREAM_ERRORS = (trio.BrokenResourceError, trio.ClosedResourceError)


async def open_tcp(address: Address, sockets: SocketOptions = _SOCKETS) -> trio.abc.Stream:
    """A TCP connection to the first of the host's addresses that answers (RFC 8305).

    An address that does not answer within 250 ms is joined by the next one; so none of them needs
    a time limit of its own, and all of them have that of the whole attempt.

    Raises:
        OSError: None of them answers; its cause is the group of what each has failed with.
    """
    stream = await trio.open_tcp_stream(
        address.host, address.port, local_address=sockets.local_address
    )
    try:
        apply_socket_options(stream, sockets)
    except BaseException:
        await _discard(stream)
        raise
    return stream


async def open_unix(address: Address) -> trio.abc.Stream:
    """A connection to the Unix socket of an address.

    Raises:
        OSError: There is no such file, nothing listens there, or this process may not dial it.
    """
    assert address.socket_path is not None
    stream = await trio.open_unix_socket(address.socket_path)
    try:
        # A listener with a full queue leaves the socket as it was, which trio takes for connected.
        stream.socket.getpeername()
    except OSError as exc:
        await _discard(stream)
        raise OSError(errno.EAGAIN, "it has a full queue of newcomers") from exc
    return stream


@dataclass(frozen=True)
class Transport:
    """How the stream to a listener is opened.

    Attributes:
        address: Whom to dial.
        tls: Must be given for a `wss` address.
        open_stream: What opens the socket, to the address or to an HTTP proxy; `None` for TCP, or
            the Unix socket of the address.
        proxy: Whom to dial through. There is no other way then.
        sockets: For sockets that `open_stream` does not open.
    """

    address: Address
    tls: TLSLike | None = None
    open_stream: OpenStream | None = None
    proxy: Proxy | None = None
    sockets: SocketOptions = _SOCKETS

    async def open(self, timeout: float) -> trio.abc.Stream:
        """Opens a stream, has a proxy connect it and does the TLS handshake on it, as asked for.

        If cancelled, no stream is left open.

        Args:
            timeout: Seconds for all of it together.

        Raises:
            HandshakeError: It failed or took too long. Trying again is useless after a certificate
                that is not accepted, and where a proxy wants other credentials, does not allow it,
                or is none.
        """
        attempt = _Attempt(self)
        try:
            with trio.fail_after(timeout):
                return await attempt.open()
        except BaseException as exc:
            await _discard(attempt.stream)
            error = attempt.explain(exc, timeout)
            if error is None:
                raise
            raise error from exc


class _Attempt:
    """One attempt to open a transport.

    Attributes:
        stream: What has to be closed when it fails: the lowest one, whatever is on top of it.
    """

    def __init__(self, transport: Transport) -> None:
        self.stream: trio.abc.Stream | None = None
        self._address = transport.address
        self._tls = transport.tls
        self._sockets = transport.sockets
        if transport.open_stream is not None:
            self._open_stream = transport.open_stream
        elif transport.address.socket_path is not None:
            self._open_stream = open_unix
        else:
            self._open_stream = partial(open_tcp, sockets=transport.sockets)
        self._proxy = transport.proxy
        self._doing = ""
        self._whom = ("the listener", "ws")  # who does TLS, and the scheme of one that does none

    def explain(self, error: BaseException, timeout: float) -> HandshakeError | None:
        """What a failure is to the caller; `None` for what is none of the attempt."""
        cannot = f"cannot {self._doing}"
        if isinstance(error, trio.TooSlowError):
            return HandshakeError(f"{cannot} within {timeout:.3g} s")
        if isinstance(error, HandshakeError):
            return HandshakeError(
                f"{cannot}: {error}", status=error.status, retryable=error.retryable
            )
        # UnicodeError: a name that cannot be one.
        useless = (ssl.SSLCertVerificationError, UnicodeError)
        if not isinstance(error, (OSError, UnicodeError, *_STREAM_ERRORS)):
            return None
        # The stream wraps what the ssl module raises.
        cause = error.__cause__ if isinstance(error.__cause__, ssl.SSLError) else error
        explained = explain(cause, *self._whom)
        return HandshakeError(
            f"{cannot}: {explained or _reason(cause)}",
            retryable=not explained and not isinstance(cause, useless),
        )

    async def open(self) -> trio.abc.Stream:
        whom = self._address.where
        if self._proxy is None:
            self._doing = f"reach {whom}"
            stream = self.stream = await self._open_stream(self._address)
        elif self._proxy.socks:
            self._doing = f"reach {whom} through the proxy {self._proxy}"
            stream = self.stream = await self._through_socks(self._proxy)
        else:
            stream = await self._through_http(self._proxy)
        if self._tls is not None:
            self._doing = f"begin TLS with {whom}"
            self._whom = ("the listener", "ws")
            stream = await _secure(stream, self._tls, self._address.host)
        return stream

    async def _through_http(self, proxy: Proxy) -> trio.abc.Stream:
        self._doing = f"reach the proxy {proxy}"
        stream = self.stream = await self._open_stream(proxy.address)
        if proxy.ssl_context is not None:
            self._doing = f"begin TLS with the proxy {proxy}"
            self._whom = ("the proxy", "http")
            stream = await _secure(stream, proxy.ssl_context, proxy.host)
        self._doing = f"reach {self._address.authority} through the proxy {proxy}"
        tunnel = ConnectTunnel(
            host=without_zone(self._address.host), port=self._address.port, headers=proxy.headers
        )
        await stream.send_all(tunnel.request)
        while not tunnel.receive_data(bytes(await stream.receive_some(_READ))):
            pass
        return stream

    async def _through_socks(self, proxy: Proxy) -> trio.SocketStream:
        """Each address of the host in turn, if this machine is to look them up.

        They have an even share of the time: a proxy takes one at a time, so the next cannot join.
        """
        hosts = [without_zone(self._address.host)]
        if proxy.scheme == "socks5":
            found = await trio.socket.getaddrinfo(
                self._address.host, self._address.port, type=trio.socket.SOCK_STREAM
            )
            hosts = list(dict.fromkeys(without_zone(str(entry[4][0])) for entry in found))
        failures: list[HandshakeError] = []
        for number, host in enumerate(hosts):
            left = trio.current_effective_deadline() - trio.current_time()
            with trio.move_on_after(left / (len(hosts) - number)):
                try:
                    stream = await open_socks(
                        proxy,
                        host,
                        self._address.port,
                        local_address=self._sockets.local_address,
                    )
                except HandshakeError as exc:
                    failures.append(exc)
                    continue
                try:
                    apply_socket_options(stream, self._sockets)
                except BaseException:
                    await _discard(stream)
                    raise
                return stream
            failures.append(HandshakeError(f"no answer for {host} in time"))
        raise HandshakeError(
            "; ".join(dict.fromkeys(str(failure) for failure in failures)),
            retryable=any(failure.retryable for failure in failures),
        )


async def _secure(stream: trio.abc.Stream, tls: TLSLike, host: str) -> trio.abc.Stream:
    name = without_zone(name_of(tls, host))
    secured = TLSStream(stream, context_of(tls), server_hostname=name)
    await secured.do_handshake()
    return secured


def _reason(error: BaseException) -> str:
    """Why, in words; of several addresses, why of each."""
    if isinstance(error, ssl.SSLCertVerificationError):
        return f"its certificate is not accepted: {error.verify_message}"
    if isinstance(error, UnicodeError):
        return "its name is not a valid one"
    # Of trio: the group of the attempts, which says more than the error that carries it.
    each = getattr(error.__cause__, "exceptions", None) or (error,)
    words = [getattr(one, "strerror", None) or str(one) for one in each]
    return "; ".join(dict.fromkeys(words)) or "it closed the socket"


async def _discard(stream: trio.abc.Stream | None) -> None:
    if stream is not None:
        with trio.CancelScope(shield=True):
            await trio.aclose_forcefully(stream)
