"""`connect`: dials a server of swaggersocket."""

from __future__ import annotations

import ssl
from typing import TYPE_CHECKING, Any

from restsock import client as _client
from restsock import tls as _tls
from restsock._arguments import check_keywords
from restsock._logging import LoggerLike
from restsock._options import Backoff, Options
from restsock.apps import make_handler
from restsock.auth import Credentials
from restsock.connection import FieldsLike, InstrumentLike
from restsock.endpoint import documented_like

from ._endpoint import LATE_RESPONSE, MAX_REQUEST, checked_wire

if TYPE_CHECKING:
    from restsock.client import Client, ProxyLike

__all__ = ["connect"]


@documented_like(_client.connect)
def connect(
    url: str,
    *,
    metadata: Any = None,
    app: Any = None,
    interface: str | None = None,
    loop: str = "auto",
    headers: FieldsLike = (),
    auth: Credentials | None = None,
    tls: ssl.SSLContext | _tls.ClientTLS | None = None,
    options: Options | None = None,
    backoff: Backoff | None = None,
    instrument: InstrumentLike | None = None,
    proxy: ProxyLike = None,
    logger: LoggerLike | None = None,
    max_request: int = MAX_REQUEST,
    late_response: float = LATE_RESPONSE,
    **app_options: Any,
) -> Client:
    """Dials a server of swaggersocket; the result is to be entered with `async with`.

        async with swaggersocket.connect(url, metadata={"name": "pump-7"}, app=app) as client:
            response = await client.request("GET", "/pets")

    It is a `restsock.Client`: it dials with growing pauses until there is a connection, and again
    after a failure; then it sends its metadata again and serves its app again. A clean close by the
    server, one without a code included, ends it.

    There is one request at a time in each direction. Further ones wait for their turn, up to their
    connect timeout. A request cannot be cancelled or upgraded. See docs/swaggersocket.md.

    Args:
        metadata: Any JSON value; the server gets it with each connection.
        max_request: Bytes of the largest body of a request of this side. A request is one message,
            so its body is collected first. A larger one raises a `LocalProtocolError`.
        late_response: Seconds. When a caller gives up, the next request waits until the late
            response has arrived, since responses have no ids. After this time, the connection is
            closed instead, and dialed again.

    Raises:
        ValueError: The URL, the metadata, a header field, a number or the proxy is not valid.
    """
    check_keywords(connect, app_options, make_handler)
    wire = checked_wire(max_request, late_response)
    client = _client.connect(
        url,
        app=app,
        interface=interface,
        loop=loop,
        metadata=metadata,
        headers=headers,
        auth=auth,
        tls=tls,
        options=options,
        backoff=backoff,
        instrument=instrument,
        proxy=proxy,
        logger=logger,
        **app_options,
    )
    client.speak(wire)
    return client
