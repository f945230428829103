"""Requests and responses as openapi-core wants to see them.

Its own classes for frameworks are not used: that for `requests` does not decode paths, drops blank
query values and asserts on bodies that stream.

The path that these give is the template of the operation that was found already, and the "finder"
only looks that up: openapi-core would try all templates again, and would want the host of a logical
peer to be one of `servers`.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Set
from functools import cached_property
from typing import Any
from urllib.parse import parse_qsl, quote_plus, unquote_plus

from jsonschema_path import SchemaPath
from openapi_core.datatypes import RequestParameters
from openapi_core.templating.datatypes import TemplateResult
from openapi_core.templating.paths.datatypes import PathOperationServer
from openapi_core.templating.paths.exceptions import OperationNotFound
from werkzeug.datastructures import Headers, ImmutableMultiDict

from restsock.openapi.document import Match

__all__ = [
    "Finder",
    "Parameters",
    "RequestMessage",
    "ResponseMessage",
    "decoded",
    "loose",
    "loose_field",
    "operation_path",
]

_UNENCODED = re.compile(r"%(?![0-9A-Fa-f]{2})")
_COOKIE = re.compile(r'(?:"[\x21\x23-\x5b\x5d-\x7e ,]*"|[\x21\x23-\x5b\x5d-\x7e ,]*)')
_NO_QUERY: ImmutableMultiDict[str, str] = ImmutableMultiDict()


class Parameters:
    """Where parameters are, taken apart but not decoded: values of a query may be lists.

    Args:
        path: the variables of the path, decoded.
        query: as sent.
        headers: name and value pairs, as sent.

    Attributes:
        query: decoded names, values as sent.
    """

    def __init__(
        self, path: Mapping[str, str], query: str, headers: Iterable[tuple[bytes, bytes]]
    ) -> None:
        self._path = path
        self._headers = headers
        self._query = query
        self.query: dict[str, list[str]] = {}
        for pair in filter(None, query.split("&")):
            name, _, value = pair.partition("=")
            self.query.setdefault(unquote_plus(name), []).append(value)

    @cached_property
    def fields(self) -> dict[str, str]:
        """Header fields by their names in lower case."""
        return _joined(self._headers)

    @cached_property
    def cookies(self) -> Mapping[str, list[str]]:
        """The cookies, as in a query: encoded, but for the comma, which separates."""
        found: dict[str, list[str]] = {}
        for name, value in _read_cookies(self.fields):
            found.setdefault(name, []).append(quote_plus(_unquoted(value), safe=","))
        return found

    @cached_property
    def odd_cookies(self) -> Set[str]:
        """The names of those whose values servers read differently: with quotes in them, say."""
        found = _read_cookies(self.fields)
        return {name for name, value in found if _COOKIE.fullmatch(value) is None}

    @cached_property
    def spelled(self) -> Mapping[str, set[str]]:
        """The names in the query, by what they are to a server that reads them loosely."""
        found: dict[str, set[str]] = {}
        for name in self.query:
            found.setdefault(loose(name), set()).add(name)
        if ";" in self._query:  # which once separated, too
            for pair in self._query.split("&"):
                for part in pair.split(";")[1:]:
                    name = unquote_plus(part.partition("=")[0])
                    found.setdefault(loose(name), set()).add(f";{name}")
        return found

    @cached_property
    def spelled_fields(self) -> Mapping[str, list[str]]:
        """The names of header fields in lower case, each time, by what they are to a CGI server."""
        found: dict[str, list[str]] = {}
        for name, _ in self._headers:
            text = name.decode("latin-1").lower()
            found.setdefault(loose_field(text), []).append(text)
        return found

    def value(self, where: str, name: str) -> str | None:
        """The one value of a parameter, decoded.

        Raises:
            ValueError: it is not percent-encoded UTF-8.
        """
        if where == "path":
            return self._path.get(name)
        if where == "header":
            return self.fields.get(name.lower())
        values = (self.query if where == "query" else self.cookies).get(name)
        return None if values is None else decoded(values[0])


def loose(name: str) -> str:
    """A name as the most careless server has it: `N`, `n[]` and `n[a]` are `n`."""
    return name.partition("[")[0].casefold()


def loose_field(name: str) -> str:
    """The same of a header field."""
    return name.lower().replace("_", "-")


def decoded(text: str) -> str:
    """What stands in a query or a form.

    Raises:
        ValueError: it is not percent-encoded UTF-8. What servers make of that differs.
    """
    if "%" in text and _UNENCODED.search(text) is not None:
        raise ValueError("a % that encodes nothing")
    return unquote_plus(text, errors="strict")


class RequestMessage:
    """A request, for openapi-core's `Request` protocol.

    Args:
        match: the operation it is for.
        query: as sent.
        headers: name and value pairs, as sent.
        content_type: of the body, by the contract.
        body: the body, or `None`.
    """

    host_url = ""

    def __init__(
        self,
        match: Match,
        query: str,
        headers: Iterable[tuple[bytes, bytes]],
        *,
        content_type: str = "",
        body: bytes | None = None,
    ) -> None:
        operation = match.operation
        self.path = operation.path
        self.method = operation.method
        self.content_type = content_type
        self.body = body
        fields = _joined(headers)
        self.parameters = RequestParameters(
            query=_multi(parse_qsl(query, keep_blank_values=True)),
            header=Headers(list(fields.items())),
            cookie=_multi([(name, _unquoted(value)) for name, value in _read_cookies(fields)]),
            path=match.variables,
        )


class ResponseMessage:
    """A response, for openapi-core's `Response` protocol. Its body is looked at elsewhere."""

    content_type = ""
    data: bytes | None = None

    def __init__(self, status: int, headers: Iterable[tuple[bytes, bytes]]) -> None:
        self.status_code = status
        self.headers = Headers(list(_joined(headers).items()))


class Finder:
    """Looks up what a `RequestMessage` is for, in place of openapi-core's search.

    Args:
        spec: the document.
        base_url: without meaning here.
    """

    def __init__(self, spec: SchemaPath, base_url: str | None = None) -> None:
        self._spec = spec
        self._found: dict[tuple[str, str], PathOperationServer] = {}

    def find(self, method: str, name: str) -> PathOperationServer:
        """The operation with this method and path template."""
        found = self._found.get((method, name))
        if found is None:
            path = self._spec / "paths" / name
            operation = operation_path(self._spec, method, name)
            if not operation.exists():
                raise OperationNotFound(name, method)
            result = TemplateResult(name, {})
            found = PathOperationServer(path, operation, None, result, TemplateResult("", {}))
            self._found[method, name] = found
        return found


def operation_path(spec: SchemaPath, method: str, template: str) -> SchemaPath:
    """Where an operation stands in the document."""
    item = spec / "paths" / template
    operation = item / method.lower()
    return operation if operation.exists() else item / "additionalOperations" / method


def _multi(pairs: list[tuple[str, str]]) -> Mapping[str, Any]:
    return ImmutableMultiDict(pairs) if pairs else _NO_QUERY


def _joined(headers: Iterable[tuple[bytes, bytes]]) -> dict[str, str]:
    """Header fields, whatever the case of their names; a repeated one is joined (RFC 9110, 5.3)."""
    joined: dict[str, str] = {}
    for name, value in headers:
        key = name.decode("latin-1").lower()
        text = value.decode("latin-1")
        if key in joined:
            text = joined[key] + ("; " if key == "cookie" else ", ") + text
        joined[key] = text
    return joined


def _read_cookies(fields: Mapping[str, str]) -> Iterator[tuple[str, str]]:
    """The cookies, in order and as often as they are there; their values as they were sent."""
    for pair in fields.get("cookie", "").split(";"):
        name, equals, value = (part.strip(" \t") for part in pair.partition("="))
        if equals and name:
            yield name, value


def _unquoted(value: str) -> str:
    return value[1:-1] if len(value) > 1 and value[0] == value[-1] == '"' else value
