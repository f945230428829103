"""One request to a server that helps to find out who somebody is. In a thread: it waits."""

from __future__ import annotations

import socket
import ssl
import time
from collections.abc import Iterable
from typing import NamedTuple

from restsock._addresses import is_loopback, split_url

__all__ = ["Answer", "Place", "fetch"]

_READ = 16 * 1024


class Place(NamedTuple):
    """A URL, checked."""

    scheme: str
    host: str
    port: int | None
    target: str

    @classmethod
    def of(cls, url: str, what: str) -> Place:
        """Checks a URL.

        Raises:
            ValueError: it is malformed, has a user in it, or would go over a network in the clear.
        """
        parts = split_url(url, what, ("http", "https"))
        if parts.userinfo is not None:
            raise ValueError(f"{what} has a user or a password in it, which it cannot have")
        if parts.scheme == "http" and not is_loopback(parts.host):
            raise ValueError(f"{what} must begin with https://; http:// is for this machine alone")
        target = parts.target if parts.target.startswith("/") else f"/{parts.target}"
        return cls(parts.scheme, parts.host, parts.port, target)


class Answer(NamedTuple):
    """What a server has answered."""

    status: int
    headers: list[tuple[bytes, bytes]]
    body: bytes


def fetch(
    place: Place,
    headers: Iterable[tuple[bytes, bytes]] = (),
    *,
    timeout: float,
    max_body: int,
    tls: ssl.SSLContext | None = None,
) -> Answer:
    """Sends a GET and reads the whole answer. Follows no redirects; each has a connection.

    Args:
        place: where to.
        headers: besides Host.
        timeout: seconds for all of it.
        max_body: bytes of the body of the answer.
        tls: whom to believe with https; by default the system's authorities.

    Raises:
        OSError: it cannot be reached, takes too long, or its answer is malformed or too long.
    """
    import http.client

    deadline = time.monotonic() + timeout
    connection: http.client.HTTPConnection
    if place.scheme == "https":
        context = ssl.create_default_context() if tls is None else tls
        connection = http.client.HTTPSConnection(
            place.host, place.port, timeout=timeout, context=context
        )
    else:
        connection = http.client.HTTPConnection(place.host, place.port, timeout=timeout)
    response = None
    try:
        connection.putrequest("GET", place.target, skip_accept_encoding=True)
        for name, value in headers:
            connection.putheader(name.decode("latin-1"), value)
        connection.endheaders()
        sock = connection.sock
        _bound(sock, deadline)
        response = connection.getresponse()
        body = b""
        while True:
            # So that one that drips does not hold a thread.
            _bound(sock, deadline)
            piece = response.read1(_READ)
            if not piece:
                break
            body += piece
            if len(body) > max_body:
                raise OSError("the answer is too long")
        fields = [(n.encode("latin-1"), v.encode("latin-1")) for n, v in response.getheaders()]
        return Answer(response.status, fields, body)
    except (http.client.HTTPException, ValueError) as exc:
        raise OSError(f"a malformed answer ({type(exc).__name__})") from None
    finally:
        connection.close()
        if response is not None:  # it outlives the connection that it came over
            response.close()


def _bound(sock: socket.socket, deadline: float) -> None:
    left = deadline - time.monotonic()
    if left <= 0:
        raise TimeoutError("no answer in time")
    if sock.fileno() >= 0:  # it is closed once the whole answer is there
        sock.settimeout(left)
