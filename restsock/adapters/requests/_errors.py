"""Maps the errors of restsock to those of urllib3 and `requests`.

There are two steps, as in `requests` itself. A failed attempt becomes an error of urllib3, because
`Retry` counts these and a file-like body has to raise them. The error that remains after the last
attempt becomes the exception of `requests` that the caller expects.

==============================================  ========================  ==========================
restsock                                        urllib3                   requests
==============================================  ========================  ==========================
`RequestTimeout`, phase "connect", not started  `ConnectTimeoutError`     `ConnectTimeout`
`PeerNotFound`, `PeerUnavailable`               `ConnectTimeoutError`     `ConnectTimeout`
`RequestTimeout`, any other                     `ReadTimeoutError`        `ReadTimeout`
`LocalProtocolError`, `may_have_run` False                                `InvalidHeader`
any with `may_have_run` False                   `NewConnectionError`      `ConnectionError`
any other                                       `ProtocolError`           `ConnectionError`
any, while the body is read                     `ReadTimeoutError`,       `ConnectionError`,
                                                `ProtocolError`           `ChunkedEncodingError`
==============================================  ========================  ==========================

`Retry` treats `ConnectTimeoutError` and `NewConnectionError` as connect errors, which are safe to
retry whatever the method. It retries other errors only for the methods that it is told are
idempotent. The `__cause__` of each error is the error of restsock.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, cast

from requests import exceptions
from urllib3.exceptions import (
    ConnectTimeoutError,
    HTTPError,
    MaxRetryError,
    NewConnectionError,
    ProtocolError,
    ReadTimeoutError,
    ResponseError,
)

from restsock._exceptions import (
    PeerNotFound,
    PeerUnavailable,
    RequestTimeout,
    RestsockError,
    without_frames,
)

if TYPE_CHECKING:
    from requests import PreparedRequest
    from urllib3.connection import HTTPConnection
    from urllib3.connectionpool import ConnectionPool

    from restsock.protocol import RequestHead

__all__ = ["as_pool", "body_error", "request_error", "retryable_error"]


class _Peer:
    """The peer that a request is for."""

    def __init__(self, head: RequestHead) -> None:
        self._head = head

    def __str__(self) -> str:
        host = next(value for name, value in self._head.headers if name == b"Host")
        return f"TunnelAdapter(host={host.decode('ascii', 'replace')!r})"


def as_pool(head: RequestHead) -> ConnectionPool:
    """The value for the pool in urllib3's errors, which only print it."""
    return cast("ConnectionPool", _Peer(head))


def retryable_error(exc: RestsockError, head: RequestHead, read: float | None) -> HTTPError:
    """The urllib3 error for a request that failed before its response head.

    Args:
        exc: The error of restsock.
        head: The head of the request.
        read: The read timeout, in seconds, for the message.
    """
    peer = as_pool(head)
    target = head.target.decode("ascii")
    error: HTTPError
    if isinstance(exc, (PeerNotFound, PeerUnavailable)):
        # The error of a route after it has waited for its peer.
        error = ConnectTimeoutError(f"{peer}: {exc}")
    elif isinstance(exc, RequestTimeout):
        if exc.phase == "connect" and not exc.may_have_run:
            error = ConnectTimeoutError(f"{peer}: {exc}")
        else:
            error = ReadTimeoutError(peer, target, f"Read timed out. (read timeout={read}): {exc}")
    elif exc.may_have_run is False:
        error = NewConnectionError(cast("HTTPConnection", peer), f"Request not started: {exc}")
    else:
        error = ProtocolError("Connection aborted.", exc)
    error.__cause__ = exc
    return error


def body_error(exc: RestsockError, head: RequestHead) -> HTTPError:
    """The urllib3 error for a response that broke off in its body."""
    error: HTTPError
    if isinstance(exc, RequestTimeout):
        target = head.target.decode("ascii")
        error = ReadTimeoutError(as_pool(head), target, f"Read timed out. ({exc})")
    else:
        error = ProtocolError(f"Connection broken: {exc!r}", exc)
    error.__cause__ = without_frames(exc)
    return error


def request_error(
    error: HTTPError, request: PreparedRequest, cause: BaseException | None
) -> exceptions.RequestException:
    """The exception of `requests` for an error of urllib3.

    Args:
        error: An error from `retryable_error`, or the `MaxRetryError` around it.
        request: The request, for the attribute of the exception.
        cause: The error of restsock.
    """
    raised: exceptions.RequestException
    if isinstance(error, MaxRetryError):
        # As in requests: a read timeout on the last of several tries is a ConnectionError.
        if isinstance(error.reason, ConnectTimeoutError) and not isinstance(
            error.reason, NewConnectionError
        ):
            raised = exceptions.ConnectTimeout(error, request=request)
        elif isinstance(error.reason, ResponseError):
            raised = exceptions.RetryError(error, request=request)
        else:
            raised = exceptions.ConnectionError(error, request=request)
    elif isinstance(error, ReadTimeoutError):
        raised = exceptions.ReadTimeout(error, request=request)
    elif isinstance(error, ConnectTimeoutError) and not isinstance(error, NewConnectionError):
        # Only with Retry(False): a connect error is counted in every other case.
        raised = exceptions.ConnectTimeout(error, request=request)
    else:
        raised = exceptions.ConnectionError(error, request=request)
    raised.__cause__ = cause if cause is not None else error
    return raised
