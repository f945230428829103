"""The parameters of a message, split as they were sent."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Set
from functools import cached_property
from typing import TYPE_CHECKING
from urllib.parse import quote_plus, unquote_plus

if TYPE_CHECKING:
    from restsock.protocol import Headers

__all__ = ["Parameters", "Unreadable", "decoded", "loose", "loose_field"]

_UNENCODED = re.compile(r"%(?![0-9A-Fa-f]{2})")
_COOKIE = re.compile(r'(?:"[\x21\x23-\x5b\x5d-\x7e ,]*"|[\x21\x23-\x5b\x5d-\x7e ,]*)')


class Unreadable(ValueError):  # a result, whose message is the detail of a problem
    """A text does not match its style or its type."""


class Parameters:
    """The parameters of a message, split but not decoded: a name may have several values.

    Args:
        path: The variables of the path, decoded.
        query: The query as sent.
        headers: The header fields as sent.

    Attributes:
        query: Decoded names, with their values as sent.
    """

    def __init__(self, path: Mapping[str, str], query: str, headers: Headers) -> None:
        self._path = path
        self._headers = headers
        self._query = query
        self.query: dict[str, list[str]] = {}
        for pair in filter(None, query.split("&")):
            name, _, value = pair.partition("=")
            self.query.setdefault(unquote_plus(name), []).append(value)

    @cached_property
    def fields(self) -> dict[str, str]:
        """Header fields by name in lower case; repeated ones joined (RFC 9110, section 5.3)."""
        joined: dict[str, str] = {}
        for name, value in self._headers:
            key = name.decode("latin-1").lower()
            text = value.decode("latin-1")
            if key in joined:
                text = joined[key] + ("; " if key == "cookie" else ", ") + text
            joined[key] = text
        return joined

    @cached_property
    def cookies(self) -> Mapping[str, list[str]]:
        """The cookies, encoded as in a query; a comma, which separates items, is kept."""
        found: dict[str, list[str]] = {}
        for name, value in self._read_cookies():
            if len(value) > 1 and value[0] == value[-1] == '"':
                value = value[1:-1]
            found.setdefault(name, []).append(quote_plus(value, safe=","))
        return found

    @cached_property
    def odd_cookies(self) -> Set[str]:
        """The names of cookies whose values servers interpret differently: with a quote, say."""
        return {name for name, value in self._read_cookies() if _COOKIE.fullmatch(value) is None}

    @cached_property
    def spelled(self) -> Mapping[str, set[str]]:
        """The names in the query, by their form for a lenient server."""
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
        """The names of header fields in lower case, with repetitions, by their form in CGI."""
        found: dict[str, list[str]] = {}
        for name, _ in self._headers:
            text = name.decode("latin-1").lower()
            found.setdefault(loose_field(text), []).append(text)
        return found

    def value(self, where: str, name: str) -> str | None:
        """The first value of a parameter, decoded.

        Raises:
            Unreadable: It is not percent-encoded UTF-8.
        """
        if where == "path":
            return self._path.get(name)
        if where == "header":
            return self.fields.get(name.lower())
        values = (self.query if where == "query" else self.cookies).get(name)
        return None if values is None else decoded(values[0])

    def _read_cookies(self) -> Iterator[tuple[str, str]]:
        """The cookies in order, with repetitions and with their values as sent."""
        for pair in self.fields.get("cookie", "").split(";"):
            name, equals, value = (part.strip(" \t") for part in pair.partition("="))
            if equals and name:
                yield name, value


def loose(name: str) -> str:
    """A name as the most lenient server sees it: `N`, `n[]` and `n[a]` are `n`."""
    return name.partition("[")[0].casefold()


def loose_field(name: str) -> str:
    """The same for a header field."""
    return name.lower().replace("_", "-")


def decoded(text: str) -> str:
    """A text of a query or a form, decoded.

    Raises:
        Unreadable: It is not percent-encoded UTF-8, which servers handle differently.
    """
    try:
        if "%" not in text or _UNENCODED.search(text) is None:
            return unquote_plus(text, errors="strict")
    except UnicodeDecodeError:
        pass
    raise Unreadable("has to be percent-encoded UTF-8")
