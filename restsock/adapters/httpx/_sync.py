"""The blocking transport for httpx and httpx2, over `ThreadExchange`."""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from restsock._exceptions import RestsockError, fork_error
from restsock.adapters._fields import INLINE
from restsock.threads import Replay, ThreadExchange, ThreadUpload, send_upload

from ._request import ResponseBody, Times, mapped, package_of, parts_of, response_of

if TYPE_CHECKING:
    from restsock.adapters._peers import PeersByHost
    from restsock.connection import Requester

__all__ = ["TunnelTransport"]


class TunnelTransport:
    """A transport that sends the requests of a client to a peer over its connection.

        with httpx.Client(transport=client.transport(), base_url="http://edge-1") as http:
            http.get("/pets", timeout=30).json()

    Everything in a client works as over a socket: streams in both directions, timeouts, redirects,
    cookies, auth, event hooks, content decoding. The differences:

    - The host of the URL only becomes the Host header (and the name of the peer, with
      `PeersByHost`), and the app only gets the scheme. Authentication and encryption are those of
      the connection.
    - The connect timeout limits the wait for a connection to the peer, the pool timeout the wait
      for a free stream on it. `None` is `Timeouts.connect` for both.
    - A body is sent before the response is read, as by httpx itself. If the peer answers before it
      has read all of it, the rest is sent between reads.
    - `response.extensions["trailers"]` is a list of pairs, filled once the body is read.
    - `Upgrade` is not passed on; the async transport supports it.

    Exceptions are those of the client's own package. Their `__cause__` is the `RestsockError`; the
    request is safe to repeat if its `may_have_run` is false. On the thread of the event loop, or
    after a fork, a `RestsockError` is raised.

    One transport serves any number of threads and clients, of httpx and of httpx2; the one from
    `Client.transport()` also serves an `AsyncClient`, on trio and on asyncio. It does not own its
    connection: `close()` leaves that open.

    Args:
        requester: Sends the requests: a `Connection`, a `Client`, a route of a `Server`; or a
            `PeersByHost`, which finds the requester for each request.
    """

    def __init__(self, requester: Requester | PeersByHost) -> None:
        self._requester = requester
        self._pid = os.getpid()

    def handle_request(self, request: Any) -> Any:
        """Sends a request and returns once the response head has arrived.

        Raises:
            httpx.TimeoutException: A phase took too long. After a connect or pool timeout, the
                request did not run.
            httpx.ConnectError: The request did not run, for another reason.
            httpx.NetworkError: The connection has ended; the request may have run.
            httpx.ProtocolError: The peer reset the request, or it cannot be sent.
            httpx.InvalidURL: The host names no peer.
            RestsockError: This was called on the event loop's own thread, or after a fork.
            TypeError: This is not a request of httpx or httpx2.
        """
        package_of(request)  # before anything is done
        if os.getpid() != self._pid:
            raise fork_error("transport", self._pid)
        requester, head, body, times = parts_of(request, self._requester, upgradable=False)
        upload: ThreadUpload | None = None
        try:
            if isinstance(body, bytes) and len(body) <= INLINE:
                exchange = ThreadExchange.open(requester, head, body=body)
                try:
                    response = exchange.receive_head(times.start, times.read)
                except BaseException:  # also Ctrl-C: the peer's app learns of it
                    exchange.close()
                    raise
            else:
                exchange, response, upload = send_upload(
                    requester,
                    head,
                    body,
                    # Some streams of httpx can be read only once, and do not say so.
                    Replay(body, anew=False),
                    connect=times.start,
                    write=times.write,
                    read=times.read,
                )
        except RestsockError as exc:
            raise mapped(exc, request, busy=times.busy)  # noqa: B904  # has its cause
        if upload is not None and upload.done:
            upload = None
        return response_of(request, head.method, response, TunnelBytes, exchange, upload, times)


class TunnelBytes(ResponseBody):
    """The body of a response, as it arrives.

    Its `close`, and the garbage collector, reset a stream that is not complete, so that the peer's
    app learns that its response is no longer read.
    """

    base = "SyncByteStream"

    def __init__(
        self,
        exchange: ThreadExchange,
        upload: ThreadUpload | None,
        times: Times,
        request: Any,
        length: int | None,
    ) -> None:
        self._exchange = exchange
        self._upload = upload
        self._times = times
        super().__init__(request, length, exchange.release)

    def __iter__(self) -> Iterator[bytes]:
        try:
            while self._left != 0:
                source = self._exchange if self._upload is None else self._upload
                data = source.receive_data(self._times.read)
                if not data:
                    break
                self._take(data)
                yield data
        except RestsockError as exc:
            self.close()
            raise mapped(exc, self._request)  # noqa: B904  # has its cause
        self.trailers[:] = self._exchange.inbox.trailers

    def close(self) -> None:
        """Ends the exchange, unless it is complete. Never raises."""
        self._upload = None
        self._exchange.close()

    def __del__(self) -> None:
        exchange = getattr(self, "_exchange", None)
        if exchange is not None:
            exchange.close()
