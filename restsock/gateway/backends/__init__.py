"""Backends: what answers the messages of a gateway.

`HTTP`, `App` and `Peer` speak HTTP to a server, to an app in this process, to a peer behind NAT,
and share how a message becomes a request (`HTTPMapping`).

- `_template`: parts of a message, in paths and names. `_http_mapping`: messages as requests.
- `_http_backend`: what those that speak HTTP have in common. `_http`, `_app`, `_peer`: these.
"""

from __future__ import annotations

from ._app import App
from ._balance import Balance, BalanceMember
from ._http import HTTP
from ._http_backend import HTTPBackend
from ._http_mapping import HTTPMapping, HTTPRequest
from ._peer import Peer
from ._template import Source

__all__ = [
    "HTTP",
    "App",
    "Balance",
    "BalanceMember",
    "HTTPBackend",
    "HTTPMapping",
    "HTTPRequest",
    "Peer",
    "Source",
]
