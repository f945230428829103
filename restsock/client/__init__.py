"""The dialing side: `connect` makes a `Client`, which keeps one connection to a listener.

- `_url`: parses the URL strictly.
- `_proxy`: which proxy to dial through, if any; `_socks`: SOCKS proxies.
- `_dial`: one attempt to open a socket, through a proxy if necessary, and TLS on it.
- `_redial`: whether and when to dial again; `_outage`: logs the time without a connection.
- `_dialer`: attempts, with pauses between them, until there is a connection.
- `_reconnector`: runs a connection, and dials the next one when it ends.
- `_client`: the public class.
- `_connect`: checks the arguments.
"""

from __future__ import annotations

from restsock.endpoint import ClientStatistics

from ._client import Client
from ._connect import connect
from ._dial import OpenStream, Transport
from ._fields import check_fields, check_headers, credentials_of
from ._proxy import Proxy, ProxyLike, choose_proxy
from ._redial import Redial
from ._url import Address, parse_url

__all__ = [
    "Address",
    "Client",
    "ClientStatistics",
    "OpenStream",
    "Proxy",
    "ProxyLike",
    "Redial",
    "Transport",
    "check_fields",
    "check_headers",
    "choose_proxy",
    "connect",
    "credentials_of",
    "parse_url",
]
