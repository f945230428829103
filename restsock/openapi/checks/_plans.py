"""What a document says about the messages of one operation, prepared for validation."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from itertools import chain
from typing import TYPE_CHECKING, Any, NamedTuple, cast

import openapi_schema_validator as dialects
from jsonschema.validators import validator_for
from referencing import Registry
from referencing.jsonschema import DRAFT202012

from restsock._exceptions import SpecError
from restsock._strict_json import NotJSON, read_json
from restsock.openapi.document import (
    Document,
    Kind,
    Parameter,
    Problem,
    best_of,
    bounded,
    charset_of,
    kind_of,
    problem,
    schema_problems,
)
from restsock.protocol import values_of

from ._divergence import Declared, ambiguities
from ._messages import Parameters
from ._reading import FormReader, Reader

if TYPE_CHECKING:
    from restsock.protocol import Headers

__all__ = ["BodyPlan", "MessagePlan", "SchemaValidators", "content_type_of", "make_plan"]

# JSON is always in UTF-8, but some servers believe another charset.
_JSON_CHARSETS = ("utf-8", "utf8", "us-ascii", "ascii")
_TEXT_CHARSETS = (*_JSON_CHARSETS, "iso-8859-1", "latin-1")


class BodyPlan(NamedTuple):
    """How to validate a body of one media type.

    Attributes:
        kind: How it is parsed.
        media_type: The media type in the document, which may be a range.
        validator: The validator of its schema; `None` if the body is not validated.
        form: Parses and validates a form.
    """

    kind: Kind
    media_type: str
    validator: Any
    form: FormReader | None

    @property
    def whole(self) -> bool:
        """Whether validation needs the whole body."""
        return self.validator is not None

    def check(self, content_type: str, body: bytes) -> Iterable[Problem]:
        """Validates a whole body; returns its problems."""
        charset = charset_of(content_type)
        if charset not in (_TEXT_CHARSETS if self.kind == "text" else _JSON_CHARSETS):
            return [problem("header", "has a charset that is not read here", name="Content-Type")]
        try:
            if self.form is not None:
                return self.form.check(body.decode("ascii"))
            value = body.decode(charset) if self.kind == "text" else read_json(body)
        except NotJSON as exc:
            return [problem("body", str(exc))]
        except ValueError:
            what = "a urlencoded form" if self.kind == "form" else charset.upper()
            return [problem("body", f"is not {what}")]
        return schema_problems(self.validator.iter_errors(value), "body")


class MessagePlan(NamedTuple):
    """How to validate the requests of an operation, or its responses with one status.

    Attributes:
        readers: The readers for the parameters of a request, or the header fields of a response.
        declared: The names of those.
        bodies: The plans by media type or range; empty if no body is described.
        required: Whether a body is required.
    """

    readers: tuple[Reader, ...]
    declared: tuple[Declared, ...]
    bodies: Mapping[str, BodyPlan]
    required: bool

    def body(self, content_type: str | None) -> BodyPlan | None:
        """The plan for a body of this type; `None` if the contract has none."""
        if content_type is None or not self.bodies:
            return None
        plan = self.bodies.get(content_type)
        if plan is None and (found := best_of(self.bodies, content_type)) is not None:
            return self.bodies[found]
        return plan

    def wrong_type(self, content_type: str | None) -> Problem:
        """The problem with a media type for which there is no plan."""
        what = "is missing; it is" if content_type is None else "is not one of the contract:"
        detail = f"the media type {what} {' or '.join(self.bodies)}"
        return problem("header", detail, name="Content-Type")

    def whole_body(
        self, method: bytes, status: int, headers: Headers, max_body: int
    ) -> BodyPlan | None:
        """The plan for a response body; `None` if it is not validated, or is too large."""
        if method == b"HEAD" or status in (204, 205, 304):
            return None
        length = next(iter(values_of(headers, b"content-length")), b"")
        if length.isdigit() and int(length) > max_body:
            return None
        plan = self.body(content_type_of(headers))
        return plan if plan is not None and plan.whole else None

    def check(self, parameters: Parameters) -> Iterable[Problem]:
        """Validates the parameters, or the header fields; returns their problems."""
        found = list(ambiguities(self.declared, parameters))
        return found or chain.from_iterable(each.check(parameters) for each in self.readers)


def make_plan(
    document: Document,
    parameters: Iterable[Parameter],
    holder: Mapping[str, Any],
    validators: SchemaValidators,
) -> MessagePlan:
    """Makes a plan of the parameters of a request, or headers of a response, and of its object.

    Raises:
        SpecError: A part of the document cannot be used.
        ValueError: OpenAPI does not have a location or style.
    """
    readers = tuple(
        Reader(document, each, validators.of(each.schema))
        for each in parameters
        if each.location != "querystring"
    )
    declared = tuple(chain.from_iterable(reader.declared for reader in readers))
    bodies = {}
    for media_type, node in (holder.get("content") or {}).items():
        media = document.resolve(node)
        schema = document.resolve(media.get("schema"), alone=True)
        kind = kind_of(media_type)
        validator = form = None
        if kind != "other" and _says_something(schema, text=kind == "text"):
            validator = validators.of(schema)
            form = FormReader(document, media, validator) if kind == "form" else None
        bodies[media_type] = BodyPlan(kind, media_type, validator, form)
    return MessagePlan(readers, declared, bodies, holder.get("required") is True)


class SchemaValidators:
    """Makes the validator of each schema once.

    Args:
        document: The document with the schemas.
        cls: The class of jsonschema for schemas without a dialect.
    """

    def __init__(self, document: Document, cls: Any) -> None:
        self._document = document
        self._cls = cls
        # Also with 3.1, for its `byte` and `binary`.
        old = document.version < (3, 2)
        self._format_checker = (dialects.OAS30Validator if old else cls).FORMAT_CHECKER
        resource = DRAFT202012.create_resource(cast("Any", document.mapping))
        self._resolver = Registry().with_resource("", resource).resolver()
        self._made: dict[int, Any] = {}

    def of(self, schema: Any) -> Any:
        """The validator of a schema; `None` if there is nothing to validate.

        Raises:
            SpecError: Its dialect is unknown.
        """
        schema = self._document.resolve(schema, alone=True)
        if schema is None or schema is True:
            return None
        made = self._made.get(id(schema))  # of the document, which is kept
        if made is None:
            made = bounded(self._class_of(schema))(
                schema, format_checker=self._format_checker, _resolver=self._resolver
            )
            self._made[id(schema)] = made
        return made

    def _class_of(self, schema: Any) -> Any:
        if self._document.version == (3, 0):
            return self._cls
        own = schema.get("$schema") if isinstance(schema, Mapping) else None
        dialect = own or self._document.mapping.get("jsonSchemaDialect")
        found = (
            validator_for({"$schema": dialect}, default=cast("Any", None)) if dialect else self._cls
        )
        if found is None:
            raise SpecError(f"{self._document.source}: the dialect {dialect!r} is not known")
        return found


def content_type_of(headers: Headers) -> str | None:
    """The Content-Type; `None` without one; if there are several, "", which nothing matches."""
    found = values_of(headers, b"content-type")
    if not found:
        return None
    return found[0].decode("latin-1") if len(found) == 1 else ""


def _says_something(schema: object, *, text: bool) -> bool:
    """Whether a schema forbids anything, so that the body has to be validated."""
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
