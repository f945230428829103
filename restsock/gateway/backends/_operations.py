"""`Operations`: messages are calls of the operations of an OpenAPI document."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from restsock._exceptions import RequestValidationError
from restsock.gateway._backend import Backend
from restsock.gateway._errors import NO_ROUTE, CallFailed
from restsock.openapi import (
    ArgumentError,
    Catalog,
    Contract,
    Rule,
    Rules,
    UnknownOperation,
    beside_the_loop,
)

from ._balance import Balance
from ._http_backend import HTTPBackend
from ._http_mapping import HTTPMapping, HTTPRequest
from ._peer import Peer

if TYPE_CHECKING:
    from restsock.connection import Response
    from restsock.gateway._backend import Part
    from restsock.gateway._message import Message, Reply
    from restsock.openapi import Arguments, PreparedCall, SpecLike

__all__ = ["OperationContract", "Operations"]

_log = logging.getLogger("restsock.gateway")

_BODY = "body"


@dataclass(frozen=True, slots=True)
class OperationContract:
    """An operation, as a client of the gateway sees it.

    Attributes:
        key: The key of its messages.
        id: Its `operationId`, or "METHOD /path".
        summary: What it does, in a line.
        description: The same at length.
        arguments: The JSON schema of the body of a message.
        replies: JSON schemas of the answers, by status: `"200"`, `"4XX"`, `"default"`.
        deprecated: Whether it should no longer be called.
    """

    key: str
    id: str
    summary: str
    description: str
    arguments: Mapping[str, Any]
    replies: Mapping[str, Any]
    deprecated: bool


class Operations(Backend):
    """Calls the operations of an OpenAPI document: over HTTP, in this process, or at a peer.

        Operations("petstore.yaml", to=Peer("edge-1"))

    The key of a message is the `operationId`, or `"GET /pets"`. Its body is an object with the
    arguments by name, wherever the document has them: in the path, the query, a field or a cookie.
    The body of the request is the argument `body`; if that is missing, it is made of all members
    that are not parameters:

        {"action": "buyPet", "data": {"petId": 7, "body": {"price": 10}}}
        {"action": "buyPet", "data": {"petId": 7, "price": 10}}

    Arguments are checked before anything is sent. Wrong ones are a 422, with a pointer into the
    body of the message for each error.

    Args:
        spec: The document: a file, a mapping, or the result of `restsock.openapi.load`.
        to: The backend to call: `HTTP`, `App`, `Peer`, or a `Balance` of these. Its mapping adds
            the fields that say who asks; the document defines the rest.
        prefix: Put before the ids to make the keys, such as `"pets."`.
        base_path: The path in front of those of the document, instead of the one from its
            `servers`. With `HTTP`, the path of its URL comes before that.
        rules: Who may call what, made by `restsock.openapi.allow`; by default everyone may call
            everything. The caller is the principal of the client.
        peer: The name of the backend in the rules; by default that of the `Peer`, or `"*"`.
        responses: Whether responses are checked, or the share of them to check, between 0 and 1. A
            wrong one is a 502.
        max_body: Bytes of the largest body that is checked.
        max_time: Seconds of processor time for the check of one message.

    Raises:
        SpecError: The document cannot be used. ValueError: A rule names an unknown operation, or a
        number is not valid. TypeError: What is called does not speak HTTP.
    """

    def __init__(
        self,
        spec: SpecLike,
        to: HTTPBackend | Balance,
        *,
        prefix: str = "",
        base_path: str | None = None,
        rules: Rules | Iterable[Rule] | None = None,
        peer: str | None = None,
        responses: bool | float = False,
        max_body: int = 1024 * 1024,
        max_time: float = 1.0,
    ) -> None:
        if not getattr(to, "speaks_http", False):
            raise TypeError(f"operations are called over HTTP, at a Peer or in an App, not {to!r}")
        self._catalog = Catalog(
            Contract(spec, responses=responses, max_body=max_body, max_time=max_time)
        )
        self._to = to
        self._prefix = prefix
        self._base_path = base_path
        if peer is None:
            peer = to.name if isinstance(to, Peer) else "*"
        self._peer = peer
        self._rules = None if rules is None else Rules(rules)
        if self._rules is not None and self._peer is not None:
            self._rules.check(self._peer, self._catalog.document)
        self._mapping = HTTPMapping()

    @property
    def operations(self) -> tuple[OperationContract, ...]:
        """All operations, for the contract of the channel.

        Raises:
            SpecError: The document is wrong about one of them.
        """
        return tuple(self.contract_of(self._prefix + name) for name in self._catalog.names)

    @property
    def components(self) -> Mapping[str, Any]:
        """The `components` of the document, to which the schemas refer."""
        components: Mapping[str, Any] = self._catalog.document.mapping.get("components") or {}
        return components

    def contract_of(self, key: str) -> OperationContract:
        """The operation of a key, as a client sees it.

        Raises:
            CallFailed: There is none: 404.
            SpecError: The document is wrong about it.
        """
        arguments = self._arguments(key)
        operation = arguments.operation.mapping
        return OperationContract(
            key=key,
            id=arguments.key,
            summary=str(operation.get("summary") or ""),
            description=str(operation.get("description") or ""),
            arguments=_schema_of(arguments),
            replies=dict(self._catalog.schemas(arguments.operation)),
            deprecated=bool(operation.get("deprecated", False)),
        )

    def parts(self) -> Iterable[Part]:
        """See `Backend.parts`."""
        return (self._to,)

    async def call(self, message: Message) -> Reply:
        """See `Backend.call`.

        Raises:
            CallFailed: There is no such operation, the client may not call it, or the arguments
                are wrong: nothing was sent. Or what is called has failed.
            ResponseValidationError: The answer breaks the contract.
        """
        arguments = self._arguments(message.key)
        self._check_allowed(message, arguments)
        whole, given = _given(arguments, message.body)
        call, checks = await beside_the_loop(
            self._prepare, arguments, given, whole, seconds=self._catalog.max_time
        )
        body = call.body if isinstance(call.body, bytes) else b"".join(_pieces(call.body))
        fields = [(_text(name), _text(value)) for name, value in call.fields()]
        request = HTTPRequest(call.method, call.target, tuple(fields), body)
        response: Response = await self._to.exchange(message, request)
        if checks is not None:
            await beside_the_loop(
                self._catalog.check_response,
                checks,
                response.status,
                response.headers,
                response.content,
                seconds=self._catalog.max_time,
            )
        return self._mapping.reply_to(message, response)

    def _arguments(self, key: str) -> Arguments:
        if not key.startswith(self._prefix):
            raise CallFailed(404, "there is no such operation", members={"type": NO_ROUTE})
        try:
            return self._catalog.arguments(key[len(self._prefix) :])
        except UnknownOperation as exc:
            raise CallFailed(404, str(exc), members={"type": NO_ROUTE}) from None

    def _check_allowed(self, message: Message, arguments: Arguments) -> None:
        if self._rules is None:
            return
        peer = self._peer
        if peer is None:
            assert isinstance(self._to, Peer)
            peer = self._to.name_for(message)
        caller = getattr(message.session.principal, "name", None)
        if not self._rules.allows(caller, peer, arguments.operation):
            who = "a client without a name" if caller is None else repr(caller)
            detail = f"{who} may not call {arguments.key}"
            _log.info("refused: %s, at %r", detail, peer)
            raise CallFailed(403, detail)

    def _prepare(
        self, arguments: Arguments, given: dict[str, Any], whole: str
    ) -> tuple[PreparedCall, object | None]:
        """The request of a call, checked. In a thread."""
        try:
            call = arguments.call(given, headers={}, base_path=self._base_path)
            return call, self._catalog.check(arguments, call)
        except RequestValidationError as exc:
            errors = [_pointed(arguments, error, whole, exc) for error in exc.errors]
            detail = "the arguments break the contract of the API"
            raise CallFailed(422, detail, members={"errors": errors}) from None

    def __repr__(self) -> str:
        title = self._catalog.document.title
        return f"Operations({title!r}, to={self._to!r})"


def _given(arguments: Arguments, body: Any) -> tuple[str, dict[str, Any]]:
    """Where the body of the request is in that of the message, and the arguments."""
    if body is None:
        return f"/{_BODY}", {}
    if not isinstance(body, dict):
        if arguments.body is None:
            raise CallFailed(422, f"{arguments.key} has its arguments in an object")
        return "", {_BODY: body}  # a list, say, of an operation that needs nothing else
    if arguments.body is None or _BODY in body:
        return f"/{_BODY}", dict(body)
    given: dict[str, Any] = {}
    rest: dict[str, Any] = {}
    for name, value in body.items():
        (given if arguments.takes(name) else rest)[name] = value
    if rest:
        given[_BODY] = rest
    return "", given


def _pointed(
    arguments: Arguments, error: Mapping[str, Any], whole: str, cause: RequestValidationError
) -> dict[str, Any]:
    """An error, with a pointer into the body of the message."""
    pointer = str(error.get("pointer", "#")).removeprefix("#")
    name = error.get("name")
    if isinstance(cause, ArgumentError) and cause.parameter is not None:
        base = "/" + cause.parameter
    elif error.get("in") == "body":
        base = whole
    elif name is not None:
        base = "/" + (arguments.argument_of(str(error.get("in")), str(name)) or str(name))
    else:
        base = ""
    return {**error, "pointer": "#" + quote(base, safe="/~") + pointer}


def _schema_of(arguments: Arguments) -> dict[str, Any]:
    properties: dict[str, Any] = {}
    required = []
    for name, parameter in arguments.parameters.items():
        schema = parameter.schema if parameter.schema is not None else {}
        if parameter.description and isinstance(schema, Mapping) and "$ref" not in schema:
            schema = {"description": parameter.description, **schema}
        properties[name] = schema
        if parameter.required:
            required.append(name)
    if arguments.body is not None:
        json_type = next((one for one in arguments.body.content if "json" in one), None)
        media = {} if json_type is None else arguments.body.content[json_type]
        properties[_BODY] = media.get("schema", {})
        if arguments.body.required:
            required.append(_BODY)
    schema = {"type": "object", "properties": properties, "required": required}
    # A body may be merged into it.
    return schema if arguments.body is not None else {**schema, "additionalProperties": False}


def _pieces(content: Any) -> Iterable[bytes]:
    return () if content is None else iter(content)


def _text(value: str | bytes) -> str:
    return value if isinstance(value, str) else value.decode("latin-1")
