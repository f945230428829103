"""An operation as a caller needs it: the names of its arguments, and the request they make.

No request is sent here, so the blocking and the async client share all of it.
"""

from __future__ import annotations

import keyword
import re
import unicodedata
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from difflib import get_close_matches
from typing import TYPE_CHECKING, Any
from urllib.parse import quote, unquote

from restsock.openapi.document import LOCATIONS, Parameter

from ._bodies import Content, encode_body
from ._call_errors import (
    BadBody,
    BadParameter,
    MissingParameter,
    UnknownOperation,
    UnknownParameter,
)
from ._parameters import (
    Unserializable,
    write_cookies,
    write_header,
    write_path,
    write_query,
)

if TYPE_CHECKING:
    from restsock.openapi.document import Document, Operation

__all__ = ["BODY", "Arguments", "Catalog", "PreparedCall", "RequestBody"]

BODY = "body"
"""The argument that is the request body."""

_VARIABLE = re.compile(r"\{([^{}/]+)\}")
# What a path template may hold as it is, "%" included: it is a part of a URL already.
_PATH_TEXT = "/:@!$&'()*+,;=-._~%"
# Header parameters of these names "shall be ignored" (Parameter Object): they are said elsewhere.
_NOT_PARAMETERS = frozenset(("accept", "content-type", "authorization"))


@dataclass(frozen=True, slots=True)
class PreparedCall:
    """A request that is ready to be sent.

    Attributes:
        method: in capitals.
        base: the path in front of all paths of the document.
        path: of the operation, with the query, percent-encoded.
        headers: names and values; Content-Type and Accept among them. No cookies.
        cookies: names and values, in order.
        body: bytes, or pieces that are made as they are sent; `None` where there is no body.
    """

    method: str
    base: str
    path: str
    headers: dict[str, str] = field(repr=False)
    cookies: list[tuple[str, str]] = field(repr=False)
    body: Content | None = field(repr=False)

    @property
    def target(self) -> str:
        """Path and query, as they are sent."""
        return self.base + self.path

    def fields(self) -> list[tuple[str | bytes, str | bytes]]:
        """The header fields, the one for the cookies included."""
        fields: list[tuple[str | bytes, str | bytes]] = list(self.headers.items())
        if self.cookies:
            fields.append(("Cookie", "; ".join(f"{name}={value}" for name, value in self.cookies)))
        return fields


@dataclass(frozen=True, slots=True)
class RequestBody:
    """The request body, as the contract describes it.

    Attributes:
        required: whether a call has to give one.
        content: what is offered, by media type or range.
        description: for people.
    """

    required: bool
    content: Mapping[str, Any]
    description: str


class Arguments:
    """One operation: what a call of it takes, and the request that it makes.

    Attributes:
        operation: as the document has it.
        document: which one that is.
        key: the operation's id, or "METHOD /path" where it has none.
        base: the path in front of its own, from the first of the document's `servers`.
        parameters: by the names of the arguments, in the order of the signature.
        body: what is known of the body; `None` where the operation takes none.
    """

    def __init__(self, document: Document, operation: Operation) -> None:
        self.document = document
        self.operation = operation
        self.key = str(operation)
        self.body = _request_body(document, operation)
        self.parameters = _named(_parameters(document, operation), taken=self.body is not None)
        self.base = document.base_paths(operation)[0]
        # Each name of the wire -> the arguments it can mean.
        self._wire: dict[str, list[str]] = {}
        for argument, parameter in self.parameters.items():
            self._wire.setdefault(parameter.name, []).append(argument)
        self._accept = _accept(document, operation)

    def call(
        self,
        arguments: Mapping[str, Any],
        *,
        headers: Mapping[str, str] | None = None,
        content_type: str | None = None,
        base_path: str | None = None,
        supplied: frozenset[tuple[str, str]] = frozenset(),
    ) -> PreparedCall:
        """Makes the request of a call.

        Args:
            arguments: by name: that of the signature, or the one on the wire where it says the
                same. `None` stands for an argument that is not given.
            headers: more header fields, which win over those of the contract.
            content_type: which of the offered media types the body is.
            base_path: in front of the path, instead of the one from the document's `servers`.
            supplied: places and names (of header fields in lower case) of what whoever sends the
                request will add to it, so that it is not missing.

        Raises:
            UnknownParameter, MissingParameter, BadParameter, BadBody: see `ArgumentError`.
        """
        supplied |= {("header", name.lower()) for name in headers or ()}
        given = self._recognized(arguments, supplied)
        body = given.pop(BODY, None) if self.body is not None else None
        variables: dict[str, str] = {}
        query: list[tuple[str, str]] = []
        cookies: list[tuple[str, str]] = []
        fields = {"Accept": self._accept} if self._accept else {}
        for argument, value in given.items():
            parameter = self.parameters[argument]
            try:
                if parameter.location == "path":
                    variables[parameter.name] = write_path(parameter, value)
                elif parameter.location in ("query", "querystring"):
                    query += write_query(parameter, value)
                elif parameter.location == "header":
                    fields[parameter.name] = write_header(parameter, value)
                else:
                    cookies += write_cookies(parameter, value)
            except Unserializable as exc:
                raise BadParameter(
                    f"the {parameter} cannot be sent: {exc}",
                    operation=self.key,
                    parameter=argument,
                    location=parameter.location,
                ) from exc
        content, media_type = self._encoded(body, content_type)
        if media_type is not None:
            fields["Content-Type"] = media_type
        path = self._path(variables)
        if query:
            path += "?" + "&".join(f"{name}={text}" if name else text for name, text in query)
        for name, text in (headers or {}).items():
            hidden = [other for other in fields if other.lower() == name.lower()]
            for other in hidden:
                del fields[other]
            fields[name] = text
        base = self.base if base_path is None else base_path
        return PreparedCall(self.operation.method, base, path, fields, cookies, content)

    def _recognized(
        self, arguments: Mapping[str, Any], supplied: frozenset[tuple[str, str]]
    ) -> dict[str, Any]:
        """What is given, by argument names, once each."""
        given: dict[str, Any] = {}
        for name, value in arguments.items():
            argument = self._argument(name)
            if value is None:
                continue
            if argument in given:
                raise UnknownParameter(
                    f"{argument!r} is given twice, once as {name!r}",
                    operation=self.key,
                    parameter=name,
                    location=self._location(argument),
                )
            given[argument] = value
        for argument, parameter in self.parameters.items():
            if parameter.required and argument not in given and parameter.key not in supplied:
                raise MissingParameter(
                    f"the {parameter} is missing: give {argument}=",
                    operation=self.key,
                    parameter=argument,
                    location=parameter.location,
                )
        if self.body is not None and self.body.required and BODY not in given:
            raise BadBody("the body is missing: give body=", operation=self.key)
        return given

    def _argument(self, name: str) -> str:
        if name in self.parameters or (name == BODY and self.body is not None):
            return name
        known = self._wire.get(name, ())
        if len(known) == 1:
            return known[0]
        if known:
            hint = f"{name!r} may be any of several parameters: say {' or '.join(known)}"
        elif name == BODY:
            raise BadBody("it takes no body", operation=self.key)
        else:
            names = [*self.parameters, *([BODY] if self.body is not None else [])]
            hint = f"it has no parameter {name!r}{_did_you_mean(name, names)}"
            if names:
                hint += f"; it has {', '.join(names)}"
        raise UnknownParameter(hint, operation=self.key, parameter=name, location="call")

    def _location(self, argument: str) -> str:
        parameter = self.parameters.get(argument)
        return "body" if parameter is None else parameter.location

    def _encoded(self, body: Any, content_type: str | None) -> tuple[Content | None, str | None]:
        if body is None:
            return None, None
        assert self.body is not None
        try:
            return encode_body(body, self.body.content, content_type)
        except Unserializable as exc:
            raise BadBody(f"the body cannot be sent: {exc}", operation=self.key) from exc

    def _path(self, variables: Mapping[str, str]) -> str:
        parts = _VARIABLE.split(self.operation.path)
        path = "".join(
            variables[part] if index % 2 else quote(part, safe=_PATH_TEXT)
            for index, part in enumerate(parts)
        )
        for segment, template in zip(path.split("/"), self.operation.path.split("/"), strict=False):
            # RFC 3986, section 5.2.4: what is on the way would take it out, and another operation
            # would be called.
            if unquote(segment) in (".", "..") and segment != template:
                raise BadParameter(
                    f"{template!r} would become {unquote(segment)!r}, which leads to another path",
                    operation=self.key,
                    location="path",
                )
        self._stay(path)
        return path

    def _stay(self, path: str) -> None:
        """`/pets/{id}` with the id "feed" is another operation, where there is a `/pets/feed`."""
        try:
            found = self.document.match(self.operation.method, self.base + path).operation
        except LookupError:
            return
        if len(_VARIABLE.findall(found.path)) < len(_VARIABLE.findall(self.operation.path)):
            raise BadParameter(
                f"with these values the path is that of {found}",
                operation=self.key,
                location="path",
            )


class Catalog:
    """The operations of a document, by all the names that they have."""

    def __init__(self, document: Document) -> None:
        self.document = document
        self._operations: dict[str, Operation] = {}
        for operation in document.operations:
            self._operations.setdefault(str(operation), operation)
        self._made: dict[str, Arguments] = {}

    @property
    def keys(self) -> tuple[str, ...]:
        """Each operation's id, or "METHOD /path" where it has none."""
        return tuple(self._operations)

    def find(self, name: str) -> Arguments:
        """The operation with this id, or "METHOD /path", which every one has.

        Raises:
            UnknownOperation: there is none. The message has the names that are near.
            SpecError: the document is wrong about it.
        """
        found = self._made.get(name)
        if found is not None:
            return found
        operation = self._operations.get(name) or self._by_path(name)
        if operation is None:
            raise UnknownOperation(self._unknown(name))
        # Two threads may both make it; they make the same.
        found = self._made[name] = Arguments(self.document, operation)
        return found

    def _by_path(self, name: str) -> Operation | None:
        method, _, path = name.partition(" ")
        for operation in self.document.operations:
            if operation.path == path and operation.method in (method, method.upper()):
                return operation
        return None

    def _unknown(self, name: str) -> str:
        title = self.document.title or "the document"
        return f"{title} has no operation {name!r}{_did_you_mean(name, self.keys)}"


def identifier(name: str) -> str:
    """A name of the wire as one of Python: `page[size]` as `page_size`, `from` as `from_`."""
    made = ""
    for character in unicodedata.normalize("NFKC", name).strip():
        if ("_" + character).isidentifier():
            made += character
        elif not made.endswith("_"):
            made += "_"
    made = made.strip("_") or "_"
    if not made.isidentifier():
        made = "_" + made
    return made + "_" if keyword.iskeyword(made) else made


def _named(parameters: Iterable[Parameter], *, taken: bool) -> dict[str, Parameter]:
    """Parameters by the names of their arguments.

    Two of one name, or one named like the body, are told apart by their places: `path_id`,
    `query_id`, `query_body`.
    """
    ordered = sorted(
        parameters, key=lambda each: (not each.required, LOCATIONS.index(each.location))
    )
    simple = [
        identifier(each.name.lower() if each.location == "header" else each.name)
        for each in ordered
    ]
    # Those that have their name for themselves keep it, whatever the others would like.
    used = {name for name in simple if simple.count(name) == 1} - ({BODY} if taken else set())
    named: dict[str, Parameter] = {}
    for name, parameter in zip(simple, ordered, strict=True):
        if name not in used:
            name = f"{parameter.location}_{name}"
            while name in used:
                name += "_"
            used.add(name)
        named[name] = parameter
    return named


def _parameters(document: Document, operation: Operation) -> list[Parameter]:
    variables = _VARIABLE.findall(operation.path)
    found = [
        each
        for each in document.parameters(operation)
        if not (each.location == "header" and each.name.lower() in _NOT_PARAMETERS)
        and not (each.location == "path" and each.name not in variables)
    ]
    declared = {each.name for each in found if each.location == "path"}
    # A variable that the document forgets to describe is still needed for the path.
    found += (
        Parameter.of({"name": name, "in": "path"}) for name in variables if name not in declared
    )
    return found


def _request_body(document: Document, operation: Operation) -> RequestBody | None:
    contract = document.resolve(operation.mapping.get("requestBody"))
    if not contract or not contract.get("content"):
        return None
    return RequestBody(
        bool(contract.get("required", False)),
        _resolved(document, contract["content"]),
        str(contract.get("description") or ""),
    )


def _resolved(document: Document, content: Mapping[str, Any]) -> dict[str, Any]:
    """Media types, with the schema that each of them has."""
    resolved = {}
    for name, media in content.items():
        media = document.resolve(media)
        resolved[name] = {**media, "schema": document.resolve(media.get("schema", {}))}
    return resolved


def _accept(document: Document, operation: Operation) -> str | None:
    """The media types of the answers; everything else is better than a 406."""
    types: dict[str, None] = {}
    for response in (operation.mapping.get("responses") or {}).values():
        types.update(dict.fromkeys(document.resolve(response).get("content") or ()))
    types.pop("*/*", None)
    return ", ".join([*types, "*/*;q=0.1"]) if types else None


def _did_you_mean(name: str, names: Iterable[str]) -> str:
    by_case = {known.lower(): known for known in names}
    near = get_close_matches(name.lower(), by_case, n=3, cutoff=0.6)
    return f"; did you mean {' or '.join(repr(by_case[each]) for each in near)}?" if near else ""
