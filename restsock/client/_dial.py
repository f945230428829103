"""One attempt: a socket and TLS on it, with every failure as a `HandshakeError`."""

from __future__ import annotations

import ssl
from collections.abc import Awaitable, Callable

import trio

from restsock._exceptions import HandshakeError

from ._url import Address

__all__ = ["OpenStream", "open_tcp", "open_transport"]

OpenStream = Callable[[Address], Awaitable[trio.abc.Stream]]
"""Opens the stream to an address on which TLS, or the WebSocket, is going to run."""


async def open_tcp(address: Address) -> trio.abc.Stream:
    """A TCP connection to the first of the host's addresses that answers (RFC 8305).

    Trio has already switched Nagle's algorithm off for it.
    """
    return await trio.open_tcp_stream(address.host, address.port)


async def open_transport(
    address: Address,
    ssl_context: ssl.SSLContext | None,
    open_stream: OpenStream,
    timeout: float,
) -> trio.abc.Stream:
    """Opens a stream and, with an SSL context, does the TLS handshake on it.

    If cancelled, no stream is left open.

    Args:
        address: Whom to dial.
        ssl_context: Must be given for a `wss` address.
        open_stream: What opens the socket.
        timeout: Seconds for the two together.

    Raises:
        HandshakeError: It failed or took too long. Only a certificate that is not accepted makes
            trying again useless.
    """
    what = "reach"
    stream: trio.abc.Stream | None = None
    try:
        with trio.fail_after(timeout):
            stream = await open_stream(address)
            if ssl_context is None:
                return stream
            what = "begin TLS with"
            secured = trio.SSLStream(
                stream,
                ssl_context,
                server_hostname=address.host.partition("%")[0],
                # The end of a WebSocket is in its close frame; the one of TLS adds nothing to it.
                https_compatible=True,
            )
            stream = secured
            await secured.do_handshake()
            return secured
    except trio.TooSlowError as exc:
        await _discard(stream)
        raise HandshakeError(f"cannot {what} {address.authority} within {timeout:g} s") from exc
    except (OSError, trio.BrokenResourceError, trio.ClosedResourceError) as exc:
        await _discard(stream)
        # Trio wraps what the ssl module raises.
        cause = exc.__cause__ if isinstance(exc.__cause__, ssl.SSLError) else exc
        if isinstance(cause, ssl.SSLCertVerificationError):
            why = f"its certificate is not accepted: {cause.verify_message}"
        else:
            why = str(cause) or "it closed the socket"
        raise HandshakeError(
            f"cannot {what} {address.authority}: {why}",
            retryable=not isinstance(cause, ssl.SSLCertVerificationError),
        ) from exc
    except BaseException:
        await _discard(stream)
        raise


async def _discard(stream: trio.abc.Stream | None) -> None:
    if stream is not None:
        with trio.CancelScope(shield=True):
            await trio.aclose_forcefully(stream)
