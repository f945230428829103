"""The errors of calls of operations, besides those of the transport.

::

    RestsockError
    ├── UnknownOperation         (also an `AttributeError`) the contract has no such operation
    ├── OperationFailed          the status of the response is 400 or more
    └── ... RequestValidationError
            └── ArgumentError    (also a `TypeError`) the call does not fit the operation
                ├── UnknownParameter
                ├── MissingParameter
                ├── BadParameter     its location and style cannot represent the value
                └── BadBody          missing, not wanted, or not for its media type

All but `OperationFailed` are raised before anything is sent.
"""

from __future__ import annotations

import json
from http import HTTPStatus
from typing import Any

from restsock._exceptions import RequestValidationError, RestsockError
from restsock.openapi.document import essence_of, problem

__all__ = [
    "ArgumentError",
    "BadBody",
    "BadParameter",
    "MissingParameter",
    "OperationFailed",
    "UnknownOperation",
    "UnknownParameter",
    "failure_of",
]

# How many characters of the peer's text a message contains.
_MAX_WORDS = 300


class UnknownOperation(RestsockError, AttributeError):
    """The contract has no operation of that name. Nothing was sent."""

    may_have_run = False


class ArgumentError(RequestValidationError, TypeError):
    """The arguments do not fit the operation. Nothing was sent; a retry would fail again.

    Attributes:
        operation: The operation's id (or method and path).
        parameter: The name of the argument; `None` for the body.
    """

    def __init__(
        self, message: str, *, operation: str, parameter: str | None = None, location: str = "body"
    ) -> None:
        error = problem(location, message, name=parameter)
        super().__init__(f"{operation}: {message}", errors=(error,))
        self.operation = operation
        self.parameter = parameter


class UnknownParameter(ArgumentError):
    """The operation has no parameter of that name."""


class MissingParameter(ArgumentError):
    """A required parameter was not given, or was `None`."""


class BadParameter(ArgumentError):
    """The location and style of a parameter cannot represent its value."""


class BadBody(ArgumentError):
    """The body is missing, or not allowed, or its media type cannot represent it."""


class OperationFailed(RestsockError):
    """The status of the response is 400 or more. Whether a retry is safe depends on the API.

    Attributes:
        operation: The operation's id (or method and path).
        status: The status code of the response.
        response: The response with its body: a `requests.Response`, or a `restsock.Response`.
        problem: The body, if it is an object of `application/problem+json` (RFC 9457); otherwise
            `None`.
    """

    may_have_run = True

    def __init__(
        self, message: str, *, operation: str, status: int, response: Any, problem: Any = None
    ) -> None:
        super().__init__(message)
        self.operation = operation
        self.status = status
        self.response = response
        self.problem: dict[str, Any] | None = problem


def failure_of(
    operation: str, status: int, content_type: str, body: bytes, response: Any
) -> OperationFailed:
    """Makes the error for a response, from its parts."""
    try:
        words = HTTPStatus(status).phrase
    except ValueError:
        words = ""
    problem = None
    if essence_of(content_type) == "application/problem+json":
        try:
            problem = json.loads(body)
        except (ValueError, RecursionError):
            pass  # the status says what matters
    if isinstance(problem, dict):
        said = [problem.get(key) for key in ("title", "detail")]
        words = ": ".join(dict.fromkeys(text for text in said if text and isinstance(text, str)))
    else:
        problem = None
    words = "".join(c if c.isprintable() else " " for c in words[:_MAX_WORDS]).strip()
    message = f"{operation}: {status} {words}".rstrip()
    return OperationFailed(
        message, operation=operation, status=status, response=response, problem=problem
    )
