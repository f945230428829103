"""`HTTPDialect`: requests and responses of HTTP, as JSON."""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from restsock.protocol import TOKEN, VALUE

from ._dialect import ID, BadMessage, Dialect, Parsed, ParsedCall, body_of, object_of
from ._json import body_members, is_id, read_object, write

if TYPE_CHECKING:
    from restsock.gateway._message import Reply

__all__ = ["HTTPDialect"]

_MAX_HEADERS = 100
# RFC 3986, section 3.3 and 3.4: what a path and a query may hold.
_TARGET = re.compile(
    r"(/(?:[A-Za-z0-9\-._~!$&'()*+,;=:@/]|%[0-9A-Fa-f]{2})*)"
    r"(?:\?(?:[A-Za-z0-9\-._~!$&'()*+,;=:@/?]|%[0-9A-Fa-f]{2})*)?"
)
# Dots that servers resolve, which would lead out of what a route is for; also when encoded. So is a
# slash that is encoded.
_DOTS = re.compile(r"/(?:\.|%2[Ee]){1,2}(?:[/;]|%3[Bb]|\Z)|%2[Ff]|%5[Cc]|%00")
# What a segment may hold as it is (section 3.3). To encode it leads to the same place.
_ENCODED = re.compile(r"%[0-9A-Fa-f]{2}")
_AS_IT_IS = re.compile(r"[A-Za-z0-9\-._~!$&'()*+,;=:@]")


class HTTPDialect(Dialect):
    """HTTP requests as JSON: for any API of a backend, without a mapping.

        {"id": 1, "method": "POST", "path": "/pets?dry=1", "headers": {...}, "body": {...}}
        {"id": 1, "status": 201, "headers": {...}, "body": {...}}

    The key is the path without its query, so `"/pets/*"` in a router matches everything below it.
    The key is percent-decoded as far as possible: `/%70ets` has the key `/pets`. A body that is not
    JSON is text; bytes are base64, with `"encoding": "base64"`. Without `method` it is a GET. A
    path may not have `.` or `..` segments, an encoded slash or an encoded zero: a server must not
    read it in another way than the router. All parts of an answer but the last have `"more": true`.
    A pushed message is `{"push": ...}`.
    """

    def parse(self, data: str | bytes) -> Parsed:
        """See `Dialect.parse`."""
        value = read_object(data, "a request")
        if isinstance(value, BadMessage):
            return value
        id = value.get("id")
        if id is not None and not is_id(id):
            return BadMessage(400, "id has to be a text or a number")
        try:
            return _request(value, id)
        except _Wrong as exc:
            return BadMessage(400, str(exc), id)

    def reply(
        self, to: ParsedCall | BadMessage, reply: Reply, *, more: bool = False
    ) -> str | bytes:
        """See `Dialect.reply`, also for its errors."""
        said: dict[str, Any] = {} if to.id is None else {"id": to.id}
        said["status"] = reply.status
        if reply.headers:
            said["headers"] = dict(reply.headers)
        said.update(body_members(reply.body))
        if more:
            said["more"] = True
        return write(said)

    def call_schema(self, key: Mapping[str, Any], body: Any) -> dict[str, Any]:
        """See `Dialect.call_schema`: the key is the path, before a query."""
        headers = {"type": "object", "additionalProperties": {"type": "string"}}
        path = {"type": "string"}
        if "const" in key:
            path["pattern"] = f"^{re.escape(key['const'])}(\\?|$)"
        elif "pattern" in key:
            path["pattern"] = key["pattern"]
        return object_of(
            {"method": {"type": "string"}, "path": path}, id=ID, headers=headers, body=body
        )

    def reply_schema(self, bodies: Mapping[str, Any], problem: Any) -> dict[str, Any]:
        """See `Dialect.reply_schema`."""
        body = {"anyOf": [body_of(bodies), problem]}
        return object_of(
            {"status": {"type": "integer"}}, id=ID, headers={"type": "object"}, body=body
        )

    def push(self, body: Any) -> str | bytes:
        """See `Dialect.push`."""
        members = body_members(body)
        return write({"push": members.pop("body"), **members})


class _Wrong(Exception):
    """The request is wrong."""


def _request(value: dict[str, Any], id: Any) -> ParsedCall:
    method, path = value.get("method", "GET"), value.get("path")
    if not isinstance(method, str) or not method.isascii() or not TOKEN.fullmatch(method.encode()):
        raise _Wrong("method has to be one of HTTP")
    found = _TARGET.fullmatch(path) if isinstance(path, str) else None
    if found is None:
        raise _Wrong("path has to be a path, and a query if any, percent-encoded")
    key = found[1]
    if _DOTS.search(key):
        raise _Wrong("path may not have . or .. in it, nor a slash or zero that is encoded")
    body, encoding = value.get("body"), value.get("encoding")
    if encoding is not None:
        body = _bytes(body, encoding)
    return ParsedCall(
        _ENCODED.sub(_read_once, key),
        body,
        id,
        headers=_headers(value.get("headers")),
        method=method.upper(),
        path=path,
    )


def _read_once(encoded: re.Match[str]) -> str:
    """What servers read; what has to stay encoded, in capitals."""
    sign = chr(int(encoded[0][1:], 16))
    return sign if _AS_IT_IS.fullmatch(sign) else encoded[0].upper()


def _bytes(body: object, encoding: object) -> bytes:
    if encoding != "base64":
        raise _Wrong("encoding has to be base64")
    if not isinstance(body, str):
        raise _Wrong("a body in base64 has to be a text")
    try:
        return base64.b64decode(body, validate=True)
    except (binascii.Error, ValueError):
        raise _Wrong("the body is not base64") from None


def _headers(value: object) -> dict[str, str]:
    if value is None:
        return {}
    if not isinstance(value, dict):
        raise _Wrong("headers have to be an object")
    if len(value) > _MAX_HEADERS:
        raise _Wrong(f"there are more than {_MAX_HEADERS} headers")
    headers: dict[str, str] = {}
    for name, text in value.items():
        if not name.isascii() or not TOKEN.fullmatch(name.encode()):
            raise _Wrong("the name of a header is none")
        if not isinstance(text, str) or not text.isascii() or not VALUE.fullmatch(text.encode()):
            raise _Wrong("a header has to be a text that can be sent")
        if name.lower() in headers:
            raise _Wrong("a header is there twice")
        headers[name.lower()] = text.strip(" \t")
    return headers
