"""What the transports for httpx and httpx2 share: reading requests, making responses and errors.

httpx2 is the successor of httpx, with the same interface for transports. A request shows to which
of the two it belongs, so one transport serves clients of both, and neither is imported here.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from functools import lru_cache
from types import ModuleType
from typing import TYPE_CHECKING, Any, NamedTuple

from restsock._exceptions import (
    ConnectionClosed,
    LocalProtocolError,
    PeerNotFound,
    PeerUnavailable,
    RequestTimeout,
    RestsockError,
    without_frames,
)
from restsock.adapters._fields import HOP_BY_HOP, NAMES_NONE
from restsock.adapters._peers import PeersByHost
from restsock.protocol import Headers, RequestHead, ResponseHead, content_length, scheme_of

if TYPE_CHECKING:
    from restsock.connection import Requester

__all__ = ["ResponseBody", "Times", "mapped", "package_of", "parts_of", "response_of"]

_PACKAGES = ("httpx", "httpx2")


class Times(NamedTuple):
    """The timeouts of a request, in seconds; `None` waits indefinitely.

    Attributes:
        start: Until the request has a stream.
        busy: Whether it waits for a free stream, not for a connection.
        read: For the head, and for each piece of the body.
        write: How long the peer may read nothing of the request body.
    """

    start: float
    busy: bool
    read: float | None
    write: float | None


def package_of(request: object) -> ModuleType:
    """The package of a request: httpx or httpx2.

    Raises:
        TypeError: It is a request of neither.
    """
    kind: Any = type(request)
    return _package_of(kind)


@lru_cache(maxsize=64)
def _package_of(kind: Any) -> ModuleType:
    for base in kind.__mro__:
        top = base.__module__.partition(".")[0]
        if base.__name__ == "Request" and top in _PACKAGES:
            return sys.modules[top]
    raise TypeError(f"the request must be one of httpx or httpx2, not {kind.__name__}")


def parts_of(
    request: Any, requester: Requester | PeersByHost, *, upgradable: bool
) -> tuple[Requester, RequestHead, Any, Times]:
    """Splits a request into its requester, head, body (bytes or a stream) and timeouts.

    Args:
        request: A request of either package.
        requester: The requester, or a `PeersByHost` that finds it.
        upgradable: Whether `Upgrade` is passed on.

    Raises:
        httpx.InvalidURL: Its host names no peer.
    """
    if isinstance(requester, PeersByHost):
        try:
            requester = requester.find(request.url.netloc.decode("ascii")).requester
        except ValueError as exc:
            raise package_of(request).InvalidURL(str(exc)) from exc
    target = request.extensions.get("target", request.url.raw_path)
    raw: Headers = request.headers.raw
    headers = [
        field
        for field in raw
        if (lower := field[0].lower()) not in HOP_BY_HOP
        or (lower == b"connection" and field[1] not in NAMES_NONE)
    ]
    if upgradable and "upgrade" in request.headers:
        upgrade = request.headers["upgrade"].encode("latin-1")
        headers += [(b"Connection", b"upgrade"), (b"Upgrade", upgrade)]
    scheme = scheme_of(request.url.scheme)
    head = RequestHead(request.method.encode("ascii"), bytes(target), headers, scheme)
    try:
        body = request.content
    except package_of(request).RequestNotRead:
        body = request.stream
        # The client's own stream reports a used generator, but continues any other used iterator.
        if getattr(body, "_is_stream_consumed", False) and _reads_once(body):
            raise package_of(request).StreamConsumed from None
    return requester, head, body, _times(request, requester)


def _reads_once(stream: Any) -> bool:
    """Whether a client's stream wraps an iterator, which can be read only once."""
    source = getattr(stream, "_stream", None)
    for begin in ("__iter__", "__aiter__"):
        if hasattr(source, begin) and not hasattr(source, "read"):
            return getattr(source, begin)() is source
    return False


def _times(request: Any, requester: Requester) -> Times:
    times = request.extensions.get("timeout", {})
    # A `Connection` sends the request itself; a client or a route has a connection, or none now.
    connection: Any = getattr(requester, "connection", requester)
    busy = connection is not None and connection.closed is None
    start = times.get("pool" if busy else "connect")
    if start is None:
        # Not indefinitely: a request to a peer that is away would hang.
        start = requester.timeouts.connect
    return Times(start, busy, times.get("read"), times.get("write"))


class ResponseBody:
    """The body of a response, as it arrives: the base for threads and for tasks.

    Args:
        request: The request of the client.
        length: The length of the body in bytes, if known.
        release: Called when the body is complete, to release the exchange.

    Attributes:
        base: The name of its base class in the client's package.
        trailers: Filled once the body is read.
    """

    base: str

    def __init__(self, request: Any, length: int | None, release: Callable[[], None]) -> None:
        self.trailers: list[tuple[bytes, bytes]] = []
        self._request = request
        self._left = length
        self._release = release
        self._take(b"")

    def _take(self, data: bytes) -> None:
        """Does not wait for an app that continues after the last byte of its response."""
        if self._left is not None:
            self._left -= len(data)
            if self._left == 0:
                self._release()


@lru_cache(maxsize=8)
def _stream_type(kind: Any, package: ModuleType) -> Any:
    # Clients require a stream of their own package.
    return type(kind.__name__, (kind, getattr(package, kind.base)), {})


def response_of(
    request: Any,
    method: bytes,
    head: ResponseHead,
    kind: Any,
    *source: Any,
    **extensions: Any,
) -> Any:
    """Makes the response for a client.

    Args:
        request: The request of the client.
        method: The method of the request.
        head: The head of the response.
        kind: The class of its body.
        source: The arguments of that class.
        extensions: Additional extensions of the response.
    """
    package = package_of(request)
    bodiless = method == b"HEAD" or head.status in (204, 304)
    length = 0 if bodiless else content_length(head.headers)
    body = _stream_type(kind, package)(*source, request, length)
    extensions.update(http_version=b"HTTP/1.1", trailers=body.trailers)
    if head.reason:
        extensions["reason_phrase"] = head.reason
    return package.Response(
        head.status, headers=list(head.headers), stream=body, extensions=extensions
    )


def mapped(error: RestsockError, request: Any, *, busy: bool = False) -> Exception:
    """The httpx exception for an error, which becomes its `__cause__`.

    A plain `RestsockError` (this was called where it cannot work) is returned as it is.
    """
    if type(error) is RestsockError:
        return without_frames(error)
    kind = getattr(package_of(request), _name(error, busy))
    exception: Exception = kind(str(error), request=request)
    exception.__cause__ = without_frames(error)
    return exception


def _name(error: RestsockError, busy: bool) -> str:
    if isinstance(error, (PeerNotFound, PeerUnavailable)):
        return "ConnectTimeout"  # the error of a route after it has waited for its peer
    if isinstance(error, RequestTimeout):
        if error.phase == "connect" and not error.may_have_run:
            return "PoolTimeout" if busy else "ConnectTimeout"
        return "WriteTimeout" if error.phase == "write" else "ReadTimeout"
    if isinstance(error, LocalProtocolError):
        return "LocalProtocolError"
    if error.may_have_run is False:
        return "ConnectError"
    return "ReadError" if isinstance(error, ConnectionClosed) else "RemoteProtocolError"
