"""Two ends of TLS that trust each other."""

from __future__ import annotations

import functools
import ssl

import trio
import trustme

from restsock.connection import TLSStream
from restsock.protocol import TLS

__all__ = ["contexts", "tls_ends", "tls_streams"]


@functools.cache
def contexts() -> tuple[ssl.SSLContext, ssl.SSLContext]:
    """For the one that dials "hub", and for hub."""
    authority = trustme.CA()
    here, there = ssl.create_default_context(), ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    authority.configure_trust(here)
    authority.issue_cert("hub").configure_cert(there)
    return here, there


def tls_ends(*, close_required: bool = False) -> tuple[TLS, TLS]:
    """Dialer and listener, the handshake before them."""
    here, there = contexts()
    return (
        TLS(here, server_hostname="hub", close_required=close_required),
        TLS(there, server_side=True, close_required=close_required),
    )


async def tls_streams(
    dialed: trio.abc.Stream, accepted: trio.abc.Stream
) -> tuple[TLSStream, TLSStream]:
    """Both ends over these streams, the handshake done."""
    here, there = contexts()
    ends = (
        TLSStream(dialed, here, server_hostname="hub"),
        TLSStream(accepted, there, server_side=True),
    )
    async with trio.open_nursery() as nursery:
        for end in ends:
            nursery.start_soon(end.do_handshake)
    return ends
