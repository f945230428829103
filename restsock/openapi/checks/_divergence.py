"""What servers read differently, so that what was checked might not be what is used.

A check is worth nothing where the app takes a request for another one than the checker does. Such
requests are refused; honest clients send none.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, NamedTuple
from urllib.parse import quote, unquote

from restsock.openapi.document import NoSuchMethod, NoSuchPath

from ._messages import Parameters, loose, loose_field

if TYPE_CHECKING:
    from restsock.openapi.document import Document, Operation

__all__ = [
    "JSON_CHARSETS",
    "TEXT_CHARSETS",
    "Declared",
    "ambiguity",
    "charset_of",
    "content_type_of",
    "field_of",
    "misleads",
    "misread",
    "takes_matrix",
]

Headers = Iterable[tuple[bytes, bytes]]

_ODD = re.compile(r"[%;\\]|//|/\.")
_CONTROL = re.compile(r"[\x00-\x1f\x7f]")


# --- paths --------------------------------------------------------------------------------------


def misread(document: Document, method: str, operation: Operation | None, path: str) -> bool:
    """Whether some server would take a path for that of another operation.

    Some decode a path before they take it apart, or do so twice, cut off what follows a ";", take a
    backslash for a "/", or resolve dots and empty segments.

    Args:
        document: the contract.
        method: in capitals.
        operation: what the request was found to be; `None`: no path of the document.
        path: as sent.
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
            continue  # the app will say the same, or take it for what was found here
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
    """Whether servers differ in what path this segment makes, whatever the document has.

    Args:
        segment: as sent.
        matrix: whether the contract wants what is behind a ";" there.
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
    return any(
        parameter.get("in") == "path" and parameter.get("style") == "matrix"
        for parameter in document.parameters(operation)
    )


# --- parameters, and fields of forms --------------------------------------------------------------


class Declared(NamedTuple):
    """A name by which something is given.

    Attributes:
        where: `query`, `header`, `cookie`, or `body` for a form.
        name: as the document spells it.
        many: whether it may be given several times: a list.
        deep: whether `name[...]` belongs to it.
    """

    where: str
    name: str
    many: bool
    deep: bool = False


def ambiguity(
    declared: Declared, all_declared: Mapping[str, set[str]], parameters: Parameters
) -> str | None:
    """Why it is not certain what an app will read for a name; `None` if it is.

    Args:
        declared: the name.
        all_declared: all names of the operation, by where they are.
        parameters: of the request.
    """
    where, name, many, deep = declared
    if where == "header":
        times = parameters.spelled_fields.get(loose_field(name), [])
        if any(spelled != name.lower() for spelled in times):
            return "is given in a spelling that servers take for the same"  # CGI: X_Y is X-Y
        return _TWICE if len(times) > 1 and not many and name.lower() != "set-cookie" else None
    if where == "cookie":
        if name in parameters.odd_cookies:
            return "is written in a way that servers read differently"
        return _TWICE if len(parameters.cookies.get(name, ())) > 1 and not many else None
    if len(parameters.query.get(name, ())) > 1 and not many:
        return _TWICE
    for spelled in parameters.spelled.get(loose(name), ()):
        own = spelled == name or (deep and spelled.startswith(name + "["))
        if not own and spelled not in all_declared[where]:
            return "is given in a spelling that servers take for the same"
    return None


_TWICE = "is given more than once"


# --- bodies -------------------------------------------------------------------------------------


def field_of(headers: Headers, name: bytes) -> str | None:
    """The first field of this name, which is given in lower case."""
    for key, value in headers:
        if len(key) == len(name) and key.lower() == name:
            return value.decode("latin-1")
    return None


def content_type_of(headers: Headers) -> str | None:
    """The content type; `None` without one, and one that nothing matches if there are several."""
    found = [value for name, value in headers if name.lower() == b"content-type"]
    if not found:
        return None
    return found[0].decode("latin-1") if len(found) == 1 else ""


JSON_CHARSETS = ("utf-8", "utf8", "us-ascii", "ascii")
TEXT_CHARSETS = (*JSON_CHARSETS, "iso-8859-1", "latin-1")
_CHARSET = re.compile(r";\s*charset\s*=\s*(\"[^\"]*\"|[^\s;]*)", re.IGNORECASE)


def charset_of(content_type: str) -> str:
    """The charset that is said, in lower case; UTF-8 if none is, and "" if several are."""
    found = {text.strip('"').lower() for text in _CHARSET.findall(content_type)}
    if not found:
        return "utf-8"
    return found.pop() if len(found) == 1 else ""
