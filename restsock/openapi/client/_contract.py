"""A contract at the calling end.

The calling thread validates, so an invalid request is an exception at the call.
"""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, NamedTuple

from restsock._exceptions import RequestValidationError, ResponseValidationError
from restsock.connection import fields_of
from restsock.openapi.checks import (
    BodyPlan,
    Contract,
    ContractLike,
    Refused,
    Validator,
    content_type_of,
)
from restsock.openapi.document import (
    Match,
    Problem,
    problem,
    summary,
)
from restsock.protocol import RequestHead

from ._discover import WELL_KNOWN, discover_blocking

if TYPE_CHECKING:
    from restsock.connection import Requester
    from restsock.protocol import Headers

    from ._operations import PreparedCall

__all__ = ["BoundContract", "CheckedCall", "bind_contract"]


def bind_contract(requester: Requester, openapi: ContractLike) -> BoundContract:
    """Makes the call checker for `adapter(openapi=...)`.

    Raises:
        SpecError: The document cannot be used.
    """
    contract = openapi if isinstance(openapi, Contract) else Contract(openapi)
    return BoundContract(requester, contract)


class CheckedCall(NamedTuple):
    """A request whose response will be validated.

    Attributes:
        match: Its operation.
        method: Its method.
    """

    match: Match
    method: bytes


class BoundContract:
    """A contract, and the peer that may have its document. See `restsock.adapters.CallChecker`."""

    def __init__(self, requester: Requester | None, contract: Contract) -> None:
        self._requester = requester
        self._contract = contract
        self._validator = contract.validator
        self._lock = threading.Lock()

    @property
    def max_time(self) -> float:
        """Seconds of processor time for the validation of one message."""
        return self._contract.max_time

    def validator(self) -> Validator:
        """The validator; the first call may ask the peer for the document.

        Raises:
            SpecError: There is no usable document. The next call tries again.
            RestsockError: The request to the peer failed.
        """
        if self._validator is None:
            with self._lock:  # of concurrent calls, only one asks
                if self._validator is None:
                    assert self._requester is not None, "a document that is here has a validator"
                    document = discover_blocking(self._requester, self._contract.where)
                    self._validator = Validator(document, seconds=self._contract.max_time)
        return self._validator

    def check_call(
        self, base: str, call: PreparedCall, fields: list[tuple[str | bytes, str | bytes]]
    ) -> CheckedCall | None:
        """Validates the request of a call, as if it were for the document's own server.

        Args:
            base: The base path of the document.
            call: The request, wherever it is sent.
            fields: Its header fields, including those that its transport adds.

        Raises:
            RequestValidationError: The request violates the contract.
        """
        target = base + call.path
        head = RequestHead(call.method.encode(), target.encode("ascii"), fields_of(fields))
        body = b"" if call.body is None else call.body
        return self.check_request(head, body if isinstance(body, bytes) else None)

    def check_request(self, head: RequestHead, body: bytes | None) -> CheckedCall | None:
        """See `restsock.adapters.CallChecker`."""
        contract = self._contract
        method = head.method.decode("ascii")
        path, _, query = head.target.decode("ascii").partition("?")
        if method == "GET" and (path == contract.where or path in WELL_KNOWN):
            return None  # a request for the document itself, which the document does not describe
        validator = self.validator()
        try:
            match = contract.find(validator.document, method, path)
        except Refused as exc:
            raise _breach(head, [exc.problem]) from None
        if match is None:
            return None
        if contract.requests:
            found = self._check_request(validator, match, query, head, body)
            if found:
                raise _breach(head, found)
        return CheckedCall(match, head.method) if contract.sampled() else None

    def _check_request(
        self,
        validator: Validator,
        match: Match,
        query: str,
        head: RequestHead,
        body: bytes | None,
    ) -> list[Problem]:
        plan = validator.request(match.operation)
        whole = None
        wrong: list[Problem] = []
        if body == b"":
            if plan.bodies and plan.required:
                wrong = [problem("body", "is required")]
        elif plan.bodies:
            content_type = content_type_of(head.headers)
            expected = plan.body(content_type)
            if expected is None:
                wrong = [plan.wrong_type(content_type)]
            elif body is not None and expected.whole and len(body) <= self._contract.max_body:
                whole = expected
        return validator.check_request(match, query, head.headers, whole, body or b"") + wrong

    def needs_body(self, call: object, status: int, headers: Headers) -> bool:
        """See `restsock.adapters.CallChecker`."""
        assert isinstance(call, CheckedCall)
        return self._body_plan(call, status, headers) is not None

    def check_response(
        self, call: object, status: int, headers: Headers, body: bytes | None
    ) -> None:
        """See `restsock.adapters.CallChecker`."""
        assert isinstance(call, CheckedCall)
        validator = self.validator()
        operation = call.match.operation
        content_type = content_type_of(headers)
        found = validator.check_status(call.match, status, content_type)
        if not found:
            plan = None
            if body is not None and len(body) <= self._contract.max_body:
                plan = self._body_plan(call, status, headers)
            found = validator.check_response(call.match, status, headers, plan, body or b"")
        if found:
            raise ResponseValidationError(
                f"the response to {operation} breaks the contract: {summary(found)}", errors=found
            )

    def _body_plan(self, call: CheckedCall, status: int, headers: Headers) -> BodyPlan | None:
        plan = self.validator().response(call.match.operation, status)
        if plan is None:
            return None
        return plan.whole_body(call.method, status, headers, self._contract.max_body)


def _breach(head: RequestHead, found: list[Problem]) -> RequestValidationError:
    # Without the query, which may contain secrets.
    path = head.target.partition(b"?")[0].decode("ascii", "replace")
    what = f"{head.method.decode('ascii', 'replace')} {path}"
    return RequestValidationError(f"{what} breaks the contract: {summary(found)}", errors=found)
