"""The dialing side: `connect` makes a `Client`, which keeps one connection to a listener alive.

- `_url`: the URL, read strictly.
- `_proxy`: which proxy to dial through, if any; `_socks` speaks with those of that kind.
- `_dial`: one attempt to open a socket, through a proxy if need be, and TLS on it.
- `_redial`: when to dial again, and whether; `_outage`: what is logged of it.
- `_dialer`: attempts with pauses between them, until there is a connection.
- `_reconnector`: runs a connection, and has the next one dialed when it ends.
- `_client`: what a program sees of it.
- `_connect`: the arguments, checked.
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
