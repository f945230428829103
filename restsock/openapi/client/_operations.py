"""An operation from the caller's side: the names of its arguments, and the request they make.

No request is sent here, so the blocking and the async client share all of it.
"""

from __future__ import annotations

import keyword
import re
import unicodedata
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, NamedTuple
from urllib.parse import quote, unquote

from restsock.openapi.document import LOCATIONS, Parameter, did_you_mean

from ._bodies import Content, encode_body
from ._call_errors import (
    ArgumentError,
    BadBody,
    BadParameter,
    MissingParameter,
    UnknownParameter,
)
from ._parameters import Unserializable, write_cookies, write_header, write_path, write_query

if TYPE_CHECKING:
    from restsock.openapi.document import Document, Operation

__all__ = ["BODY", "Arguments", "PreparedCall", "RequestBody"]

BODY = "body"
"""The argument that is the request body."""

_VARIABLE = re.compile(r"\{([^{}/]+)\}")
# What a path template may contain unencoded, "%" included: it is a part of a URL already.
_PATH_TEXT = "/:@!$&'()*+,;=-._~%"
# Header parameters of these names "shall be ignored" (Parameter Object): the client sets them.
_NOT_PARAMETERS = frozenset(("accept", "content-type", "authorization"))


@dataclass(frozen=True, slots=True)
class PreparedCall:
    """A request that is ready to be sent.

    Attributes:
        method: The method, in capitals.
        base: The base path of the document.
        path: The path of the operation, with the query, percent-encoded.
        headers: Names and values, with Content-Type and Accept, without cookies.
        cookies: Names and values, in order.
        body: Bytes, or pieces that are produced while they are sent; `None` without a body.
    """

    method: str
    base: str
    path: str
    headers: dict[str, str] = field(repr=False)
    cookies: list[tuple[str, str]] = field(repr=False)
    body: Content | None = field(repr=False)

    @property
    def target(self) -> str:
        """The path and the query, as they are sent."""
        return self.base + self.path

    def fields(self) -> list[tuple[str | bytes, str | bytes]]:
        """The header fields, including Cookie."""
        fields: list[tuple[str | bytes, str | bytes]] = list(self.headers.items())
        if self.cookies:
            fields.append(("Cookie", "; ".join(f"{name}={value}" for name, value in self.cookies)))
        return fields


class RequestBody(NamedTuple):
    """The request body in the contract.

    Attributes:
        required: Whether a call needs a body.
        content: Media Type Objects by media type or range, each with its schema resolved.
        description: Its description.
    """

    required: bool
    content: Mapping[str, Any]
    description: str


class Arguments:
    """One operation: the arguments of a call, and the request that they make.

    Attributes:
        operation: The operation in the document.
        document: Its document.
        key: The operation's id, or "METHOD /path" without an id.
        base: Its base path, from the first of the document's `servers`.
        parameters: The parameters by argument name, in the order of the signature.
        body: The request body; `None` if the operation has none.

    Raises:
        SpecError: The document is invalid in this operation.
    """

    def __init__(self, document: Document, operation: Operation) -> None:
        self.document = document
        self.operation = operation
        self.key = str(operation)
        self.body = _request_body(document, operation)
        self.parameters = _named(_parameters(document, operation), taken=self.body is not None)
        self.base = document.base_paths(operation)[0]
        # Each name as sent -> the arguments that it can mean.
        self._sent: dict[str, list[str]] = {}
        for argument, parameter in self.parameters.items():
            self._sent.setdefault(parameter.name, []).append(argument)
        self._accept = _accept(document, operation)

    def call(
        self,
        arguments: Mapping[str, Any],
        *,
        headers: Mapping[str, str],
        content_type: str | None = None,
        base_path: str | None = None,
        supplied: frozenset[tuple[str, str]] = frozenset(),
    ) -> PreparedCall:
        """Makes the request of a call.

        Args:
            arguments: Values by the names in the signature, or by the names on the wire if these
                are unique. `None` means that an argument is not given.
            headers: Additional header fields, which override those of the contract.
            content_type: The media type of the body, one of those in the contract.
            base_path: The base path, instead of the one from the document's `servers`.
            supplied: The keys of parameters that the transport adds itself.

        Raises:
            UnknownParameter, MissingParameter, BadParameter, BadBody: See `ArgumentError`.
        """
        given = self._recognized(arguments)
        supplied |= {("header", name.lower()) for name in headers}
        self._check_required(given, supplied)
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
                elif parameter.location == "header":
                    fields[parameter.name] = write_header(parameter, value)
                elif parameter.location == "cookie":
                    cookies += write_cookies(parameter, value)
                else:
                    query += write_query(parameter, value)
            except Unserializable as exc:
                message = f"the {parameter} cannot be sent: {exc}"
                raise self._error(BadParameter, message, argument) from exc
        content = None
        if body is not None and self.body is not None:
            try:
                content, fields["Content-Type"] = encode_body(body, self.body.content, content_type)
            except Unserializable as exc:
                raise self._error(BadBody, f"the body cannot be sent: {exc}") from exc
        path = self._path(variables)
        if query:
            path += "?" + "&".join(f"{name}={text}" if name else text for name, text in query)
        for name, text in headers.items():
            fields = {old: kept for old, kept in fields.items() if old.lower() != name.lower()}
            fields[name] = text
        base = self.base if base_path is None else base_path
        return PreparedCall(self.operation.method, base, path, fields, cookies, content)

    def takes(self, name: str) -> bool:
        """Whether a call takes an argument of this name, in the signature or on the wire."""
        return name in self.parameters or name in self._sent

    def argument_of(self, location: str, name: str) -> str | None:
        """The argument that is sent at this location under this name, or `None`."""
        for argument, parameter in self.parameters.items():
            if parameter.key == (location, name.lower() if location == "header" else name):
                return argument
        return None

    def _recognized(self, arguments: Mapping[str, Any]) -> dict[str, Any]:
        """The given arguments by name, once each."""
        given: dict[str, Any] = {}
        for name, value in arguments.items():
            argument = self._argument(name)
            if value is None:
                continue
            if argument in given:
                message = f"{argument!r} is given twice, once as {name!r}"
                raise self._error(UnknownParameter, message, argument)
            given[argument] = value
        return given

    def _argument(self, name: str) -> str:
        if name in self.parameters or (name == BODY and self.body is not None):
            return name
        known = self._sent.get(name, ())
        if len(known) == 1:
            return known[0]
        if known:
            hint = f"{name!r} may be any of several parameters: say {' or '.join(known)}"
        elif name == BODY:
            raise self._error(BadBody, "it takes no body")
        else:
            names = [*self.parameters, *([BODY] if self.body is not None else [])]
            hint = f"it has no parameter {name!r}{did_you_mean(name, names)}"
            if names:
                hint += f"; it has {', '.join(names)}"
        raise UnknownParameter(hint, operation=self.key, parameter=name, location="call")

    def _check_required(
        self, given: Mapping[str, Any], supplied: frozenset[tuple[str, str]]
    ) -> None:
        for argument, parameter in self.parameters.items():
            if parameter.required and argument not in given and parameter.key not in supplied:
                message = f"the {parameter} is missing: give {argument}="
                raise self._error(MissingParameter, message, argument)
        if self.body is not None and self.body.required and BODY not in given:
            raise self._error(BadBody, "the body is missing: give body=")

    def _error(
        self, error: type[ArgumentError], message: str, argument: str | None = None
    ) -> ArgumentError:
        parameter = None if argument is None else self.parameters.get(argument)
        location = "body" if parameter is None else parameter.location
        return error(message, operation=self.key, parameter=argument, location=location)

    def _path(self, variables: Mapping[str, str]) -> str:
        template = self.operation.path
        path = "".join(
            variables[part] if index % 2 else quote(part, safe=_PATH_TEXT)
            for index, part in enumerate(_VARIABLE.split(template))
        )
        message = None
        for segment, described in zip(path.split("/"), template.split("/"), strict=False):
            # RFC 3986, section 5.2.4: what is on the way would remove it, and call another path.
            if unquote(segment) in (".", "..") and segment != described:
                message = f"{described!r} would become {unquote(segment)!r}, which leads to"
                message += " another path"
        try:
            found = self.document.match(self.operation.method, self.base + path).operation
        except LookupError:
            found = self.operation
        # `/pets/{id}` with the id "feed" is another operation, where there is a `/pets/feed`.
        if len(_VARIABLE.findall(found.path)) < len(_VARIABLE.findall(template)):
            message = message or f"with these values the path is that of {found}"
        if message is not None:
            raise BadParameter(message, operation=self.key, location="path")
        return path


def identifier(name: str) -> str:
    """A parameter's name as a Python identifier: `page_size` for `page[size]`."""
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

    Two with the same name, or one named like the body, get their location as a prefix: `path_id`,
    `query_id`, `query_body`.
    """
    ordered = sorted(
        parameters, key=lambda each: (not each.required, LOCATIONS.index(each.location))
    )
    simple = [
        identifier(each.name.lower() if each.location == "header" else each.name)
        for each in ordered
    ]
    # A parameter with a unique name keeps it, whatever the others are renamed to.
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
    missing = (name for name in variables if name not in declared)
    return [*found, *(Parameter.of({"name": name, "in": "path"}) for name in missing)]


def _request_body(document: Document, operation: Operation) -> RequestBody | None:
    described = document.resolve(operation.mapping.get("requestBody"))
    if not described or not described.get("content"):
        return None
    content = {}
    for media_type, node in described["content"].items():
        media = document.resolve(node)
        content[media_type] = {**media, "schema": document.resolve(media.get("schema", {}))}
    required = bool(described.get("required", False))
    return RequestBody(required, content, str(described.get("description") or ""))


def _accept(document: Document, operation: Operation) -> str | None:
    """The media types of the responses, and then any other, which is better than a 406."""
    types: dict[str, None] = {}
    for response in (operation.mapping.get("responses") or {}).values():
        types.update(dict.fromkeys(document.resolve(response).get("content") or ()))
    types.pop("*/*", None)
    return ", ".join([*types, "*/*;q=0.1"]) if types else None
