"""`Contract`: what a caller holds its calls to.

It is for the thread that makes the call, so that a wrong request is an exception where it is made.
"""

from __future__ import annotations

import random
import threading
from collections.abc import Callable, Mapping
from os import PathLike
from typing import TYPE_CHECKING, Any, NamedTuple, TypeAlias

from restsock._exceptions import RequestValidationError, ResponseValidationError
from restsock.openapi.checks import BodyPlan, Validator, content_type_of, misread
from restsock.openapi.document import (
    SECONDS,
    Document,
    Match,
    NoSuchMethod,
    NoSuchPath,
    Problem,
    load,
    problem,
    summary,
)

from ._discover import WELL_KNOWN, discover_blocking

if TYPE_CHECKING:
    from restsock.connection import Requester
    from restsock.protocol import Headers, RequestHead

__all__ = ["BoundContract", "CheckedCall", "Contract", "ContractLike", "bind_contract"]

_MIB = 1024 * 1024


class Contract:
    """A document, and how strictly calls are held to it.

    ::

        contract = Contract("petstore.yaml", responses=0.1)
        session.mount("http://edge-1/", server.adapter("edge-1", openapi=contract))

    A request is checked before anything is sent: path, method, parameters, media type and body.
    A response is checked when its head is there: status, media type, header fields; and its body,
    when the call reads it anyway (no `stream=True`). Bodies that come in pieces, that are larger
    than `max_body` or that the document says nothing of, pass.

    It may be used for any number of peers. One that is to come from the peer is asked for with the
    first call, and kept as long as the adapter.

    Args:
        spec: the name of a file, a mapping, a `Document`; or a path on the peer, which begins with
            `/` (a file of such a name is given as a `pathlib.Path`); or `True`, to look for the
            document where frameworks put it.
        requests: whether requests are validated.
        responses: whether responses are; or the share of them that is, between 0 and 1.
        unknown_paths: `"refuse"` refuses calls to paths that the document does not have; `"pass"`
            lets them go.
        max_body: bytes of the largest body that is looked into.
        max_time: seconds of processor time that the check of one message may take. One that takes
            more breaks the contract.
        chance: random numbers in [0, 1), for the share.

    Raises:
        SpecError: the document cannot be used.
        ValueError: a number or a choice is out of range.
    """

    def __init__(
        self,
        spec: str | PathLike[str] | Mapping[str, Any] | Document | bool,
        *,
        requests: bool = True,
        responses: bool | float = True,
        unknown_paths: str = "refuse",
        max_body: int = _MIB,
        max_time: float = SECONDS,
        chance: Callable[[], float] = random.random,
    ) -> None:
        share = float(responses)
        if not 0 <= share <= 1:
            raise ValueError(f"responses is a truth value or a share from 0 to 1, not {responses}")
        if unknown_paths not in ("refuse", "pass"):
            raise ValueError(f"unknown_paths is 'refuse' or 'pass', not {unknown_paths!r}")
        if max_body < 0:
            raise ValueError(f"max_body must not be negative, not {max_body}")
        if not max_time > 0:
            raise ValueError(f"max_time must be positive, not {max_time}")
        if spec is False:
            raise ValueError("openapi is True, to look for the document on the peer, or None")
        self.requests = requests
        self.share = share
        self.pass_unknown = unknown_paths == "pass"
        self.max_body = max_body
        self.max_time = max_time
        self.chance = chance
        self.where: str | None = None
        self.document: Document | None = None
        if isinstance(spec, str) and spec.startswith("/"):
            self.where = spec
        elif not isinstance(spec, bool):
            self.document = load(spec)


ContractLike: TypeAlias = "Contract | str | PathLike[str] | Mapping[str, Any] | Document | bool"


def bind_contract(requester: Requester, openapi: ContractLike) -> BoundContract:
    """What `adapter(openapi=...)` makes of its argument.

    Raises:
        SpecError: the document cannot be used.
    """
    contract = openapi if isinstance(openapi, Contract) else Contract(openapi)
    return BoundContract(requester, contract)


class CheckedCall(NamedTuple):
    """A request whose response is to be checked.

    Attributes:
        match: its operation.
        method: its method.
    """

    match: Match
    method: bytes


class BoundContract:
    """A contract with the peer that may have its document. See `restsock.adapters.CallChecker`."""

    def __init__(self, requester: Requester, contract: Contract) -> None:
        self._requester = requester
        self._contract = contract
        self._validator: Validator | None = None
        self._lock = threading.Lock()
        if contract.document is not None:
            self._validator = Validator(contract.document, seconds=contract.max_time)

    @property
    def max_time(self) -> float:
        """Seconds of processor time that the check of one message may take."""
        return self._contract.max_time

    def validator(self) -> Validator:
        """The validator; the first call may ask the peer for the document.

        Raises:
            SpecError: there is none that can be used. The next call tries again.
            RestsockError: the peer could not be asked.
        """
        if self._validator is None:
            with self._lock:  # of calls that come at once, one asks
                if self._validator is None:
                    document = discover_blocking(self._requester, self._contract.where)
                    self._validator = Validator(document, seconds=self._contract.max_time)
        return self._validator

    def check_request(self, head: RequestHead, body: bytes | None) -> CheckedCall | None:
        """See `restsock.adapters.CallChecker`."""
        contract = self._contract
        method = head.method.decode("ascii")
        path, _, query = head.target.decode("ascii").partition("?")
        if method == "GET" and (path == contract.where or path in WELL_KNOWN):
            return None  # the document itself, which no document describes
        validator = self.validator()
        try:
            match = validator.document.match(method, path)
        except NoSuchPath:
            if not contract.pass_unknown and contract.requests:
                raise _breach(head, [problem("path", "the contract has no such path")]) from None
            return None
        except NoSuchMethod as exc:
            if method != "OPTIONS" and contract.requests:
                detail = f"the contract has {', '.join(exc.allowed)} for this path"
                raise _breach(head, [problem("method", detail)]) from None
            return None
        if contract.requests:
            if misread(validator.document, method, match.operation, path):
                raise _breach(head, [problem("path", "servers read this path differently")])
            found = self._check_request(validator, match, query, head, body)
            if found:
                raise _breach(head, found)
        if contract.share <= 0 or (contract.share < 1 and contract.chance() >= contract.share):
            return None
        return CheckedCall(match, head.method)

    def _check_request(
        self,
        validator: Validator,
        match: Match,
        query: str,
        head: RequestHead,
        body: bytes | None,
    ) -> list[Problem]:
        plan = validator.plans.request(match.operation)
        content_type = content_type_of(head.headers)
        expected = plan.body(content_type) if body != b"" else None
        whole = None
        wrong: list[Problem] = []
        if not plan.bodies:
            pass
        elif body == b"":
            if plan.required:
                wrong = [problem("body", "is required")]
        elif expected is None:
            offered = ", ".join(plan.bodies)
            detail = f"the media type is not one of the contract: {offered}"
            if content_type is None:
                detail = f"is missing; the contract has {offered}"
            wrong = [problem("header", detail, name="Content-Type")]
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
        plan = self.validator().plans.response(call.match.operation, status)
        if plan is None:
            return None
        return plan.whole_body(call.method, status, headers, self._contract.max_body)


def _breach(head: RequestHead, found: list[Problem]) -> RequestValidationError:
    # Without the query, which may carry secrets.
    path = head.target.partition(b"?")[0].decode("ascii", "replace")
    what = f"{head.method.decode('ascii', 'replace')} {path}"
    return RequestValidationError(f"{what} breaks the contract: {summary(found)}", errors=found)
