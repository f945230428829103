"""Finds the operation of a request: method and path, against the templates of a document.

Segments are compared decoded, so `/p%65ts` is `/pets`, and a `%2F` stays inside its segment. If
several templates match, the one with the fewest variables that has the method wins (OpenAPI 3.1,
"Paths Object").
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, NamedTuple
from urllib.parse import unquote

from restsock._patterns import gaps

__all__ = ["Match", "NoSuchMethod", "NoSuchPath", "Operation", "Routes"]

_VARIABLE = re.compile(r"\{([^{}/]+)\}")


class Operation(NamedTuple):
    """One operation of a document.

    Attributes:
        id: Its `operationId`, if it has one.
        method: The method, in capitals.
        path: Its path template in the document.
        mapping: The Operation Object. It may contain `$ref`s: see `Document.resolve`.
        parameters: The parameters of the path item. `Document.parameters` has all parameters.
    """

    id: str | None
    method: str
    path: str
    mapping: Mapping[str, Any]
    parameters: tuple[Mapping[str, Any], ...]

    def __str__(self) -> str:
        return self.id or f"{self.method} {self.path}"


class NoSuchPath(LookupError):  # a result more than an error
    """No path of the document matches."""


class NoSuchMethod(LookupError):  # likewise
    """The path does not have this method; `allowed` are its methods, sorted."""

    def __init__(self, allowed: tuple[str, ...]) -> None:
        super().__init__(", ".join(allowed))
        self.allowed = allowed


class Match(NamedTuple):
    """The operation of a request, and the values of the path's variables, decoded."""

    operation: Operation
    variables: dict[str, str]


class _Template(NamedTuple):
    segments: tuple[tuple[str, ...], ...]  # of each the texts around its variables
    names: tuple[str, ...]
    operations: dict[str, Operation]


class Routes:
    """The paths of a document: its operations, each with its base path."""

    def __init__(self, operations: Iterable[tuple[str, Operation]]) -> None:
        self._static: dict[tuple[str, ...], dict[str, Operation]] = {}
        templates: dict[tuple[str, str], _Template] = {}
        for base, operation in operations:
            key = (base, operation.path)
            template = templates.get(key)
            if template is None:
                template = templates[key] = _compile(base + operation.path)
            template.operations[operation.method] = operation
        self._templates: dict[int, list[_Template]] = {}
        for template in templates.values():
            if template.names:
                self._templates.setdefault(len(template.segments), []).append(template)
            else:
                whole = tuple(text for (text,) in template.segments)
                self._static.setdefault(whole, {}).update(template.operations)
        for group in self._templates.values():
            group.sort(key=lambda template: len(template.names))

    def match(self, method: str, path: str) -> Match:
        """See `Document.match`."""
        segments = tuple(map(unquote, path.split("/"))) if "%" in path else tuple(path.split("/"))
        allowed: set[str] = set()
        for operations, variables in self._candidates(segments):
            operation = operations.get(method)
            if operation is None and method == "HEAD":
                operation = operations.get("GET")  # as in every framework
            if operation is not None:
                return Match(operation, variables)
            allowed.update(operations)
        if allowed:
            raise NoSuchMethod(tuple(sorted(allowed)))
        raise NoSuchPath(path)

    def _candidates(
        self, segments: tuple[str, ...]
    ) -> Iterator[tuple[dict[str, Operation], dict[str, str]]]:
        static = self._static.get(segments)
        if static is not None:
            yield static, {}
        for template in self._templates.get(len(segments), ()):
            variables = _variables(template, segments)
            if variables is not None:
                yield template.operations, variables


def _compile(path: str) -> _Template:
    segments: list[tuple[str, ...]] = []
    names: list[str] = []
    for segment in path.split("/"):
        parts = _VARIABLE.split(segment)  # texts and names in turn
        segments.append(tuple(map(unquote, parts[::2])))
        names += parts[1::2]
    return _Template(tuple(segments), tuple(names), {})


def _variables(template: _Template, segments: tuple[str, ...]) -> dict[str, str] | None:
    values: list[str] = []
    for wanted, segment in zip(template.segments, segments, strict=True):
        found = gaps(wanted, segment, least=1)
        if found is None:
            return None
        values += found
    return dict(zip(template.names, values, strict=True))
