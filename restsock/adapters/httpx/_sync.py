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

    All of a client works as over a socket: streams both ways, time-outs, redirects, cookies, auth,
    event hooks, content decoding. What differs:

    - The host of the URL only fills in the Host header (and tells `PeersByHost` the peer), and its
      scheme is only told to the app: whether the peer is known and the wire encrypted was settled
      when the connection was made.
    - The connect time-out spans the time until there is a connection to the peer, the pool time-out
      the time until a stream is free on it. `None` is `Timeouts.connect` for both.
    - A body is sent before the response is read, as by httpx itself; when the peer answers before
      it has taken all, what is left is sent between reads.
    - `response.extensions["trailers"]` is a list of pairs, filled once the body is read.
    - A wish to upgrade is not passed on; the async transport does that.

    Exceptions are those of the client's own package. Their `__cause__` is restsock's, whose
    `may_have_run` says whether sending the request again is safe. Called on the event loop's own
    thread, or after a fork, a `RestsockError` says so.

    One transport serves any number of threads and clients, of httpx and of httpx2; what
    `transport()` of a client gives serves an `AsyncClient` as well, on trio and on asyncio. It does
    not own its connection: `close()` leaves that open.

    Args:
        requester: What carries the requests: a `Connection`, a `Client`, a route of a `Server`; or
            `PeersByHost`, which finds that for each request.
    """

    def __init__(self, requester: Requester | PeersByHost) -> None:
        self._requester = requester
        self._pid = os.getpid()

    def handle_request(self, request: Any) -> Any:
        """Sends a request and returns once the response's head is there.

        Raises:
            httpx.TimeoutException: A phase took too long; of a connect or pool time-out it is
                certain that the request did not run.
            httpx.ConnectError: It did not run, for another reason.
            httpx.NetworkError: The connection has ended, and it may have run.
            httpx.ProtocolError: The peer cut it off, or it cannot be sent.
            httpx.InvalidURL: The host names no peer.
            RestsockError: Called where it cannot work.
            TypeError: This is no request of httpx or httpx2.
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
                except BaseException:  # Ctrl-C too: the peer's app learns of it
                    exchange.close()
                    raise
            else:
                exchange, response, upload = send_upload(
                    requester,
                    head,
                    body,
                    # Some streams of httpx can be read once, and do not tell.
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
    """The body of a response, as it comes.

    Its `close`, and the garbage collector, reset a stream that is not complete, so that the peer's
    app learns that its answer is not read any more.
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
