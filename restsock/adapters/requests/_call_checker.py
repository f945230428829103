"""Calls that are held to a contract: what the adapter asks of it, and the errors it raises.

The errors are restsock's and of `requests` at once, since a caller may wait for either:
`except restsock.ValidationError` where the contract is meant, `except requests.RequestException`
around any call.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol

from requests.exceptions import RequestException

from restsock._exceptions import (
    RequestValidationError,
    ResponseValidationError,
    RestsockError,
    SpecError,
)

from ._response import TunnelResponse, read_content

if TYPE_CHECKING:
    from requests import PreparedRequest, Response

    from restsock.protocol import Headers, RequestHead

__all__ = [
    "CallChecker",
    "InvalidRequest",
    "InvalidResponse",
    "InvalidSpec",
    "check_request",
    "check_response",
]


class CallChecker(Protocol):
    """What holds calls to a document. Its methods may block; they are called in any thread."""

    def check_request(self, head: RequestHead, body: bytes | None) -> object | None:
        """Checks a request before it is sent.

        Args:
            head: As it will be sent.
            body: The whole body; `None` when it comes in pieces.

        Returns:
            What `check_response` is to be given; `None` when the response is not to be checked.

        Raises:
            RequestValidationError: It breaks the contract.
            SpecError: There is no contract that could be used.
            RestsockError: The contract could not be had from the peer.
        """

    def needs_body(self, call: object, status: int, headers: Headers) -> bool:
        """Whether `check_response` would look at the body."""

    def check_response(
        self, call: object, status: int, headers: Headers, body: bytes | None
    ) -> None:
        """Checks a response.

        Args:
            call: From `check_request`.
            status: Of the response.
            headers: Of the response.
            body: Decoded; `None` when it is left to the caller.

        Raises:
            ResponseValidationError: It breaks the contract.
        """


class InvalidRequest(RequestValidationError, RequestException):
    """A request breaks the contract; it was not sent. Also an exception of `requests`.

    Attributes:
        request: The prepared request.
    """


class InvalidResponse(ResponseValidationError, RequestException):
    """A response breaks the contract. Also an exception of `requests`.

    Attributes:
        request: The prepared request.
        response: The response. Its body is unread when the call was made with `stream=True`.
    """


class InvalidSpec(SpecError, RequestException):
    """There is no contract that could be used. Also an exception of `requests`.

    Attributes:
        request: The prepared request. It was not sent.
    """


def check_request(
    contract: CallChecker, request: PreparedRequest, head: RequestHead, body: Any
) -> object | None:
    """`CallChecker.check_request`, with errors that `requests` knows."""
    error: RequestException
    try:
        return contract.check_request(head, body if isinstance(body, bytes) else None)
    except RequestValidationError as exc:
        error = InvalidRequest(str(exc), errors=exc.errors)
        cause: RestsockError = exc
    except SpecError as exc:
        error = InvalidSpec(str(exc))
        cause = exc
    error.request = request
    raise error from cause


def check_response(
    contract: CallChecker, call: object, response: Response, *, stream: bool
) -> None:
    """`CallChecker.check_response`, with errors that `requests` knows. May read the body."""
    raw = response.raw
    headers = [
        (name.encode("latin-1"), value.encode("latin-1")) for name, value in raw.headers.items()
    ]
    status = response.status_code
    body = None
    if not stream and contract.needs_body(call, status, headers):
        if type(raw) is TunnelResponse and "content-encoding" not in raw.headers:
            read_content(response, raw)
        body = response.content  # kept there, for the caller
    try:
        contract.check_response(call, status, headers, body)
    except ResponseValidationError as exc:
        error = InvalidResponse(str(exc), errors=exc.errors, response=response)
        error.request = response.request
        raise error from exc
