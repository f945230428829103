"""Validation of calls: the interface that the adapter uses, and the errors it raises.

The errors are both errors of restsock and of `requests`, since a caller may catch either:
`except restsock.ValidationError` for violations of the contract, `except
requests.RequestException` around any call.
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
    """Validates calls against a document. Its methods may block; any thread may call them."""

    def check_request(self, head: RequestHead, body: bytes | None) -> object | None:
        """Checks a request before it is sent.

        Args:
            head: The head, as it will be sent.
            body: The whole body; `None` if it is sent in pieces.

        Returns:
            The `call` for `check_response`; `None` if the response is not to be checked.

        Raises:
            RequestValidationError: The request violates the contract.
            SpecError: There is no usable contract.
            RestsockError: Getting the contract from the peer failed.
        """

    def needs_body(self, call: object, status: int, headers: Headers) -> bool:
        """Whether `check_response` needs the body."""

    def check_response(
        self, call: object, status: int, headers: Headers, body: bytes | None
    ) -> None:
        """Checks a response.

        Args:
            call: The result of `check_request`.
            status: The status code of the response.
            headers: The header fields of the response.
            body: The decoded body; `None` if it is left to the caller.

        Raises:
            ResponseValidationError: The response violates the contract.
        """


class InvalidRequest(RequestValidationError, RequestException):
    """A request violates the contract; it was not sent. Also an exception of `requests`.

    Attributes:
        request: The prepared request.
    """


class InvalidResponse(ResponseValidationError, RequestException):
    """A response violates the contract. Also an exception of `requests`. The request has run.

    Attributes:
        request: The prepared request.
        response: The response. With `stream=True` its body is unread.
    """


class InvalidSpec(SpecError, RequestException):
    """There is no usable contract. Also an exception of `requests`.

    Attributes:
        request: The prepared request. It was not sent.
    """


def check_request(
    contract: CallChecker, request: PreparedRequest, head: RequestHead, body: Any
) -> object | None:
    """`CallChecker.check_request`, with errors that are exceptions of `requests`."""
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
    """`CallChecker.check_response`, with errors of `requests`. May read the body."""
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
