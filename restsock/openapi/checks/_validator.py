"""Holds messages to a document. Blocking, costs up to a millisecond: not for the loop.

openapi-core knows the dialects of JSON Schema, and reads those parameters, headers and forms that
`_reading` does not. Done here, because there it is slow or wrong:

- Validators of a schema are made once and kept (`_plans`); openapi-core makes them anew for each
  value.
- JSON bodies of every media type that says `+json`. There it takes bytes for the value.
- A status of 300 and above that the document does not name is no breach. "The documentation is not
  necessarily expected to cover all possible HTTP response codes" (OpenAPI 3.1, "Responses Object"),
  and every peer has errors that no app knows of. An undocumented success is one.

Bodies that are not looked into: multipart, XML and any other media type than JSON, forms and text,
and those whose schema allows everything. Of them the media type alone is checked.
`security` is not: what a request may do is the app's to decide, and its answer.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from itertools import chain, islice
from typing import Any, cast

from openapi_core.validation import request as request_validation
from openapi_core.validation import response as response_validation
from openapi_core.validation.request.exceptions import (
    MissingParameterError,
    MissingRequestBodyError,
    ParameterValidationError,
)
from openapi_core.validation.response.exceptions import HeaderValidationError, MissingHeaderError

from restsock.apps import PROBLEM
from restsock.openapi.document import (
    MAX_ERRORS,
    SECONDS,
    Document,
    Match,
    NotJSON,
    Problem,
    TooMuchWork,
    problem,
    read_json,
    schema_problems,
    within,
)

from ._divergence import JSON_CHARSETS, TEXT_CHARSETS, Headers, charset_of, content_type_of
from ._messages import Finder, Parameters, RequestMessage, ResponseMessage
from ._plans import FORM, FORM_TYPE, TEXT, BodyPlan, Plans, SchemaValidators, essence_of
from ._reading import Reader, ambiguities

__all__ = ["Validator"]


class Validator:
    """Validates the messages of one document. Any number of threads may share one.

    `plans` say beforehand, at no cost, what of a message is needed; `check_*` return what is wrong.

    Args:
        document: what messages are held to.
        seconds: of processor time that one message may take. One that takes more is wrong.
    """

    def __init__(self, document: Document, *, seconds: float = SECONDS) -> None:
        self.document = document
        self._seconds = seconds
        self.plans = Plans(document)
        self._write, self._read = self.plans.write, self.plans.read
        version = document.version
        name = f"V{version[0]}{version[1]}"
        spec = document.openapi.spec

        def make(module: Any, kind: str, schemas: SchemaValidators) -> Any:
            cls = getattr(module, f"{name}{kind}Validator")
            return cls(spec, path_finder_cls=Finder, schema_validators_factory=cast("Any", schemas))

        self._parameters = make(request_validation, "RequestParameters", self._write)
        self._forms = make(request_validation, "RequestBody", self._write)
        self._headers = make(response_validation, "ResponseHeaders", self._read)

    # --- requests -------------------------------------------------------------------------------

    def check_request(
        self, match: Match, query: str, headers: Headers, plan: BodyPlan | None, body: bytes
    ) -> list[Problem]:
        """What is wrong with a request: its parameters, and its body by a plan that wants it."""
        found: list[Problem] = []
        if self.plans.request(match.operation).parameters:
            found += self.check_parameters(match, query, headers)
        if plan is not None:
            found += self.check_request_body(match, plan, content_type_of(headers) or "", body)
        return found

    def check_parameters(self, match: Match, query: str, headers: Headers) -> list[Problem]:
        """What is wrong with the parameters of a request."""
        return self._bounded("query", lambda: self._check_parameters(match, query, headers))

    def _check_parameters(self, match: Match, query: str, headers: Headers) -> list[Problem]:
        plan = self.plans.request(match.operation)
        parameters = Parameters(match.variables, query, headers)
        found = list(islice(ambiguities(plan.names, parameters), MAX_ERRORS))
        if found:
            return found
        if plan.readers is not None:
            return _read_all(plan.readers, parameters)
        message = RequestMessage(match, query, headers)
        for error in self._parameters.iter_errors(message):
            found += _parameter_problems(error)
        return found

    def check_request_body(
        self, match: Match, plan: BodyPlan, content_type: str, body: bytes
    ) -> list[Problem]:
        """What is wrong with the body of a request, by a plan that wants it whole."""
        if plan.kind is not FORM:
            return self._check_body(self._write, plan, content_type, body)
        return self._bounded("body", lambda: self._check_form(match, plan, content_type, body))

    def _check_form(
        self, match: Match, plan: BodyPlan, content_type: str, body: bytes
    ) -> list[Problem]:
        if charset_of(content_type) not in JSON_CHARSETS:
            return [_WRONG_CHARSET]
        try:
            text = body.decode("ascii")
        except UnicodeDecodeError:
            return [problem("body", "is no urlencoded form")]
        found = list(islice(ambiguities(plan.fields, Parameters({}, text, ())), MAX_ERRORS))
        if found:
            return found
        if plan.form is not None:
            return list(islice(plan.form.check_form(text), MAX_ERRORS))
        message = RequestMessage(match, "", (), content_type=FORM_TYPE, body=body)
        for error in self._forms.iter_errors(message):
            if isinstance(error, MissingRequestBodyError):
                continue  # seen to before
            found += _cause_problems(error, "body", None)
        return found

    def _bounded(self, where: str, check: Callable[[], list[Problem]]) -> list[Problem]:
        """What a check finds, or that it takes too much."""
        try:
            with within(self._seconds):
                return check()
        except TooMuchWork as exc:
            return [problem(where, str(exc))]
        except RecursionError:
            return [problem(where, "is nested too deeply")]

    # --- responses ------------------------------------------------------------------------------

    def check_status(self, match: Match, status: int, content_type: str | None) -> list[Problem]:
        """What is wrong with status and media type of a response. Costs nothing."""
        plan = self.plans.response(match.operation, status)
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
            offered = ", ".join(plan.bodies)
            detail = f"the media type is not one of the contract: {offered}"
            return [problem("header", detail, name="Content-Type")]
        return []

    def check_response(
        self, match: Match, status: int, headers: Headers, plan: BodyPlan | None, body: bytes
    ) -> list[Problem]:
        """What is wrong with its header fields, and with its body by a plan that wants it."""
        found = self.check_response_headers(match, status, headers)
        if plan is not None:
            found += self.check_response_body(plan, content_type_of(headers) or "", body)
        return found

    def check_response_headers(self, match: Match, status: int, headers: Headers) -> list[Problem]:
        """What is wrong with the header fields of a response."""
        return self._bounded("header", lambda: self._check_headers(match, status, headers))

    def _check_headers(self, match: Match, status: int, headers: Headers) -> list[Problem]:
        plan = self.plans.response(match.operation, status)
        if plan is None or not plan.headers:
            return []
        parameters = Parameters({}, "", headers)
        found = list(islice(ambiguities(plan.names, parameters), MAX_ERRORS))
        if found:
            return found
        if plan.readers is not None:
            return _read_all(plan.readers, parameters)
        request = RequestMessage(match, "", ())
        for error in self._headers.iter_errors(request, ResponseMessage(status, headers)):
            if isinstance(error, HeaderValidationError):
                if isinstance(error, MissingHeaderError):
                    found.append(problem("header", "is required", name=error.name))
                else:
                    found += _cause_problems(error, "header", error.name)
        return found

    def check_response_body(self, plan: BodyPlan, content_type: str, body: bytes) -> list[Problem]:
        """What is wrong with the body of a response, by a plan that wants it whole."""
        return self._check_body(self._read, plan, content_type, body)

    def _check_body(
        self, schemas: SchemaValidators, plan: BodyPlan, content_type: str, body: bytes
    ) -> list[Problem]:
        charset = charset_of(content_type)
        # JSON is in UTF-8, whatever is said, but some servers believe what is said.
        if charset not in (TEXT_CHARSETS if plan.kind is TEXT else JSON_CHARSETS):
            return [_WRONG_CHARSET]

        def check() -> list[Problem]:
            assert plan.schema is not None
            try:
                value = body.decode(charset) if plan.kind is TEXT else read_json(body)
            except NotJSON as exc:
                return [problem("body", str(exc))]
            except ValueError:
                return [problem("body", f"is not {charset.upper()}")]
            validator = schemas.create(self.document.openapi.spec, plan.schema).validator
            return list(schema_problems(validator.iter_errors(value), "body"))

        return self._bounded("body", check)


def _read_all(readers: Iterable[Reader], parameters: Parameters) -> list[Problem]:
    found = chain.from_iterable(reader.check(parameters) for reader in readers)
    return list(islice(found, MAX_ERRORS))


_WRONG_CHARSET = problem("header", "has a charset that is not read here", name="Content-Type")


def _parameter_problems(error: Exception) -> list[Problem]:
    if isinstance(error, MissingParameterError):
        return [problem(error.location, "is required", name=error.name)]
    if isinstance(error, ParameterValidationError):
        return _cause_problems(error, error.location, error.name)
    raise error


def _cause_problems(error: Exception, where: str, name: str | None) -> list[Problem]:
    """The problems of openapi-core's wrapper around what went wrong."""
    cause = error.__cause__
    errors: Sequence[Any] | None = getattr(cause, "schema_errors", None)
    if errors is not None:
        return list(schema_problems(errors, where, name=name))
    kind = getattr(cause, "type", None)
    if isinstance(kind, str):  # a CastError
        return [problem(where, f"has to be of type {kind}", name=name)]
    detail = _DETAILS.get(type(cause).__name__, "cannot be read")
    return [problem(where, detail, name=name)]


_DETAILS = {
    "EmptyQueryParameterValue": "must not be empty",
    "MediaTypeDeserializeError": "cannot be decoded",
}
