"""`Schema`: a JSON Schema that is not part of a document, with the same limits on its work."""

from __future__ import annotations

from collections.abc import Mapping
from copy import deepcopy
from itertools import islice
from typing import Any, cast

from jsonschema.validators import Draft202012Validator, validator_for
from referencing import Registry, Resource
from referencing.exceptions import Unresolvable
from referencing.jsonschema import DRAFT202012

from restsock._exceptions import SpecError

from ._checking import check_patterns, metaschema
from ._keywords import bounded
from ._problems import MAX_ERRORS, Problem, problem, schema_problems
from ._work import SECONDS, TooMuchWork, spend, within

__all__ = ["Schema"]


class Schema:
    """A JSON Schema that validates values. Immutable; threads may share it.

    Its dialect is that of its `$schema`, by default 2020-12. It may refer only to itself: nothing
    is fetched.

    Args:
        schema: The schema.
        source: Its name in errors.

    Raises:
        SpecError: It is not valid, its dialect is unknown, a reference is unresolvable, or a
            pattern cannot run in linear time.
        TypeError: It is neither a mapping nor a bool.
    """

    def __init__(self, schema: Mapping[str, Any] | bool, *, source: str = "schema") -> None:
        if not isinstance(schema, (Mapping, bool)):
            raise TypeError(f"{source}: a schema is a mapping or a bool, not {_kind(schema)}")
        dialect = schema.get("$schema") if isinstance(schema, Mapping) else None
        cls: Any = None
        if dialect is None:
            cls = Draft202012Validator
        elif isinstance(dialect, str):
            cls = validator_for({"$schema": dialect}, default=cast("Any", None))
        if cls is None:
            raise SpecError(f"{source}: the dialect {dialect!r} is not known")
        try:
            with within(SECONDS):
                self._validator = self._made(cls, deepcopy(schema), source)
        except TooMuchWork as exc:
            raise SpecError(f"{source}: {exc}") from None
        except RecursionError:
            raise SpecError(f"{source}: it is nested too deeply") from None

    @staticmethod
    def _made(dialect: Any, schema: Any, source: str) -> Any:
        if isinstance(schema, Mapping):
            check_patterns(schema, source)
        for found in schema_problems(metaschema(dialect).iter_errors(schema), "body"):
            raise SpecError(f"{source}: not valid at {found['pointer']}: {found['detail']}")
        resource = Resource.from_contents(schema, default_specification=DRAFT202012)
        resolver = Registry().with_resource("", resource).crawl().resolver()
        _check_references(resource, resolver, source)
        return bounded(dialect)(schema, format_checker=dialect.FORMAT_CHECKER, _resolver=resolver)

    def problems(self, value: Any, *, seconds: float = SECONDS) -> list[Problem]:
        """Validates a value; returns its problems, none if it is valid. It blocks meanwhile.

        Args:
            value: A JSON value.
            seconds: Seconds of processor time that this may take.

        Raises:
            TooMuchWork: It takes more time.
        """
        with within(seconds):
            try:
                errors = self._validator.iter_errors(value)
                return list(islice(schema_problems(errors, "body"), MAX_ERRORS))
            except RecursionError:
                return [problem("body", "is nested too deeply")]


def _check_references(resource: Any, resolver: Any, source: str) -> None:
    """Resolves each reference once, so that none fails later."""
    spend(20)
    contents = resource.contents
    if isinstance(contents, Mapping):
        for keyword in ("$ref", "$dynamicRef"):
            reference = contents.get(keyword)
            if isinstance(reference, str):
                try:
                    resolver.lookup(reference)
                except Unresolvable:
                    raise SpecError(f"{source}: {reference!r} leads nowhere") from None
    for inner in resource.subresources():
        _check_references(inner, resolver.in_subresource(inner), source)


def _kind(value: object) -> str:
    return type(value).__name__
