"""`TunnelAdapter`: `requests` over a restsock connection."""

from __future__ import annotations

import os
from collections.abc import Mapping
from copy import deepcopy
from datetime import timedelta
from functools import lru_cache
from typing import TYPE_CHECKING, Any, NoReturn, cast
from urllib.parse import urlsplit

from requests import Response, cookies
from requests.adapters import HTTPAdapter
from requests.exceptions import InvalidHeader, InvalidURL, RequestException
from requests.structures import CaseInsensitiveDict
from requests.utils import get_encoding_from_headers
from urllib3.exceptions import HTTPError, MaxRetryError

from restsock._arguments import check_keywords
from restsock._exceptions import (
    LocalProtocolError,
    RestsockError,
    SpecError,
    ValidationError,
    fork_error,
    without_frames,
)
from restsock._logging import PartLog, owned_by
from restsock.adapters._fields import INLINE
from restsock.adapters._peers import PeersByHost, Way
from restsock.threads import Replay, ThreadExchange, send_upload

from ._call_checker import CallChecker, check_request, check_response
from ._errors import as_pool, request_error, retryable_error
from ._fast import merged_fields, new_headers, new_jar
from ._request import Times, body_of, head_of, mark_spent, times_of
from ._response import TunnelBody, TunnelResponse, build_raw

if TYPE_CHECKING:
    from requests import PreparedRequest
    from urllib3.util import Retry

    from restsock.connection import Requester
    from restsock.protocol import RequestHead

__all__ = ["TunnelAdapter"]

_log = PartLog("restsock.adapters")

_NO_TIME = timedelta(0)

# Whether a response of requests has exactly the attributes that `build_response` sets.
_KNOWN = list(vars(Response())) == [
    "_content",
    "_content_consumed",
    "_next",
    "status_code",
    "headers",
    "raw",
    "url",
    "encoding",
    "history",
    "reason",
    "cookies",
    "elapsed",
    "request",
]


class TunnelAdapter(HTTPAdapter):
    """A transport adapter that sends requests to a peer over its connection.

    ::

        session = requests.Session()
        session.mount("http://edge-1/", server.adapter("edge-1"))
        session.get("http://edge-1/pets", timeout=(3, 30)).json()

    Everything in a session works as over a socket: streams in both directions, timeouts, redirects,
    cookies, auth, hooks, content decoding, retries. The differences:

    - The host of the URL only chooses the adapter and becomes the Host header; with `PeersByHost`
      it also names the peer. `verify` and `cert` have no meaning: authentication and encryption are
      those of the connection. `https://` URLs can be mounted, too.
    - The connect timeout limits the wait for a connection and a free stream on it. `None` is
      `Timeouts.connect`.
    - The read timeout also limits how long the peer may read nothing of a request body.
    - A request that provably never reached the peer's app is sent again automatically, whatever its
      method, within the connect timeout, if its body can be sent again. If it still fails, this
      counts for `max_retries` as a connect error; `read` and `allowed_methods` apply to other
      errors. A request that may have run is never repeated without `max_retries`.
    - Proxies have no effect: a mounted URL uses the tunnel, whatever `proxies=`, the session or the
      environment say. Proxy-Authorization is not sent.
    - A body that can be read only once (a generator, a pipe) is sent once. Sending it again, for a
      redirect or an authentication challenge, is an `UnrewindableBodyError`.
    - The session chooses the adapter, by the prefix of the URL. With a plain `requests.Session`
      `http://edge-1:80/` and `http://user@edge-1/` do not match `http://edge-1/`, and use a socket.
      With `restsock.Session` they match.

    Exceptions are those of `requests`. Their `__cause__` is the `RestsockError`; the request is
    safe to repeat if its `may_have_run` is false.

    One adapter serves any number of threads and sessions. It does not own its connection: `close()`
    leaves that open. A copy, also a deep copy, shares the connection. An adapter cannot be pickled,
    responses can. After a fork it works only in the parent.

    Args:
        requester: Sends the requests: a `Connection`, a `Client`, a route of a `Server`; or a
            `PeersByHost`, which finds the requester for each request.
        max_retries: As for `HTTPAdapter`: a number, or a `Retry` of urllib3.
        contract: Validates requests and responses; `client.adapter(openapi=...)` makes one.
            `PeersByHost` has its own.
        pool_options: Accepted for compatibility with `HTTPAdapter`, without effect.

    Raises:
        TypeError: Both `contract` and a `PeersByHost` were passed.
    """

    def __init__(
        self,
        requester: Requester | PeersByHost,
        *,
        max_retries: int | Retry = 0,
        contract: CallChecker | None = None,
        **pool_options: Any,
    ) -> None:
        check_keywords(TunnelAdapter, pool_options, HTTPAdapter)
        super().__init__(max_retries=max_retries, **pool_options)
        self._peers: PeersByHost | None = None
        self._way: Way | None = None
        if isinstance(requester, PeersByHost):
            if contract is not None:
                raise TypeError("pass the contract as `bind` of PeersByHost")
            self._peers = requester
        else:
            self._way = Way(requester, contract)
        self._pid = os.getpid()

    def send(
        self,
        request: PreparedRequest,
        stream: bool = False,
        timeout: Any = None,  # the stubs leave out urllib3's Timeout, which requests takes
        verify: bool | str = True,
        cert: bytes | str | tuple[bytes | str, bytes | str] | None = None,
        proxies: Mapping[str, str] | None = None,
    ) -> Response:
        """Sends a request and returns once the response head has arrived; the body is unread.

        Args:
            request: The request, prepared by `requests`.
            stream: No meaning here: the session decides whether to read the body.
            timeout: Seconds, as a number for both, a pair (connect, read), `None` or a `Timeout`.
            verify: No meaning here.
            cert: No meaning here.
            proxies: No meaning here.

        Raises:
            requests.exceptions.ConnectTimeout: No connection or free stream in time. Safe to
                retry.
            requests.exceptions.ReadTimeout: No head in time, or the peer read nothing of the
                request body. The request may have run.
            requests.exceptions.ConnectionError: Any other failure of the transport; its
                `__cause__.may_have_run` says whether the request may have run.
            requests.exceptions.RetryError: Too many responses had a status in `status_forcelist`.
            requests.exceptions.InvalidURL: The URL's host or path cannot be sent, or the host names
                no peer.
            requests.exceptions.InvalidHeader: A header field cannot be sent, or contradicts the
                body.
            requests.exceptions.UnrewindableBodyError: The body was sent before, and cannot be read
                a second time. Nothing was sent.
            InvalidRequest: The request violates the contract. Nothing was sent.
            InvalidResponse: The response violates the contract; it is attached.
            InvalidSpec: The contract is unusable, or getting it from the peer failed.
            ValueError: The timeout is not valid.
            RestsockError: This was called on the event loop's own thread, or after a fork.
        """
        if os.getpid() != self._pid:
            raise fork_error("adapter", self._pid)
        # A hook that does nothing here; subclasses may override it.
        self.add_headers(
            request, stream=stream, timeout=timeout, verify=verify, cert=cert, proxies=proxies
        )
        requester, contract = self._way or self._find_way(request)
        times = times_of(timeout, requester.options.timeouts.connect)
        head, body = body_of(request, head_of(request))
        try:
            if contract is None:
                raw = self._send_with_retries(requester, request, head, body, times)
                return self.build_response(request, raw)
            call = self._check_request(contract, request, head, body)
            raw = self._send_with_retries(requester, request, head, body, times)
        except (RestsockError, RequestException) as exc:
            raise without_frames(exc)  # noqa: B904  # it is the same error
        response = self.build_response(request, raw)
        if call is not None:
            check_response(contract, call, response, stream=stream)
        return response

    def build_response(self, req: PreparedRequest, resp: Any) -> Response:
        """As in `HTTPAdapter`; faster for responses of `send`."""
        if not _KNOWN or type(resp) is not TunnelResponse or type(req.url) is not str:
            return super().build_response(req, resp)
        fields = merged_fields(resp.headers)
        kind = fields.get("content-type")
        response = Response.__new__(Response)
        response.__dict__.update(  # in the order of `Response.__init__`
            _content=False,
            _content_consumed=False,
            _next=None,
            status_code=resp.status,
            headers=new_headers(fields),
            raw=resp,
            url=req.url,
            encoding=None if kind is None else _encoding(kind[1]),
            history=[],
            reason=resp.reason,
            cookies=new_jar(),
            elapsed=_NO_TIME,
            request=req,
            connection=self,
        )
        if "set-cookie" in fields or "set-cookie2" in fields:
            cast("Any", cookies.extract_cookies_to_jar)(response.cookies, req, resp)
        return response

    @property
    def has_contract(self) -> bool:
        """Whether it validates calls against a contract."""
        way, peers = self._way, self._peers
        return (
            peers.has_contracts
            if peers is not None
            else way is not None and way.contract is not None
        )

    def _find_way(self, request: PreparedRequest) -> Way:
        assert self._peers is not None
        try:
            authority = urlsplit(request.url or "").netloc.rpartition("@")[2]
            return self._peers.find(authority)
        except ValueError as exc:
            raise InvalidURL(exc, request=request) from exc

    def _check_request(
        self, contract: CallChecker, request: PreparedRequest, head: RequestHead, body: Any
    ) -> object | None:
        try:
            return check_request(contract, request, head, body)
        except (ValidationError, SpecError):
            raise
        except RestsockError as exc:
            if type(exc) is RestsockError:
                raise  # called where it cannot work
            # The contract is on the peer, and the request for it failed as any request may.
            raise request_error(retryable_error(exc, head, None), request, exc) from exc

    def _send_with_retries(
        self,
        requester: Requester,
        request: PreparedRequest,
        head: RequestHead,
        body: Any,
        times: Times,
    ) -> TunnelResponse:
        method = head.method.decode("ascii")
        target = head.target.decode("ascii")
        retries = self.max_retries
        replay = None if isinstance(body, bytes) and len(body) <= INLINE else Replay(body)
        while True:
            try:
                try:
                    raw = self._attempt(
                        requester, head, body, times, method, target, replay, retries
                    )
                finally:
                    if replay is not None and not replay.possible:
                        mark_spent(request)
            except RestsockError as exc:
                if type(exc) is RestsockError:
                    raise  # not about this request: called where it cannot work
                if isinstance(exc, LocalProtocolError) and not exc.may_have_run:
                    raise InvalidHeader(str(exc), request=request) from exc
                error = retryable_error(exc, head, times.read)
                if isinstance(exc, LocalProtocolError):
                    # It would fail again for the same reason.
                    raise request_error(error, request, exc) from exc
                retries = _count(retries, request, head, error, exc)
                if replay is not None and not replay.rewind():
                    raise request_error(error, request, exc) from exc
                _log.info(
                    "trying %s %s again: %s",
                    method,
                    _path(target),
                    exc,
                    extra=owned_by(requester),
                )
                retries.sleep()
            else:
                if not (retries.total or retries.status_forcelist) or not retries.is_retry(
                    method, raw.status, "Retry-After" in raw.headers
                ):
                    return raw
                try:
                    retries = retries.increment(method, target, response=raw, _pool=as_pool(head))
                except MaxRetryError as error:
                    if retries.raise_on_status:
                        raw.close()
                        raise request_error(error, request, error) from error
                    return raw
                if replay is not None and not replay.rewind():
                    return raw
                raw.close()
                _log.info(
                    "trying %s %s again after status %d",
                    method,
                    _path(target),
                    raw.status,
                    extra=owned_by(requester),
                )
                retries.sleep(raw)

    def _attempt(
        self,
        requester: Requester,
        head: RequestHead,
        body: Any,
        times: Times,
        method: str,
        target: str,
        replay: Replay | None,
        retries: Retry,
    ) -> TunnelResponse:
        """Sends the request; the peer's app sees it at most once.

        Raises:
            RestsockError: There is no response; the stream was reset.
        """
        if replay is None:
            exchange = ThreadExchange.open(requester, head, body=body)
            try:
                response = exchange.receive_head(*times)
            except BaseException:  # also Ctrl-C: the peer's app learns of it
                exchange.close()
                raise
            remaining = None
        else:
            exchange, response, upload = send_upload(
                requester,
                head,
                body,
                replay,
                connect=times.connect,
                write=times.read,
                read=times.read,
                total=times.total,
            )
            remaining = None if upload.done else upload
        file = TunnelBody(exchange, times.read, remaining, head)
        return build_raw(response, file, method, target, retries)

    def __copy__(self) -> TunnelAdapter:
        return self.__deepcopy__({})

    def __deepcopy__(self, memo: dict[int, Any]) -> TunnelAdapter:
        """Another adapter over the same connection, for a copy of a session."""
        clone = type(self).__new__(type(self))
        memo[id(self)] = clone
        for shared in (self._way, self._peers):
            memo[id(shared)] = shared
        state = {k: v for k, v in vars(self).items() if k not in ("poolmanager", "proxy_manager")}
        cast("Any", clone).__setstate__(deepcopy(state, memo))  # it makes new ones of the two
        return clone

    def __getstate__(self) -> NoReturn:
        raise TypeError(
            "a TunnelAdapter cannot be pickled: its connection lives in this process;"
            " mount another one where the session is unpickled"
        )


def _path(target: str) -> str:
    """The part of a target that may be logged: a query may contain a secret."""
    return target.partition("?")[0]


@lru_cache(maxsize=256)
def _encoding(content_type: str) -> str | None:
    return get_encoding_from_headers(CaseInsensitiveDict({"content-type": content_type}))


def _count(
    retries: Retry,
    request: PreparedRequest,
    head: RequestHead,
    error: HTTPError,
    cause: RestsockError,
) -> Retry:
    """Counts a failed attempt; raises the error of requests if there are no more attempts."""
    try:
        return retries.increment(
            head.method.decode("ascii"),
            head.target.decode("ascii"),
            error=error,
            _pool=as_pool(head),
            _stacktrace=cause.__traceback__,
        )
    except HTTPError as final:  # a MaxRetryError, or `error` itself
        raise request_error(final, request, cause) from cause
