"""Holds messages to a document. Blocking, costs up to a millisecond: not for the loop.

openapi-core knows the dialects of JSON Schema, and reads those parameters, headers and forms that
`_reading` does not. Done here, because there it is slow or wrong:

- Validators of a schema are made once and kept; openapi-core makes them anew for each value.
- JSON bodies of every media type that says `+json`. There it takes bytes for the value.
- A status of 300 and above that the document does not name is no breach. "The documentation is not
  necessarily expected to cover all possible HTTP response codes" (OpenAPI 3.1, "Responses Object"),
  and every peer has errors that no app knows of. An undocumented success is one.

Bodies that are not looked into: multipart, XML and any other media type than JSON, forms and text,
and those whose schema allows everything. Of them the media type alone is checked.
`security` is not: what a request may do is the app's to decide, and its answer.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Mapping, Sequence
from itertools import chain, islice
from typing import Any, NamedTuple, cast

from jsonschema_path import SchemaPath
from openapi_core.validation import request as request_validation
from openapi_core.validation import response as response_validation
from openapi_core.validation.request.exceptions import (
    MissingParameterError,
    MissingRequestBodyError,
    ParameterValidationError,
)
from openapi_core.validation.response.exceptions import HeaderValidationError, MissingHeaderError
from openapi_core.validation.schemas import (
    oas30_read_schema_validators_factory,
    oas30_write_schema_validators_factory,
    oas31_schema_validators_factory,
    oas32_schema_validators_factory,
)

from restsock._patterns import like
from restsock.openapi.document import (
    MAX_ERRORS,
    PROBLEM,
    SECONDS,
    Document,
    Match,
    NotJSON,
    Operation,
    Problem,
    TooMuchWork,
    as_bounded,
    problem,
    read_json,
    schema_problems,
    within,
)

from ._divergence import JSON_CHARSETS, TEXT_CHARSETS, Declared, charset_of
from ._messages import Finder, Parameters, RequestMessage, ResponseMessage, operation_path
from ._reading import Reader, ambiguities, declared_names, make_form, make_reader

__all__ = ["BodyPlan", "RequestPlan", "ResponsePlan", "Validator"]

Headers = Iterable[tuple[bytes, bytes]]

_JSON, _FORM, _TEXT, _OTHER = "json", "form", "text", "other"


class BodyPlan(NamedTuple):
    """What is to be done with a body of one media type.

    Attributes:
        kind: how it is read.
        media_type: as the document has it; perhaps a range.
        schema: where its schema stands, for what is to be read at all.
        form: reads a form; `None` when it takes openapi-core.
        fields: the names of a form.
    """

    kind: str
    media_type: str
    schema: SchemaPath | None
    form: Reader | None = None
    fields: tuple[Declared, ...] = ()

    @property
    def whole(self) -> bool:
        """Whether the body has to be there as a whole to be validated."""
        return self.schema is not None


class RequestPlan(NamedTuple):
    """What an operation says of its requests.

    Attributes:
        parameters: whether there are any.
        bodies: by media type or range; empty when no body is described.
        required: whether there has to be a body.
        readers: for the parameters; `None` when one of them takes openapi-core.
        names: by which they are given.
    """

    parameters: bool
    bodies: Mapping[str, BodyPlan]
    required: bool
    readers: tuple[Reader, ...] | None
    names: tuple[Declared, ...]

    def body(self, content_type: str | None) -> BodyPlan | None:
        """The plan for a body of this type; `None` when the contract has none."""
        return _best(self.bodies, content_type)


class ResponsePlan(NamedTuple):
    """What an operation says of its responses with one status.

    Attributes:
        headers: whether there are any to check.
        bodies: by media type or range; empty when no body is described.
        readers: for the header fields; `None` when one of them takes openapi-core.
        names: of them.
    """

    headers: bool
    bodies: Mapping[str, BodyPlan]
    readers: tuple[Reader, ...] | None
    names: tuple[Declared, ...]

    def body(self, content_type: str | None) -> BodyPlan | None:
        """The plan for a body of this type; `None` when the contract has none."""
        return _best(self.bodies, content_type)


class Validator:
    """Validates the messages of one document. Any number of threads may share one.

    Plans say beforehand, at no cost, what of a message is needed; `check_*` return what is wrong.

    Args:
        document: what messages are held to.
        seconds: of processor time that one message may take. One that takes more is wrong.
    """

    def __init__(self, document: Document, *, seconds: float = SECONDS) -> None:
        self.document = document
        self._seconds = seconds
        version = document.version
        self._write = _Factory(
            {
                (3, 0): oas30_write_schema_validators_factory,
                (3, 1): oas31_schema_validators_factory,
                (3, 2): oas32_schema_validators_factory,
            }[version]
        )
        self._read = self._write
        if version == (3, 0):
            self._read = _Factory(oas30_read_schema_validators_factory)
        name = f"V{version[0]}{version[1]}"
        spec = document.openapi.spec

        def make(module: Any, kind: str, schemas: _Factory) -> Any:
            cls = getattr(module, f"{name}{kind}Validator")
            return cls(spec, path_finder_cls=Finder, schema_validators_factory=cast("Any", schemas))

        self._parameters = make(request_validation, "RequestParameters", self._write)
        self._forms = make(request_validation, "RequestBody", self._write)
        self._headers = make(response_validation, "ResponseHeaders", self._read)
        self._requests: dict[tuple[str, str], RequestPlan] = {}
        self._responses: dict[tuple[str, str, int], ResponsePlan | None] = {}

    def prepare(self) -> None:
        """Makes what is needed to validate, for all operations. It is made at first use otherwise.

        Raises:
            SpecError: a part of the document cannot be used.
        """
        for operation in self.document.operations:
            self.request_plan(operation)
            for status in operation.mapping.get("responses") or {}:
                if status.isdigit():
                    self.response_plan(operation, int(status))

    # --- plans ----------------------------------------------------------------------------------

    def request_plan(self, operation: Operation) -> RequestPlan:
        """What the document says of this operation's requests."""
        key = (operation.method, operation.path)
        plan = self._requests.get(key)
        if plan is None:
            resolve = self.document.resolve
            body = resolve(operation.mapping.get("requestBody") or {})
            place = self._place(operation) / "requestBody"
            bodies = self._bodies(body, place)
            places = self._parameter_places(operation)
            readers = self._readers(places, self._write)
            required = body.get("required") is True
            plan = RequestPlan(bool(places), bodies, required, readers, self._names(places))
            self._requests[key] = plan
        return plan

    def response_plan(self, operation: Operation, status: int) -> ResponsePlan | None:
        """What it says of responses with this status; `None` when it does not know the status."""
        key = (operation.method, operation.path, status)
        if key in self._responses:
            return self._responses[key]
        responses = operation.mapping.get("responses") or {}
        names = (str(status), f"{status // 100}XX", "default")
        name = next((name for name in names if name in responses), None)
        plan = None
        if name is not None:
            response = self.document.resolve(responses[name])
            place = self._place(operation) / "responses" / name
            headers = [
                (
                    {**self.document.resolve(header), "in": "header", "name": field},
                    place / "headers" / field,
                )
                for field, header in response.get("headers", {}).items()
                if field.lower() != "content-type"
            ]
            readers = self._readers(headers, self._read)
            bodies = self._bodies(response, place)
            plan = ResponsePlan(bool(headers), bodies, readers, self._names(headers))
        # A hostile peer must not fill memory with statuses: there are 900.
        self._responses[key] = plan
        return plan

    def _parameter_places(self, operation: Operation) -> list[tuple[Mapping[str, Any], SchemaPath]]:
        """The parameters of an operation, and where they stand; its own hide those of the path."""
        spec = self.document.openapi.spec
        found: dict[tuple[str, str], tuple[Mapping[str, Any], SchemaPath]] = {}
        for listed, place in (
            (operation.mapping.get("parameters", ()), self._place(operation)),
            (operation.parameters, spec / "paths" / operation.path),
        ):
            for index, node in enumerate(listed):
                parameter = self.document.resolve(node)
                if parameter.get("in") in ("path", "query", "header", "cookie"):
                    key = (parameter["name"], parameter["in"])
                    found.setdefault(key, (parameter, place / "parameters" / index))
        return list(found.values())

    def _readers(
        self, places: Iterable[tuple[Mapping[str, Any], SchemaPath]], schemas: _Factory
    ) -> tuple[Reader, ...] | None:
        readers = []
        for parameter, place in places:

            def schema(below: str, place: SchemaPath = place) -> Any:
                for name in below.split("#"):
                    place = place / name
                return schemas.create(self.document.openapi.spec, place).validator

            reader = make_reader(self.document, parameter, schema)
            if reader is None:
                return None
            readers.append(reader)
        return tuple(readers)

    def _names(
        self, places: Iterable[tuple[Mapping[str, Any], SchemaPath]]
    ) -> tuple[Declared, ...]:
        names = (declared_names(self.document, parameter) for parameter, _ in places)
        return tuple(chain.from_iterable(names))

    def _place(self, operation: Operation) -> SchemaPath:
        return operation_path(self.document.openapi.spec, operation.method, operation.path)

    def _bodies(self, holder: Mapping[str, Any], place: SchemaPath) -> dict[str, BodyPlan]:
        bodies = {}
        for media_type, content in (holder.get("content") or {}).items():
            resolved = self.document.resolve(content)
            kind = _kind_of(media_type)
            schema = self.document.resolve(resolved.get("schema"))
            schema_place = None
            if kind is not _OTHER and _says_something(schema, text=kind is _TEXT):
                schema_place = place / "content" / media_type / "schema"
            form = None
            fields: tuple[Declared, ...] = ()
            if kind is _FORM and schema_place is not None:
                spec = self.document.openapi.spec
                validator = self._write.create(spec, schema_place).validator
                form = make_form(self.document, resolved, validator)
                fields = tuple(declared_names(self.document, _FORM_ITSELF, resolved))
            bodies[media_type] = BodyPlan(kind, media_type, schema_place, form, fields)
        return bodies

    # --- requests -------------------------------------------------------------------------------

    def check_parameters(self, match: Match, query: str, headers: Headers) -> list[Problem]:
        """What is wrong with the parameters of a request."""
        return self._bounded("query", lambda: self._check_parameters(match, query, headers))

    def _check_parameters(self, match: Match, query: str, headers: Headers) -> list[Problem]:
        plan = self.request_plan(match.operation)
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
        if plan.kind is not _FORM:
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
        message = RequestMessage(match, "", (), content_type=_FORM_TYPE, body=body)
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
        plan = self.response_plan(match.operation, status)
        if plan is None:
            if 200 <= status < 300:
                return [problem("status", f"{status} is not in the contract")]
            return []
        if (
            plan.bodies
            and content_type is not None
            and status not in (204, 304)
            and plan.body(content_type) is None
            and not (status >= 400 and _essence(content_type) == PROBLEM.decode())
        ):
            offered = ", ".join(plan.bodies)
            detail = f"the media type is not one of the contract: {offered}"
            return [problem("header", detail, name="Content-Type")]
        return []

    def check_response_headers(self, match: Match, status: int, headers: Headers) -> list[Problem]:
        """What is wrong with the header fields of a response."""
        return self._bounded("header", lambda: self._check_headers(match, status, headers))

    def _check_headers(self, match: Match, status: int, headers: Headers) -> list[Problem]:
        plan = self.response_plan(match.operation, status)
        if plan is None:
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
        self, schemas: _Factory, plan: BodyPlan, content_type: str, body: bytes
    ) -> list[Problem]:
        charset = charset_of(content_type)
        # JSON is in UTF-8, whatever is said, but some servers believe what is said.
        if charset not in (TEXT_CHARSETS if plan.kind is _TEXT else JSON_CHARSETS):
            return [_WRONG_CHARSET]

        def check() -> list[Problem]:
            assert plan.schema is not None
            try:
                value = body.decode(charset) if plan.kind is _TEXT else read_json(body)
            except NotJSON as exc:
                return [problem("body", str(exc))]
            except ValueError:
                return [problem("body", f"is not {charset.upper()}")]
            validator = schemas.create(self.document.openapi.spec, plan.schema).validator
            return list(schema_problems(validator.iter_errors(value), "body"))

        return self._bounded("body", check)


class _Factory:
    """Makes the validator of each schema once. In place of openapi-core's factory, around it."""

    def __init__(self, factory: Any) -> None:
        self._factory = factory
        self._made: dict[Any, Any] = {}
        self._lock = threading.Lock()

    def create(self, spec: SchemaPath, schema: SchemaPath, **options: Any) -> Any:
        # Options are the same for all calls of one document.
        key = schema.parts
        made = self._made.get(key) if key else None
        if made is None:
            made = self._factory.create(spec, schema, **options)
            made.validator = as_bounded(made.validator)
            if key:
                with self._lock:
                    made = self._made.setdefault(key, made)
        return made

    def __getattr__(self, name: str) -> Any:
        return getattr(self._factory, name)


def _read_all(readers: Iterable[Reader], parameters: Parameters) -> list[Problem]:
    found = chain.from_iterable(reader.check(parameters) for reader in readers)
    return list(islice(found, MAX_ERRORS))


_FORM_TYPE = "application/x-www-form-urlencoded"


_FORM_ITSELF = {"in": "body", "name": ""}

_WRONG_CHARSET = problem("header", "has a charset that is not read here", name="Content-Type")


def _essence(content_type: str) -> str:
    return content_type.partition(";")[0].strip().lower()


def _kind_of(media_type: str) -> str:
    essence = _essence(media_type)
    if essence == "application/json" or essence.endswith("+json"):
        return _JSON
    if essence == _FORM_TYPE:
        return _FORM
    if essence in ("text/plain", "text/html", "text/csv", "text/markdown"):
        return _TEXT
    return _OTHER


def _best(bodies: Mapping[str, BodyPlan], content_type: str | None) -> BodyPlan | None:
    """The most exact entry for a media type: `a/b;c=d`, `a/b`, `a/*`, `*/*`."""
    if content_type is None or not bodies:
        return None
    plan = bodies.get(content_type)
    if plan is not None:
        return plan
    essence = _essence(content_type)
    ranges = []
    for media_type, candidate in bodies.items():
        pattern = _essence(media_type)
        if pattern == essence:
            return candidate
        if "*" in pattern and like(pattern, essence):
            ranges.append((pattern.count("*"), -len(pattern), candidate))
    return min(ranges, key=lambda found: found[:2])[2] if ranges else None


def _says_something(schema: object, *, text: bool) -> bool:
    """Whether a schema forbids anything, so that the body is needed to find it."""
    if not isinstance(schema, Mapping):
        return schema is False
    words = set(schema) - _ANNOTATIONS
    if text:
        # Every text is a string.
        return bool(words - {"type", "format"}) or schema.get("type", "string") != "string"
    return bool(words)


_ANNOTATIONS = {
    *("title", "description", "default", "example", "examples", "deprecated", "readOnly"),
    *("writeOnly", "externalDocs", "xml", "$comment", "$id", "$anchor", "nullable"),
}


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
