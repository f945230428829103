"""One request to a server that helps to find out who somebody is. In a thread: it waits."""

from __future__ import annotations

import functools
import io
import socket
import ssl
import time
from collections.abc import Iterable
from typing import Any, NamedTuple

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
        connection = http.client.HTTPSConnection(
            place.host, place.port, timeout=timeout, context=tls or _default_context()
        )
    else:
        connection = http.client.HTTPConnection(place.host, place.port, timeout=timeout)
    response = None
    try:
        connection.putrequest("GET", place.target, skip_accept_encoding=True)
        for name, value in headers:
            connection.putheader(name.decode("latin-1"), value)
        connection.endheaders()
        # Not by `getresponse`: for each byte of a server that drips the time would begin anew.
        until: Any = _Until(deadline, connection.sock)
        response = http.client.HTTPResponse(until, method="GET")
        response.begin()
        body = b""
        while piece := response.read1(_READ):
            body += piece
            if len(body) > max_body:
                raise OSError("the answer is too long")
        fields = [(n.encode("latin-1"), v.encode("latin-1")) for n, v in response.getheaders()]
        return Answer(response.status, fields, body)
    except (http.client.HTTPException, ValueError) as exc:
        raise OSError(f"a malformed answer ({type(exc).__name__})") from None
    finally:
        connection.close()
        if response is not None:
            response.close()


@functools.cache
def _default_context() -> ssl.SSLContext:
    """One for all: to read the authorities of the system takes more than a request does."""
    return ssl.create_default_context()


class _Until(io.RawIOBase):
    """Reads from a socket until a deadline, however slowly bytes come."""

    def __init__(self, deadline: float, sock: socket.socket) -> None:
        self._deadline = deadline
        self._sock = sock

    def makefile(self, mode: str) -> io.BufferedReader:
        """What `http.client` reads from."""
        return io.BufferedReader(self)

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        left = self._deadline - time.monotonic()
        if left <= 0:
            raise TimeoutError("no answer in time")
        self._sock.settimeout(left)
        return self._sock.recv_into(buffer)
