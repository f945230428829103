"""What `help()` shows for an operation: its signature, and its contract as a docstring."""

from __future__ import annotations

import inspect
import textwrap
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any, Literal, Union

from ._operations import BODY

if TYPE_CHECKING:
    from restsock.openapi.document import Document

    from ._operations import Arguments

__all__ = ["docstring_of", "signature_of"]

_WIDTH = 96
# Longer lists of choices are shortened in a docstring, and not a Literal in a signature.
_MAX_CHOICES = 20
_MAX_DEPTH = 4

_TYPES: dict[str, Any] = {
    "string": str,
    "integer": int,
    "number": float,
    "boolean": bool,
    "object": dict[str, Any],
    "null": None,
}

_RAISES = (
    "",
    "Raises:",
    "    ArgumentError: the call does not fit; nothing was sent.",
    "    OperationFailed: the status is 400 or more.",
    "",
)

# Keyword of JSON Schema -> its description.
_BOUNDS = {
    "format": "{}",
    "minimum": "at least {}",
    "exclusiveMinimum": "more than {}",
    "maximum": "at most {}",
    "exclusiveMaximum": "less than {}",
    "multipleOf": "a multiple of {}",
    "minLength": "at least {} characters",
    "maxLength": "at most {} characters",
    "minItems": "at least {} items",
    "maxItems": "at most {} items",
    "pattern": "like {}",
    "const": "always {!r}",
}


def signature_of(arguments: Arguments) -> inspect.Signature:
    """The signature of a call: keywords only, required ones first.

    A default is the value that the server uses if the argument is left out: it is not sent.
    """
    shown = [
        _shown(arguments, name, each.required, each.schema, _default(arguments, each.schema))
        for name, each in arguments.parameters.items()
    ]
    body = arguments.body
    if body is not None:
        schema = next(iter(body.content.values()))["schema"]
        shown.append(_shown(arguments, BODY, body.required, schema, None))
    return inspect.Signature(sorted(shown, key=lambda each: each.default is not each.empty))


def _shown(
    arguments: Arguments, name: str, required: bool, schema: Any, default: Any
) -> inspect.Parameter:
    return inspect.Parameter(
        name,
        inspect.Parameter.KEYWORD_ONLY,
        default=inspect.Parameter.empty if required else default,
        annotation=_annotation(arguments.document, schema),
    )


def docstring_of(arguments: Arguments) -> str:
    """The contract of an operation, for people."""
    operation = arguments.operation
    mapping = operation.mapping
    summary = str(mapping.get("summary") or operation.id or arguments.key).strip()
    lines = [summary, "", f"{operation.method} {operation.path}"]
    if mapping.get("deprecated"):
        lines += ["", "Deprecated."]
    description = str(mapping.get("description") or "").strip()
    if description and description != summary:
        lines += ["", description]
    told = list(_told_arguments(arguments))
    if told:
        lines += ["", "Args:", *told]
    lines += ["", "Returns:", *_told_responses(arguments)]
    return "\n".join([*lines, *_RAISES])


def _told_arguments(arguments: Arguments) -> Iterator[str]:
    document = arguments.document
    for name, each in arguments.parameters.items():
        said = ["required"] if each.required else []
        said.append(each.location if each.name == name else f"{each.location} {each.name!r}")
        said += ["deprecated"] if each.deprecated else []
        words = f"{name} ({', '.join(said)}): {_told_schema(document, each.schema)}."
        yield from _wrapped(f"{words} {each.description}")
    body = arguments.body
    if body is None:
        return
    note = "required, the body" if body.required else "the body"
    yield from _wrapped(f"{BODY} ({note}): {' or '.join(body.content)}. {body.description}")
    for media in body.content.values():
        if fields := list(_told_fields(document, media["schema"])):
            yield from fields
            break  # the others have the same meaning


def _told_fields(document: Document, schema: Any) -> Iterator[str]:
    properties = schema.get("properties") if isinstance(schema, Mapping) else None
    if not isinstance(properties, Mapping):
        return
    required = schema.get("required") or ()
    for name, field in properties.items():
        field = document.resolve(field)
        note = " (required)" if name in required else ""
        about = field.get("description", "") if isinstance(field, Mapping) else ""
        yield from _wrapped(f"{name}{note}: {_told_schema(document, field)}. {about}", depth=2)


def _told_responses(arguments: Arguments) -> Iterator[str]:
    document = arguments.document
    for status, response in (arguments.operation.mapping.get("responses") or {}).items():
        response = document.resolve(response)
        types = ", ".join(response.get("content") or ()) or "no body"
        yield from _wrapped(f"{status}: {response.get('description', '')} ({types})")


def _wrapped(text: str, *, depth: int = 1) -> list[str]:
    return textwrap.wrap(
        " ".join(text.split()),
        _WIDTH,
        initial_indent="    " * depth,
        subsequent_indent="    " * (depth + 1),
        break_long_words=False,
    )


def _told_schema(document: Document, schema: Any) -> str:
    """A schema in a few words: `int, at least 1, at most 100`."""
    if not isinstance(schema, Mapping):
        return "any"
    annotation = _annotation(document, schema)
    words = [_name(annotation)]
    if "$ref" in schema:
        schema = document.resolve(schema)
    choices = schema.get("enum")
    if isinstance(choices, list) and len(choices) > _MAX_CHOICES:
        words.append(f"one of {', '.join(map(repr, choices[:_MAX_CHOICES]))}, ...")
    words += [told.format(schema[key]) for key, told in _BOUNDS.items() if _says(schema, key)]
    if "default" in schema:
        words.append(f"{schema['default']!r} if left out")
    return ", ".join(words)


def _says(schema: Mapping[str, Any], key: str) -> bool:
    # In 3.0 the exclusive bounds are flags.
    return key in schema and not isinstance(schema[key], bool)


def _name(annotation: Any) -> str:
    if annotation is Any:
        return "any"
    return inspect.formatannotation(annotation).replace("typing.", "")


def _default(arguments: Arguments, schema: Any) -> Any:
    schema = arguments.document.resolve(schema)
    return schema.get("default") if isinstance(schema, Mapping) else None


def _annotation(document: Document, schema: Any, depth: int = 0) -> Any:
    """The Python type of a schema, as far as there is one."""
    schema = document.resolve(schema)
    if not isinstance(schema, Mapping) or depth > _MAX_DEPTH:
        return Any
    choices = schema.get("enum")
    if isinstance(choices, list) and 0 < len(choices) <= _MAX_CHOICES:
        plain = all(isinstance(choice, (str, int, type(None))) for choice in choices)
        return Literal[tuple(choices)] if plain else Any
    for key in ("anyOf", "oneOf"):
        if isinstance(schema.get(key), list) and schema[key]:
            return _union([_annotation(document, each, depth + 1) for each in schema[key]])
    kinds = schema.get("type")
    kinds = list(kinds) if isinstance(kinds, list) else [kinds]
    if schema.get("nullable") is True:
        kinds.append("null")
    found: list[Any] = []
    for kind in kinds:
        if kind == "array":
            item: Any = _annotation(document, schema.get("items", {}), depth + 1)
            found.append(list[item])
        else:
            found.append(_TYPES.get(kind, Any) if isinstance(kind, str) else Any)
    return _union(found)


def _union(found: list[Any]) -> Any:
    if Any in found:
        return Any
    return Union[tuple(found)]  # noqa: UP007  # of a number of types that is not known here
