"""Requests that servers interpret differently.

Validation is worthless if the app interprets a request differently. Such requests are refused;
honest clients do not send them.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, NamedTuple
from urllib.parse import quote, unquote

from restsock.openapi.document import NoSuchMethod, NoSuchPath, Problem, problem

from ._messages import Parameters, loose, loose_field

if TYPE_CHECKING:
    from restsock.openapi.document import Document, Operation

__all__ = ["Declared", "ambiguities", "misleads", "misread", "takes_matrix"]

_ODD = re.compile(r"[%;\\]|//|/\.")
_CONTROL = re.compile(r"[\x00-\x1f\x7f]")


# --- paths --------------------------------------------------------------------------------------


def misread(document: Document, method: str, operation: Operation | None, path: str) -> bool:
    """Whether some server would take a path for that of another operation.

    Some servers decode a path before they split it, or decode it twice, cut off everything after a
    ";", treat a backslash as a "/", or resolve dots and empty segments.

    Args:
        document: The contract.
        method: The method, in capitals.
        operation: The operation of the request; `None` for a path that is not in the document.
        path: The path as sent.
    """
    if _ODD.search(path) is None:
        return False
    try:
        decoded = unquote(path, errors="strict")
    except UnicodeDecodeError:
        return True
    for reading in _readings(path, decoded):
        try:
            found = document.match(method, quote(reading, safe="/;")).operation
        except (NoSuchPath, NoSuchMethod):
            continue  # the app finds the same, or nothing
        if found is not operation:
            return True
    return False


def _readings(path: str, decoded: str) -> Iterator[str]:
    for text in dict.fromkeys((decoded, unquote(decoded))):
        slashed = text.replace("\\", "/")
        segments = slashed.split("/")
        bare = [segment.partition(";")[0] for segment in segments]
        yield slashed
        yield "/".join(bare)
        yield _resolved(segments)
        yield _resolved(bare)
    # Before it is decoded, an encoded ";" is none.
    yield unquote("/".join(segment.partition(";")[0] for segment in path.split("/")))


def _resolved(segments: list[str]) -> str:
    found: list[str] = []
    for segment in segments:
        if segment == "..":
            del found[-1:]
        elif segment not in ("", "."):
            found.append(segment)
    return "/" + "/".join(found)


def misleads(segment: str, *, matrix: bool) -> bool:
    """Whether servers interpret this segment differently, whatever the document contains.

    Args:
        segment: The segment as sent.
        matrix: Whether the contract has matrix parameters (after a ";") there.
    """
    try:
        text = unquote(segment, errors="strict")
    except UnicodeDecodeError:
        return True
    return any(
        "/" in reading
        or "\\" in reading
        or (";" in reading and not matrix)
        or reading.partition(";")[0] in (".", "..")
        or _CONTROL.search(reading) is not None
        for reading in (text, unquote(text))
    )


def takes_matrix(document: Document, operation: Operation) -> bool:
    """Whether an operation has a parameter in its path that is written with a ";"."""
    return any(parameter.style == "matrix" for parameter in document.parameters(operation))


# --- parameters, and fields of forms --------------------------------------------------------------


class Declared(NamedTuple):
    """The name of a parameter or a form field.

    Attributes:
        where: `query`, `header`, `cookie`, or `body` for a form.
        name: The name in the document.
        many: Whether it may be given several times, for a list.
        deep: Whether `name[...]` belongs to it.
    """

    where: str
    name: str
    many: bool
    deep: bool = False


def ambiguities(declared: Sequence[Declared], parameters: Parameters) -> Iterator[Problem]:
    """The names of an operation that apps may interpret differently."""
    for each in declared:
        detail = _ambiguity(each, declared, parameters)
        if detail is not None:
            if each.where == "body":
                yield problem("body", detail, path=[each.name])
            else:
                yield problem(each.where, detail, name=each.name)


def _ambiguity(
    declared: Declared, all_declared: Sequence[Declared], parameters: Parameters
) -> str | None:
    where, name, many, deep = declared
    if where == "header":
        times = parameters.spelled_fields.get(loose_field(name), [])
        if any(spelled != name.lower() for spelled in times):
            return _MISSPELLED  # CGI: X_Y is X-Y
        return _TWICE if len(times) > 1 and not many and name.lower() != "set-cookie" else None
    if where == "cookie":
        if name in parameters.odd_cookies:
            return "is written in a way that servers read differently"
        return _TWICE if len(parameters.cookies.get(name, ())) > 1 and not many else None
    if len(parameters.query.get(name, ())) > 1 and not many:
        return _TWICE
    for spelled in parameters.spelled.get(loose(name), ()):
        own = spelled == name or (deep and spelled.startswith(name + "["))
        if not own and not any((where, spelled) == each[:2] for each in all_declared):
            return _MISSPELLED
    return None


_TWICE = "is given more than once"
_MISSPELLED = "is given in a spelling that servers take for the same"
