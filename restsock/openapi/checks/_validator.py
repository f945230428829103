"""Validates messages against a document. It blocks for up to a millisecond: not for the loop.

- A status of 300 and above that is not in the document is allowed: "The documentation is not
  necessarily expected to cover all possible HTTP response codes" (OpenAPI 3.1, "Responses Object").
  An undocumented success is not allowed.
- Bodies are validated if they are JSON, forms or text, and their schema forbids anything. For all
  others, such as multipart and XML, only the media type is checked.
- `security` is not checked: the app decides what a request may do.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from functools import partial
from itertools import islice
from typing import TYPE_CHECKING, Any

import openapi_schema_validator as dialects

from restsock._exceptions import SpecError
from restsock.apps import PROBLEM
from restsock.openapi.document import (
    MAX_ERRORS,
    SECONDS,
    Document,
    Match,
    Operation,
    Parameter,
    Problem,
    TooMuchWork,
    essence_of,
    problem,
    within,
)

from ._messages import Parameters
from ._plans import BodyPlan, MessagePlan, SchemaValidators, content_type_of, make_plan

if TYPE_CHECKING:
    from restsock.protocol import Headers

__all__ = ["Validator"]


class Validator:
    """Validates the messages of one document. Any number of threads may share one.

    `request` and `response` say in advance, without cost, which parts of a message are needed;
    `check_*` return the problems.

    Args:
        document: The contract.
        seconds: Seconds of processor time for each part of a message. If it takes more, that is a
            problem, too.
    """

    def __init__(self, document: Document, *, seconds: float = SECONDS) -> None:
        self.document = document
        self._seconds = seconds
        # Both are made at first use.
        self._requests: dict[tuple[str, str], MessagePlan] = {}
        self._responses: dict[tuple[str, str, int], MessagePlan | None] = {}
        if document.version == (3, 0):
            self._write = SchemaValidators(document, dialects.OAS30WriteValidator)
            self._read = SchemaValidators(document, dialects.OAS30ReadValidator)
        else:
            cls = getattr(dialects, "OAS{}{}Validator".format(*document.version))
            self._write = self._read = SchemaValidators(document, cls)

    def prepare(self) -> None:
        """Prepares the validation of all operations.

        Raises:
            SpecError: A part of the document cannot be used.
        """
        for operation in self.document.operations:
            self.request(operation)
            for status in operation.mapping.get("responses") or {}:
                if status.isdigit():
                    self.response(operation, int(status))

    def request(self, operation: Operation) -> MessagePlan:
        """The plan for the requests of this operation."""
        key = (operation.method, operation.path)
        plan = self._requests.get(key)
        if plan is None:
            parameters = self.document.parameters(operation)
            body = self.document.resolve(operation.mapping.get("requestBody") or {})
            plan = self._requests[key] = self._plan(operation, parameters, body, self._write)
        return plan

    def response(self, operation: Operation, status: int) -> MessagePlan | None:
        """The plan for responses with this status; `None` if the document does not have it."""
        key = (operation.method, operation.path, status)
        if key in self._responses:
            return self._responses[key]
        resolve = self.document.resolve
        responses = operation.mapping.get("responses") or {}
        names = (str(status), f"{status // 100}XX", "default")
        name = next((name for name in names if name in responses), None)
        plan = None
        if name is not None:
            response = resolve(responses[name])
            headers = (
                Parameter.of({**resolve(header), "in": "header", "name": field}, resolve)
                for field, header in response.get("headers", {}).items()
                if field.lower() != "content-type"
            )
            plan = self._plan(operation, headers, response, self._read)
        # There are 900 statuses, so a hostile peer cannot fill the memory with them.
        self._responses[key] = plan
        return plan

    def _plan(
        self,
        operation: Operation,
        parameters: Iterable[Parameter],
        holder: Mapping[str, Any],
        validators: SchemaValidators,
    ) -> MessagePlan:
        try:
            return make_plan(self.document, parameters, holder, validators)
        except ValueError as exc:
            raise SpecError(f"{self.document.source}: {operation}: {exc}") from exc

    def check_request(
        self,
        match: Match,
        query: str,
        headers: Headers,
        plan: BodyPlan | None = None,
        body: bytes = b"",
    ) -> list[Problem]:
        """The problems of a request: of its parameters, and of its body if its plan needs it."""
        expected = self.request(match.operation)
        return self._check(expected, "query", match.variables, query, headers, plan, body)

    def check_response(
        self,
        match: Match,
        status: int,
        headers: Headers,
        plan: BodyPlan | None = None,
        body: bytes = b"",
    ) -> list[Problem]:
        """The problems of a response: of its fields, and of its body if its plan needs it."""
        expected = self.response(match.operation, status)
        return self._check(expected, "header", {}, "", headers, plan, body)

    def check_status(self, match: Match, status: int, content_type: str | None) -> list[Problem]:
        """The problems of the status and the media type of a response. Costs nothing."""
        plan = self.response(match.operation, status)
        if plan is None:
            if 200 <= status < 300:
                return [problem("status", f"{status} is not in the contract")]
            return []
        if (
            plan.bodies
            and content_type is not None
            and status not in (204, 304)
            and plan.body(content_type) is None
            and not (status >= 400 and essence_of(content_type) == PROBLEM.decode())
        ):
            return [plan.wrong_type(content_type)]
        return []

    def _check(
        self,
        expected: MessagePlan | None,
        where: str,
        variables: dict[str, str],
        query: str,
        headers: Headers,
        plan: BodyPlan | None,
        body: bytes,
    ) -> list[Problem]:
        found: list[Problem] = []
        if expected is not None and expected.readers:
            parameters = Parameters(variables, query, headers)
            found += self._bounded(where, partial(expected.check, parameters))
        if plan is not None:
            content_type = content_type_of(headers) or ""
            found += self._bounded("body", partial(plan.check, content_type, body))
        return found

    def _bounded(self, where: str, check: Callable[[], Iterable[Problem]]) -> list[Problem]:
        """The problems that a check finds, or the problem that it takes too long."""
        try:
            with within(self._seconds):
                return list(islice(check(), MAX_ERRORS))
        except TooMuchWork as exc:
            return [problem(where, str(exc))]
        except RecursionError:
            return [problem(where, "is nested too deeply")]
