"""What a client asked for, before its WebSocket was accepted."""

from __future__ import annotations

from typing import TYPE_CHECKING
from urllib.parse import unquote

from restsock.connection import Fields

if TYPE_CHECKING:
    from restsock.connection import Peer
    from restsock.protocol import Headers, RequestHead

__all__ = ["Request"]


class Request(Fields):
    """The request that a client has opened a WebSocket with. Its text form shows no query.

    Attributes:
        target: path and query, as sent.
        path: percent-decoded.
        query: after the "?", as sent.
        headers: name and value pairs, as sent, without the token of a browser (`browser_token`).
        scheme: `"http"` or `"https"`: whether the client speaks TLS with this port. If a proxy is
            in front, see its headers.
        peer: the address of the client, as far as the trusted proxies know.
        host: the Host that it has asked for; `""` without one.
    """

    def __init__(self, head: RequestHead, headers: Headers, peer: Peer) -> None:
        self.target = head.target.decode("latin-1")
        path, _, self.query = self.target.partition("?")
        self.path = unquote(path)
        self.headers = headers
        self.scheme = peer.scheme_of(head)
        self.peer = peer
        self.host = self.header("host", "")

    def __repr__(self) -> str:
        return f"<Request {self.path!r} from {self.peer}>"
