"""What a document says of the messages of each operation, and so what it takes to check them.

Plans are made once for each operation, and the validator of each schema with them.
"""

from __future__ import annotations

import threading
from collections.abc import Iterable, Mapping
from itertools import chain
from typing import Any, NamedTuple

from jsonschema_path import SchemaPath
from openapi_core.validation import schemas as factories

from restsock._patterns import like
from restsock.openapi.document import Document, Operation, as_bounded

from ._divergence import Declared, Headers, content_type_of, field_of
from ._messages import operation_path
from ._reading import Reader, declared_names, make_form, make_reader

__all__ = [
    "FORM",
    "FORM_TYPE",
    "TEXT",
    "BodyPlan",
    "Plans",
    "RequestPlan",
    "ResponsePlan",
    "SchemaValidators",
    "essence_of",
]

JSON, FORM, TEXT, OTHER = "json", "form", "text", "other"

FORM_TYPE = "application/x-www-form-urlencoded"


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
        status: the same.
        headers: whether there are any to check.
        bodies: by media type or range; empty when no body is described.
        readers: for the header fields; `None` when one of them takes openapi-core.
        names: of them.
    """

    status: int
    headers: bool
    bodies: Mapping[str, BodyPlan]
    readers: tuple[Reader, ...] | None
    names: tuple[Declared, ...]

    def body(self, content_type: str | None) -> BodyPlan | None:
        """The plan for a body of this type; `None` when the contract has none."""
        return _best(self.bodies, content_type)

    def whole_body(self, method: bytes, headers: Headers, max_body: int) -> BodyPlan | None:
        """The plan for a body that is to be looked into; `None` for none, and for one too large."""
        if method == b"HEAD" or self.status in (204, 205, 304):
            return None
        length = field_of(headers, b"content-length")
        if length is not None and length.isdigit() and int(length) > max_body:
            return None
        plan = self.body(content_type_of(headers))
        return plan if plan is not None and plan.whole else None


class Plans:
    """The plans of one document, each made at its first use. Any number of threads may share them.

    Args:
        document: what the messages are held to.

    Attributes:
        write: makes the validators of what is sent to a server.
        read: those of what comes from it.
    """

    def __init__(self, document: Document) -> None:
        self.document = document
        self._requests: dict[tuple[str, str], RequestPlan] = {}
        self._responses: dict[tuple[str, str, int], ResponsePlan | None] = {}
        if document.version == (3, 0):
            self.write = SchemaValidators(factories.oas30_write_schema_validators_factory)
            self.read = SchemaValidators(factories.oas30_read_schema_validators_factory)
        else:
            name = "oas{}{}_schema_validators_factory".format(*document.version)
            self.write = self.read = SchemaValidators(getattr(factories, name))

    def prepare(self) -> None:
        """Makes what is needed to validate, for all operations. It is made at first use otherwise.

        Raises:
            SpecError: a part of the document cannot be used.
        """
        for operation in self.document.operations:
            self.request(operation)
            for status in operation.mapping.get("responses") or {}:
                if status.isdigit():
                    self.response(operation, int(status))

    def request(self, operation: Operation) -> RequestPlan:
        """What the document says of this operation's requests."""
        key = (operation.method, operation.path)
        plan = self._requests.get(key)
        if plan is None:
            resolve = self.document.resolve
            body = resolve(operation.mapping.get("requestBody") or {})
            place = self._place(operation) / "requestBody"
            bodies = self._bodies(body, place)
            places = self._parameter_places(operation)
            readers = self._readers(places, self.write)
            required = body.get("required") is True
            plan = RequestPlan(bool(places), bodies, required, readers, self._names(places))
            self._requests[key] = plan
        return plan

    def response(self, operation: Operation, status: int) -> ResponsePlan | None:
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
            readers = self._readers(headers, self.read)
            bodies = self._bodies(response, place)
            plan = ResponsePlan(status, bool(headers), bodies, readers, self._names(headers))
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
        self, places: Iterable[tuple[Mapping[str, Any], SchemaPath]], schemas: SchemaValidators
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
            if kind is not OTHER and _says_something(schema, text=kind is TEXT):
                schema_place = place / "content" / media_type / "schema"
            form = None
            fields: tuple[Declared, ...] = ()
            if kind is FORM and schema_place is not None:
                spec = self.document.openapi.spec
                validator = self.write.create(spec, schema_place).validator
                form = make_form(self.document, resolved, validator)
                fields = tuple(declared_names(self.document, _FORM_ITSELF, resolved))
            bodies[media_type] = BodyPlan(kind, media_type, schema_place, form, fields)
        return bodies


class SchemaValidators:
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


_FORM_ITSELF = {"in": "body", "name": ""}


def essence_of(content_type: str) -> str:
    return content_type.partition(";")[0].strip().lower()


def _kind_of(media_type: str) -> str:
    essence = essence_of(media_type)
    if essence == "application/json" or essence.endswith("+json"):
        return JSON
    if essence == FORM_TYPE:
        return FORM
    if essence in ("text/plain", "text/html", "text/csv", "text/markdown"):
        return TEXT
    return OTHER


def _best(bodies: Mapping[str, BodyPlan], content_type: str | None) -> BodyPlan | None:
    """The most exact entry for a media type: `a/b;c=d`, `a/b`, `a/*`, `*/*`."""
    if content_type is None or not bodies:
        return None
    plan = bodies.get(content_type)
    if plan is not None:
        return plan
    essence = essence_of(content_type)
    ranges = []
    for media_type, candidate in bodies.items():
        pattern = essence_of(media_type)
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
