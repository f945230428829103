"""The problems of a message, as mappings for `application/problem+json` (RFC 9457).

A problem has a `detail` in words, `in` (`path`, `query`, `header`, `cookie` or `body`), `name` if
it is about a parameter or a header, and `pointer`, a JSON Pointer (RFC 6901, as a URI fragment)
into the body or the value of the parameter.

Nothing here quotes a value: it may be a secret, these texts are logged, and a large body would make
a large response.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from difflib import get_close_matches
from itertools import islice
from typing import Any, TypeAlias
from urllib.parse import quote

from jsonschema.exceptions import ValidationError as SchemaError
from jsonschema.exceptions import best_match

from ._regex import compiled

__all__ = [
    "MAX_ERRORS",
    "Problem",
    "did_you_mean",
    "explained",
    "pointer",
    "problem",
    "schema_problems",
    "summary",
]

MAX_ERRORS = 20
"""The most errors that are reported for one message."""

_MAX_WORDS = 200

Problem: TypeAlias = Mapping[str, str]

# Keyword of JSON Schema -> text, with the value of the keyword.
_WORDS = {
    "enum": "has to be one of {}",
    "const": "has to be {}",
    "pattern": "does not match the pattern {}",
    "minLength": "has to have a length of at least {}",
    "maxLength": "may have a length of at most {}",
    "minimum": "has to be at least {}",
    "maximum": "may be at most {}",
    "exclusiveMinimum": "has to be more than {}",
    "exclusiveMaximum": "has to be less than {}",
    "multipleOf": "has to be a multiple of {}",
    "minItems": "has to have at least {} items",
    "maxItems": "may have at most {} items",
    "minProperties": "has to have at least {} properties",
    "maxProperties": "may have at most {} properties",
}
_PLAIN_WORDS = {
    "anyOf": "matches none of the schemas that are allowed here",
    "oneOf": "does not match exactly one of the schemas that are allowed here",
    "not": "matches a schema that is not allowed here",
    "uniqueItems": "has an item twice",
    "contains": "lacks an item that has to be there",
    "propertyNames": "has a property with a name that is not allowed",
    "unevaluatedProperties": "has a property that is not allowed",
    "unevaluatedItems": "has an item that is not allowed",
    "readOnly": "is read-only, and may not be in a request",
    "writeOnly": "is write-only, and may not be in a response",
    "dependentRequired": "lacks a property that another one needs",
}


def problem(
    where: str, detail: str, *, name: str | None = None, path: Iterable[str | int] = ()
) -> Problem:
    """Makes one problem."""
    named = {} if name is None else {"name": name}
    return {"in": where, **named, "pointer": pointer(path), "detail": detail}


def pointer(path: Iterable[str | int]) -> str:
    """A JSON Pointer as the fragment of a URI (RFC 6901, section 6); `#` is the whole value."""
    tokens = (str(token).replace("~", "~0").replace("/", "~1") for token in path)
    # JSON escapes may contain surrogates, which have no UTF-8 form.
    return "#" + "".join(
        "/" + quote(token, safe="~!$&'()*+,;=:@", errors="replace") for token in tokens
    )


def schema_problems(
    errors: Iterable[Any], where: str, *, name: str | None = None
) -> Iterator[Problem]:
    """The problems for the errors of a JSON Schema validator."""
    for error in islice(errors, MAX_ERRORS):
        # For "none of these", the most relevant branch: often the value has to be X or null.
        found = best_match([error]) or error
        path: list[str | int] = list(found.absolute_path)
        for more, detail in _details(found):
            yield problem(where, detail, name=name, path=[*path, *more])


def explained(error: SchemaError) -> tuple[str, str]:
    """The location and the text of a validator's error; "" if the error has its own message."""
    # Not from the error itself: the library has copied it without the necessary attributes.
    found = best_match(error.context or ()) or error
    place = list(found.absolute_path)
    if found.message:
        return pointer(place), ""
    more, detail = next(_details(found), ([], ""))
    return pointer([*place, *more]), detail


def _details(error: SchemaError) -> Iterator[tuple[list[str | int], str]]:
    """The location below that of the error, and the text."""
    keyword = str(error.validator)
    value: Any = error.validator_value
    if keyword == "required" and isinstance(value, list):
        # jsonschema makes one error for each missing name, which is only in its message.
        missing = [name for name in value if error.message.startswith(repr(name) + " ")]
        for name in missing[:1]:
            yield [name], "is required"
            return
        yield [], "lacks a required property"
    elif keyword == "additionalProperties" and isinstance(error.instance, Mapping):
        yield from _additional(error)
    elif keyword == "type":
        kinds = value if isinstance(value, list) else [value]
        yield [], f"has to be of type {' or '.join(map(str, kinds))}"
    elif keyword == "format":
        yield [], f"is no valid {_cut(str(value))}"
    elif keyword in _WORDS:
        yield [], _WORDS[keyword].format(_cut(json.dumps(value, default=str)))
    elif keyword in _PLAIN_WORDS:
        yield [], _PLAIN_WORDS[keyword]
    else:
        yield [], f"breaks the rule {_cut(keyword)!r}"


def _additional(error: SchemaError) -> Iterator[tuple[list[str | int], str]]:
    schema: Any = error.schema
    instance: Any = error.instance
    known = schema.get("properties", {}) if isinstance(schema, Mapping) else {}
    patterns = list(schema.get("patternProperties", ())) if isinstance(schema, Mapping) else []
    extra = (
        name
        for name in instance
        if name not in known and not any(compiled(each).search(name) for each in patterns)
    )
    for name in islice(extra, MAX_ERRORS):
        yield [name[:_MAX_WORDS]], "is not allowed here"


def _cut(words: str) -> str:
    return words if len(words) <= _MAX_WORDS else words[:_MAX_WORDS] + "…"


def summary(errors: Sequence[Problem]) -> str:
    """The problems in one line, for logs and exceptions."""
    return "; ".join(map(_in_words, errors[:MAX_ERRORS])) or "no reason given"


def did_you_mean(name: str, names: Iterable[str]) -> str:
    """The end of a message about an unknown name: similar names, if any."""
    by_case = {known.lower(): known for known in names}
    near = get_close_matches(name.lower(), by_case, n=3)
    return f"; did you mean {' or '.join(repr(by_case[each]) for each in near)}?" if near else ""


def _in_words(error: Problem) -> str:
    place = " ".join(filter(None, (error["in"], error.get("name"))))
    at = "" if error["pointer"] == "#" else f" at {error['pointer']}"
    return f"{place}{at}: {error['detail']}"
