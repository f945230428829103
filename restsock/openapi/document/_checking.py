"""Checks a document against the specification of OpenAPI, with limited work.

This uses openapi-spec-validator, except those parts of it that run patterns in a backtracking
engine, look each schema up in a list of all, or follow schemas that multiply by references.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import lru_cache
from typing import Any, cast

import openapi_schema_validator as dialects
import openapi_spec_validator.schemas as contents
from jsonschema.exceptions import SchemaError
from jsonschema.validators import validator_for
from jsonschema_path import SchemaPath
from openapi_schema_validator._specifications import REGISTRY
from openapi_spec_validator.validation import keywords, validators
from referencing import Resource

from restsock._exceptions import SpecError

from ._keywords import bounded
from ._regex import BadPattern, compiled
from ._work import spend

__all__ = ["FILES", "check_document", "check_patterns", "metaschema"]

FILES = "x-files"
"""The key under which a document contains the files that it refers to."""

_MAX_PATTERNS = 5_000_000  # instructions of all its patterns together


def check_document(mapping: Mapping[str, Any], version: tuple[int, int]) -> None:
    """Checks a document that only refers to itself.

    Raises:
        jsonschema.ValidationError: The document is not valid.
        TooMuchWork: The check exceeds its limit.
        Exception: Other errors of the library for unresolvable references.
    """
    # Without handlers nothing is fetched, whatever `$id` a reference is resolved against.
    _validator(version)(SchemaPath.from_dict(cast("Any", mapping), handlers={})).validate()


class _Seen(set[Any]):
    """Replaces a list of the library."""

    append = set.add


class _Schemas(keywords.SchemaValidator):
    """The check of a schema; mixed into that of each version."""

    visited_schema_ids: Any
    meta_checked_schema_ids: Any

    def __init__(self, registry: Any) -> None:
        super().__init__(registry)
        self.visited_schema_ids = _Seen()
        self.meta_checked_schema_ids = _Seen()
        self._collected: dict[int, set[str]] = {}
        self._done: set[int] = set()
        self._rings = 0

    def _collect_properties(self, schema: SchemaPath) -> set[str]:
        spend(20)  # looking at a place in the document takes time
        key = id(schema.read_value())
        found = self._collected.get(key)
        if found is None:
            self._collected[key] = set()  # in a cycle, they are there already
            rings = self._rings
            found = super()._collect_properties(schema)
            if self._rings == rings:
                self._collected[key] = found
                self._done.add(key)
            else:
                del self._collected[key]  # incomplete: the rest of the cycle is missing
        elif key not in self._done:
            self._rings += 1
        return found

    def _get_schema_checker(self, schema: SchemaPath, schema_value: Any) -> Callable[[Any], None]:
        checker = super()._get_schema_checker(schema, schema_value)
        cls = cast("Any", getattr(checker, "func", checker)).__self__

        def check(value: Any) -> None:
            for error in metaschema(cls).iter_errors(value):
                raise SchemaError.create_from(error)

        return check


class _Operations(keywords.OperationValidator):
    operation_ids_registry: Any

    def __init__(self, registry: Any) -> None:
        super().__init__(registry)
        self.operation_ids_registry = _Seen()


@lru_cache
def metaschema(cls: Any) -> Any:
    """The validator for schemas of a dialect, given jsonschema's class for it."""
    return _made(validator_for(cls.META_SCHEMA, default=cls), cls.META_SCHEMA, cls.FORMAT_CHECKER)


def _made(cls: Any, schema: Any, format_checker: Any = None) -> Any:
    """A validator that knows all schemas of the specifications, with an index."""
    resource = Resource.from_contents(schema)
    uri = resource.id() or ""
    # Crawled here, once; otherwise each look-up would crawl the registry for itself.
    resolver = REGISTRY.with_resource(uri, resource).crawl().resolver(base_uri=uri)
    return bounded(cls)(schema, format_checker=format_checker, _resolver=resolver)


@lru_cache
def _validator(version: tuple[int, int]) -> type[validators.SpecValidator]:
    number = f"{version[0]}{version[1]}"
    base = getattr(validators, f"OpenAPIV{number}SpecValidator")
    schemas = getattr(keywords, f"OpenAPIV{number}SchemaValidator")
    mixed: Any = type("Schemas", (_Schemas, schemas), {})
    values = getattr(keywords, f"OpenAPIV{number}ValueValidator")
    dialect = getattr(dialects, f"OAS{number}Validator")
    value: Any = type("Values", (values,), {"value_validator_cls": bounded(dialect)})
    whole = getattr(contents, f"get_schema_content_v{number}")()
    parts = {"schema": mixed, "default": value, "operation": _Operations}
    attributes = {
        "schema_validator": _made(validator_for(whole), whole),
        "keyword_validators": {**base.keyword_validators, **parts},
    }
    return type("DocumentValidator", (base,), attributes)


# --- patterns ---------------------------------------------------------------------------------

# Below these names there are names that the author chose, and no keywords;
_NAMED = frozenset(
    (
        *("properties", "patternProperties", "dependentSchemas", "$defs", "definitions", "paths"),
        *("schemas", "parameters", "requestBodies", "responses", "headers", "content", "webhooks"),
        *("callbacks", "pathItems", "encoding", "links", "additionalOperations", FILES),
    )
)
# and below these are values.
_VALUES = frozenset(("example", "examples", "default", "enum", "const", "mapping", "value"))


def check_patterns(mapping: Mapping[str, Any], source: str) -> None:
    """Compiles all patterns, so that an unusable one is found before it is needed.

    Raises:
        SpecError: A pattern cannot be used, or all together are too large.
        TooMuchWork: The check exceeds its limit.
    """
    size = 0
    seen: set[str] = set()
    stack: list[tuple[Any, bool, str]] = [(mapping, False, "#")]
    while stack:
        node, named, place = stack.pop()
        if isinstance(node, list):
            stack += [(item, False, f"{place}/{index}") for index, item in enumerate(node)]
        if not isinstance(node, Mapping):
            continue
        spend(len(node))
        patterns: list[tuple[str, str]] = []
        if not named and isinstance(node.get("pattern"), str):
            patterns.append((node["pattern"], f"{place}/pattern"))
        inner = node.get("patternProperties")
        if not named and isinstance(inner, Mapping):
            patterns += [(str(name), f"{place}/patternProperties") for name in inner]
        for pattern, where in patterns:
            if pattern in seen:
                continue
            seen.add(pattern)
            spend(20)
            try:
                size += compiled(pattern).size
            except BadPattern as exc:
                short = pattern if len(pattern) <= 100 else pattern[:100] + "…"
                raise SpecError(
                    f"{source}: the pattern {short!r} at {where} cannot be used: {exc}."
                    " Write it in another way, or leave it to the app"
                ) from None
            if size > _MAX_PATTERNS:
                raise SpecError(f"{source}: its patterns are too large, at {where}")
        for name, item in node.items():
            if named:
                stack.append((item, False, f"{place}/{_token(name)}"))
            elif name not in _VALUES and (name == FILES or not str(name).startswith("x-")):
                stack.append((item, name in _NAMED, f"{place}/{_token(name)}"))


def _token(name: Any) -> str:
    return str(name).replace("~", "~0").replace("/", "~1")
