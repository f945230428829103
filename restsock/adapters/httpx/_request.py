"""What the transports for httpx and httpx2 share: reading requests, making responses and errors.

httpx2 is the successor of httpx, with the same interface for transports. A request shows which of
the two it is of, so one transport serves clients of both, and neither is imported here.
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
    """The time-outs of a request, in seconds; `None` is as long as it takes.

    Attributes:
        start: Until it has a stream.
        busy: Whether that is a wait for a free stream, not for a connection.
        read: For the head, and for each piece of the body.
        write: In which the peer takes nothing of the request's body.
    """

    start: float
    busy: bool
    read: float | None
    write: float | None


def package_of(request: object) -> ModuleType:
    """The package, httpx or httpx2, that a request is of.

    Raises:
        TypeError: It is of neither.
    """
    kind: Any = type(request)
    return _package_of(kind)


@lru_cache(maxsize=64)
def _package_of(kind: Any) -> ModuleType:
    for base in kind.__mro__:
        top = base.__module__.partition(".")[0]
        if base.__name__ == "Request" and top in _PACKAGES:
            return sys.modules[top]
    raise TypeError(f"a request of httpx or httpx2 is wanted, not {kind.__name__}")


def parts_of(
    request: Any, requester: Requester | PeersByHost, *, upgradable: bool
) -> tuple[Requester, RequestHead, Any, Times]:
    """Takes a request apart: what carries it, its head, its body (bytes or a stream), its times.

    Args:
        request: Of either package.
        requester: What it will be handed to, or what finds that.
        upgradable: Whether a wish to upgrade is passed on.

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
        # The client's own stream tells of a generator, and begins any other iterator in its middle.
        if getattr(body, "_is_stream_consumed", False) and _reads_once(body):
            raise package_of(request).StreamConsumed from None
    return requester, head, body, _times(request, requester)


def _reads_once(stream: Any) -> bool:
    """Whether a client's stream wraps an iterator: what it has given is gone."""
    source = getattr(stream, "_stream", None)
    for begin in ("__iter__", "__aiter__"):
        if hasattr(source, begin) and not hasattr(source, "read"):
            return getattr(source, begin)() is source
    return False


def _times(request: Any, requester: Requester) -> Times:
    times = request.extensions.get("timeout", {})
    # A `Connection` carries the request itself; a client or a route has one, or has none now.
    connection: Any = getattr(requester, "connection", requester)
    busy = connection is not None and connection.closed is None
    start = times.get("pool" if busy else "connect")
    if start is None:
        # Not indefinitely: a request that waits for a peer that is away would be a trap.
        start = requester.timeouts.connect
    return Times(start, busy, times.get("read"), times.get("write"))


class ResponseBody:
    """The body of a response, as it comes: what a thread and a task that wait for it share.

    Args:
        request: The client's.
        length: Its bytes, where they are known.
        release: What lets go of the exchange once they are there.

    Attributes:
        base: The name of the stream that it is in the client's own package.
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
        """Does not wait for an app that goes on working after the last byte of its response."""
        if self._left is not None:
            self._left -= len(data)
            if self._left == 0:
                self._release()


@lru_cache(maxsize=8)
def _stream_type(kind: Any, package: ModuleType) -> Any:
    # Clients insist on a stream of their own package.
    return type(kind.__name__, (kind, getattr(package, kind.base)), {})


def response_of(
    request: Any,
    method: bytes,
    head: ResponseHead,
    kind: Any,
    *source: Any,
    **extensions: Any,
) -> Any:
    """The response that a client is given.

    Args:
        request: The client's.
        method: Of it.
        head: Of the response.
        kind: Of its body.
        source: What the body comes from, as its kind wants it.
        extensions: Besides those that every response has.
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
    """The exception of httpx for an error, which becomes its `__cause__`.

    A plain `RestsockError` (called where it cannot work) is not about the request, and stays.
    """
    if type(error) is RestsockError:
        return without_frames(error)
    kind = getattr(package_of(request), _name(error, busy))
    exception: Exception = kind(str(error), request=request)
    exception.__cause__ = without_frames(error)
    return exception


def _name(error: RestsockError, busy: bool) -> str:
    if isinstance(error, (PeerNotFound, PeerUnavailable)):
        return "ConnectTimeout"  # what a route says when the time to wait for its peer is over
    if isinstance(error, RequestTimeout):
        if error.phase == "connect" and not error.may_have_run:
            return "PoolTimeout" if busy else "ConnectTimeout"
        return "WriteTimeout" if error.phase == "write" else "ReadTimeout"
    if isinstance(error, LocalProtocolError):
        return "LocalProtocolError"
    if error.may_have_run is False:
        return "ConnectError"
    return "ReadError" if isinstance(error, ConnectionClosed) else "RemoteProtocolError"
