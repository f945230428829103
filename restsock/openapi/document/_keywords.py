"""The keywords of JSON Schema, with limited work.

The validators of jsonschema are used for all dialects, with our own keywords where theirs

- take more than linear time: `uniqueItems` and `unevaluatedItems` compare every pair, patterns
  backtrack, `enum` compares with each of its values;
- use too much memory: every error quotes its value, and `anyOf` keeps the errors of all its
  branches, at each level of nesting;
- fail in edge cases: `multipleOf` fails for huge numbers and says that 19.99 is not a multiple of
  0.01; some formats raise undocumented exceptions.

All others count their steps. What no keyword can limit, such as schemas that refer to each other
twice at each step, is limited by `_work`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from decimal import Decimal
from fractions import Fraction
from itertools import islice
from operator import ge, gt, le, lt
from typing import Any, cast

from jsonschema.exceptions import FormatError, ValidationError
from jsonschema.validators import extend
from openapi_schema_validator import OAS30Validator

from ._problems import MAX_ERRORS
from ._regex import BadPattern, compiled
from ._work import remembered, spend

__all__ = ["bounded", "canonical"]

# Longer texts have none of these formats, and some of their checkers would take long.
_SHORT = frozenset(
    (
        *("date", "time", "date-time", "duration", "email", "idn-email", "hostname"),
        *("idn-hostname", "ipv4", "ipv6", "uuid"),
    )
)
_MAX_SHORT = 1000
_MAX_TEXT = 64 * 1024  # for any other format of a text
_MAX_DOUBLE = int(1.7976931348623157e308)
_FEW = 16  # up to this many choices, each is compared

_classes: dict[type[Any], type[Any]] = {}  # class of jsonschema -> class made here


def bounded(cls: type[Any]) -> type[Any]:
    """A validator class of jsonschema with keywords whose work is limited; cached by class."""
    made = _classes.get(cls)
    return _make(cls) if made is None else made


def _make(cls: type[Any]) -> type[Any]:
    keywords = {name: _counted(keyword) for name, keyword in cls.VALIDATORS.items()}
    keywords.update((name, own) for name, own in _KEYWORDS.items() if name in keywords)
    if cls.VALIDATORS.get("type") is OAS30Validator.VALIDATORS["type"]:
        keywords["type"] = _assertion(_type_30)
    made = cast("Any", extend)(cls, keywords)
    original = made.evolve

    def evolve(self: Any, **changes: Any) -> Any:
        evolved = original(self, **changes)
        kind = type(evolved)
        if _classes.get(kind) is kind:
            return evolved
        # `$schema` within a schema selects another dialect, but must not disable this.
        return bounded(kind)(
            evolved.schema,
            format_checker=evolved.format_checker,
            registry=evolved._registry,
            _resolver=evolved._resolver,
        )

    def iter_errors(self: Any, instance: Any) -> Iterator[ValidationError]:
        return islice(every(self, instance), MAX_ERRORS)  # no more are reported

    every = made.iter_errors
    made.evolve, made.iter_errors = evolve, iter_errors
    made = _classes.setdefault(cls, made)
    _classes[made] = made
    kind: type[Any] = made
    return kind


_Keyword = Callable[[Any, Any, Any, Any], "Iterable[ValidationError] | None"]
_Compare = Callable[[Any, Any], bool]


def _counted(keyword: _Keyword) -> _Keyword:
    def counted(validator: Any, value: Any, instance: Any, schema: Any) -> Any:
        spend(len(value) + 1 if isinstance(value, (list, dict)) else 1)
        return keyword(validator, value, instance, schema)

    return counted


def _assertion(holds: Callable[[Any, Any, Any, Any], bool]) -> _Keyword:
    """A keyword that holds or not. Its error has no message, which would quote the value."""

    def check(validator: Any, value: Any, instance: Any, schema: Any) -> Any:
        spend(len(value) + 1 if isinstance(value, (list, dict)) else 1)
        return () if holds(validator, value, instance, schema) else (ValidationError(""),)

    return check


# --- equality ---------------------------------------------------------------------------------


def canonical(value: Any) -> Any:
    """A hashable object that is equal for values that are equal in JSON Schema.

    1 equals 1.0 but not true; the order of members has no meaning. It consists of texts, whose
    hashes are unpredictable: numbers could be chosen to collide.
    """
    spend()
    if isinstance(value, str):
        return "s" + value
    if value is None or isinstance(value, bool):
        return f"c{value}"
    if isinstance(value, (int, float)):
        if isinstance(value, float) and value.is_integer():
            value = int(value)
        return f"n{value!r}"
    if isinstance(value, Mapping):
        return ("o", frozenset((name, canonical(item)) for name, item in value.items()))
    if isinstance(value, (list, tuple)):
        return ("a", *map(canonical, value))
    return repr(value)  # not JSON: a YAML document may have it, but no message


def _unique(validator: Any, value: Any, instance: Any, schema: Any) -> bool:
    if not value or not isinstance(instance, list):
        return True
    seen = set()
    for item in instance:
        key = canonical(item)
        if key in seen:
            return False
        seen.add(key)
    return True


def _enum(validator: Any, value: Any, instance: Any, schema: Any) -> bool:
    if len(value) <= _FEW:
        if isinstance(instance, str):
            return instance in value
        key = canonical(instance)
        return any(_known(each) == key for each in value)
    choices = remembered(value, lambda: frozenset(map(canonical, value)))
    return canonical(instance) in choices


def _const(validator: Any, value: Any, instance: Any, schema: Any) -> bool:
    return bool(canonical(instance) == _known(value))


def _known(value: Any) -> Any:
    """The same for a value of the document, which is needed repeatedly."""
    if isinstance(value, (list, dict)):
        return remembered(value, lambda: canonical(value))
    return canonical(value)


# --- numbers ----------------------------------------------------------------------------------


def _is_number(instance: Any) -> bool:
    return isinstance(instance, (int, float)) and not isinstance(instance, bool)


def _exact(number: int | float) -> Fraction | int:
    """The exact decimal number: 19.99, and not the nearest double."""
    return number if isinstance(number, int) else Fraction(Decimal(repr(number)))


def _multiple(validator: Any, value: Any, instance: Any, schema: Any) -> bool:
    if not _is_number(instance) or not _is_number(value) or value <= 0:
        return True
    if isinstance(value, int) and isinstance(instance, int):
        return instance % value == 0
    return _exact(instance) % _exact(value) == 0


def _bound(
    holds: _Compare, strictly: _Compare | None = None, flag: str = ""
) -> Callable[[Any, Any, Any, Any], bool]:
    """A bound of numbers. In OpenAPI 3.0 another keyword, a flag, makes it exclusive."""

    def check(validator: Any, value: Any, instance: Any, schema: Any) -> bool:
        if not _is_number(instance) or not _is_number(value):
            return True
        compare = strictly if strictly is not None and schema.get(flag) is True else holds
        return compare(instance, value)

    return check


# --- texts ------------------------------------------------------------------------------------


def _pattern(validator: Any, value: Any, instance: Any, schema: Any) -> bool:
    return not isinstance(instance, str) or compiled(value).search(instance)


def _format(validator: Any, value: Any, instance: Any, schema: Any) -> bool:
    checker = validator.format_checker
    if instance is None or checker is None or not isinstance(value, str):
        return True
    if isinstance(instance, str):
        if value == "regex":
            try:
                return compiled(instance) is not None
            except BadPattern:
                return False
        if value in checker.checkers and value not in ("byte", "binary", "password"):
            limit = _MAX_SHORT if value in _SHORT else _MAX_TEXT
            if len(instance) > limit:
                return False
    elif _is_number(instance):
        if value in ("int32", "int64") and isinstance(instance, float) and instance.is_integer():
            instance = int(instance)  # 3e10 is an integer, like 30000000000
        if value in ("float", "double") and abs(instance) > _MAX_DOUBLE:
            return False
    try:
        checker.check(instance, value)
    except (FormatError, ValueError, TypeError, OverflowError):  # some formats raise their own
        return False
    return True


# --- types and sizes --------------------------------------------------------------------------


def _type(validator: Any, value: Any, instance: Any, schema: Any) -> bool:
    kinds = [value] if isinstance(value, str) else value
    return any(validator.is_type(instance, kind) for kind in kinds)


def _type_30(validator: Any, value: Any, instance: Any, schema: Any) -> bool:
    if instance is None:
        return schema.get("nullable") is True
    if value == "string" and schema.get("format") == "binary" and isinstance(instance, bytes):
        return True
    return bool(validator.is_type(instance, value))


def _sized(kind: type[Any], holds: _Compare) -> Callable[[Any, Any, Any, Any], bool]:
    def check(validator: Any, value: Any, instance: Any, schema: Any) -> bool:
        return not isinstance(instance, kind) or holds(len(instance), value)

    return check


# --- what is in objects and arrays --------------------------------------------------------------


def _matches(patterns: Iterable[str], name: str) -> bool:
    return any(compiled(pattern).search(name) for pattern in patterns)


def _pattern_properties(validator: Any, value: Any, instance: Any, schema: Any) -> Any:
    if isinstance(instance, dict):
        for pattern, inner in value.items():
            for name, item in instance.items():
                if compiled(pattern).search(name):
                    yield from validator.descend(item, inner, path=name, schema_path=pattern)


def _additional_properties(validator: Any, value: Any, instance: Any, schema: Any) -> Any:
    if not isinstance(instance, dict):
        return
    known = schema.get("properties", ())
    patterns = schema.get("patternProperties", ())
    extra = (name for name in instance if name not in known and not _matches(patterns, name))
    if value is False:
        if next(extra, None) is not None:
            yield ValidationError("")
    elif isinstance(value, dict):
        for name in extra:
            yield from validator.descend(instance[name], value, path=name)


def _choice(keyword: str) -> _Keyword:
    """`anyOf` and `oneOf`."""
    # A `discriminator` selects a schema; that is left to the OpenAPI library.
    discriminated = OAS30Validator.VALIDATORS[keyword]

    def check(validator: Any, value: Any, instance: Any, schema: Any) -> Any:
        if "discriminator" in schema:
            yield from discriminated(validator, value, instance, schema)
            return
        context: list[ValidationError] = []
        valid = 0
        for index, inner in enumerate(value):
            # No further ones are reported.
            errors = list(islice(validator.descend(instance, inner, schema_path=index), MAX_ERRORS))
            valid += not errors
            if valid and keyword == "anyOf":
                return
            if valid > 1:
                yield ValidationError("")
                return
            context += errors[: max(1, MAX_ERRORS - len(context))]
        if not valid:
            yield ValidationError("", context=context)

    return _counted(check)


def _contains(validator: Any, value: Any, instance: Any, schema: Any) -> Any:
    if not isinstance(instance, list):
        return
    least = schema.get("minContains", 1)
    most = schema.get("maxContains", len(instance))
    found = 0
    for item in instance:
        if found > most or (found >= least and most >= len(instance)):
            break
        found += _is_valid(validator, item, value)
    if not least <= found <= most:
        yield ValidationError("")


def _not(validator: Any, value: Any, instance: Any, schema: Any) -> bool:
    return not _is_valid(validator, instance, value)


def _is_valid(validator: Any, instance: Any, schema: Any) -> bool:
    return next(validator.descend(instance, schema), None) is None


def _unevaluated(kind: type[Any], what: str) -> Any:
    keyword = f"unevaluated{what.title()}"

    def check(validator: Any, value: Any, instance: Any, schema: Any) -> Any:
        if not isinstance(instance, kind):
            return
        rest = {**schema}
        del rest[keyword]
        done = _evaluated(validator, instance, rest, what)
        for at, item in enumerate(instance) if kind is list else instance.items():
            if at not in done and not _is_valid(validator, item, value):
                yield ValidationError("")
                return

    return check


def _evaluated(validator: Any, instance: Any, schema: Any, what: str) -> set[Any]:
    """The indexes or names that a schema evaluates, for which the instance must be valid."""
    if not isinstance(schema, Mapping):
        return set()
    spend(len(schema) + 1)
    found = _by_itself(validator, instance, schema, what)
    for keyword in ("$ref", "$dynamicRef"):
        if keyword in schema:
            resolved = validator._resolver.lookup(schema[keyword])
            target = validator.evolve(schema=resolved.contents, _resolver=resolved.resolver)
            found |= _evaluated(target, instance, resolved.contents, what)
    inner: list[Any] = []
    for keyword in ("allOf", "anyOf", "oneOf"):
        inner += [each for each in schema.get(keyword, ()) if _is_valid(validator, instance, each)]
    if "if" in schema:
        if _is_valid(validator, instance, schema["if"]):
            inner += [schema["if"], schema.get("then")]
        else:
            inner.append(schema.get("else"))
    if what == "properties":
        dependent = schema.get("dependentSchemas", {})
        inner += [each for name, each in dependent.items() if name in instance]
    for each in inner:
        found |= _evaluated(validator, instance, each, what)
    return found


def _by_itself(validator: Any, instance: Any, schema: Any, what: str) -> set[Any]:
    if what == "items":
        if "items" in schema or "unevaluatedItems" in schema:
            return set(range(len(instance)))
        found = set(range(len(schema.get("prefixItems", ()))))
        if "contains" in schema:
            each = enumerate(instance)
            found |= {at for at, item in each if _is_valid(validator, item, schema["contains"])}
        return found
    if "additionalProperties" in schema or "unevaluatedProperties" in schema:
        return set(instance)
    patterns = schema.get("patternProperties", ())
    known = schema.get("properties", ())
    return {name for name in instance if name in known or _matches(patterns, name)}


_KEYWORDS: Mapping[str, Any] = {
    "type": _assertion(_type),
    "enum": _assertion(_enum),
    "const": _assertion(_const),
    "uniqueItems": _assertion(_unique),
    "multipleOf": _assertion(_multiple),
    "minimum": _assertion(_bound(ge, gt, "exclusiveMinimum")),
    "maximum": _assertion(_bound(le, lt, "exclusiveMaximum")),
    "exclusiveMinimum": _assertion(_bound(gt)),
    "exclusiveMaximum": _assertion(_bound(lt)),
    "minLength": _assertion(_sized(str, ge)),
    "maxLength": _assertion(_sized(str, le)),
    "minItems": _assertion(_sized(list, ge)),
    "maxItems": _assertion(_sized(list, le)),
    "minProperties": _assertion(_sized(dict, ge)),
    "maxProperties": _assertion(_sized(dict, le)),
    "pattern": _assertion(_pattern),
    "format": _assertion(_format),
    "not": _assertion(_not),
    "patternProperties": _counted(_pattern_properties),
    "additionalProperties": _counted(_additional_properties),
    "anyOf": _choice("anyOf"),
    "oneOf": _choice("oneOf"),
    "contains": _counted(_contains),
    "unevaluatedItems": _counted(_unevaluated(list, "items")),
    "unevaluatedProperties": _counted(_unevaluated(dict, "properties")),
}
