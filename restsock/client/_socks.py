"""SOCKS5 by python-socks (the extra `restsock[proxy]`); nothing else imports it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import trio

from restsock._exceptions import HandshakeError

if TYPE_CHECKING:
    from ._proxy import Proxy

__all__ = ["open_socks"]

# Replies after which trying again is useless (RFC 1928, section 6): not allowed by the ruleset, no
# CONNECT, or no such type of address.
_FINAL = frozenset((2, 7, 8))


async def open_socks(
    proxy: Proxy, host: str, port: int, *, local_address: str | None
) -> trio.SocketStream:
    """Opens a connection through a SOCKS proxy. Sets no deadline.

    If cancelled, no socket is left open.

    Args:
        proxy: The proxy.
        host: A name, which the proxy looks up, or an IP address.
        port: The port of the host.
        local_address: The local address to dial from.

    Raises:
        HandshakeError: The proxy refuses, or is not a SOCKS proxy. The message says why.
        OSError: The proxy cannot be reached.
        trio.BrokenResourceError: The socket has failed.
    """
    from python_socks import ProxyConnectionError, ProxyError, ProxyType
    from python_socks.async_.trio.v2 import Proxy as SocksProxy

    user, password = proxy.credentials or (None, None)
    # The library would use only one address of a name, so the proxy looks up any name here.
    socks = SocksProxy(ProxyType.SOCKS5, proxy.host, proxy.port, user, password, rdns=True)
    try:
        opened = await socks.connect(host, port, timeout=float("inf"), local_addr=local_address)
    except ProxyConnectionError as exc:
        if isinstance(exc.__cause__, OSError):
            raise exc.__cause__ from exc.__cause__.__cause__
        raise
    except ProxyError as exc:
        words = "".join(c if c.isprintable() else "?" for c in str(exc))
        # For these the library keeps no code.
        login = "authentication" in words.lower()
        raise HandshakeError(words, retryable=not login and exc.error_code not in _FINAL) from exc
    except ValueError as exc:
        raise HandshakeError("its answer is not SOCKS5", retryable=False) from exc
    stream = opened.trio_stream
    assert isinstance(stream, trio.SocketStream)
    return stream
