"""`asyncapi`: the contract of a channel, as a document of AsyncAPI 3, from what answers in it."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from ._router import Pipe, Router
from .middleware import Validate

if TYPE_CHECKING:
    from ._backend import Backend
    from ._channel import Channel
    from .backends import OperationContract, Operations

__all__ = ["CONTRACT_PATH", "asyncapi"]

CONTRACT_PATH = "/asyncapi.json"
"""The path of a channel's contract, relative to that of the channel."""

_SCHEMAS = "#/components/schemas/"
_PROBLEM: Mapping[str, Any] = {
    "type": "object",
    "description": "What went wrong (RFC 9457)",
    "required": ["title", "status"],
    "properties": {
        "type": {"type": "string"},
        "title": {"type": "string"},
        "status": {"type": "integer"},
        "detail": {"type": "string"},
        "may_have_run": {"type": "boolean"},
        "retry_after": {"type": "number"},
        "errors": {"type": "array"},
    },
}


def asyncapi(
    channel: Channel,
    *,
    title: str | None = None,
    version: str = "1",
    url: str | None = None,
) -> dict[str, Any]:
    """The contract of a channel: a document of AsyncAPI 3.0, ready for JSON.

    It has an operation for each key, with the message of the client and the reply in the dialect of
    the channel. For `Operations`, it describes arguments and answers; for other backends, it has
    the schema of the `Validate` before them.

    Args:
        channel: The channel.
        title: Of the document; by default the path of the channel.
        version: Of the document.
        url: `ws://` or `wss://`, host and port, where clients find it.

    Raises:
        SpecError: The OpenAPI document of one of its backends is wrong. ValueError: The URL is not
        one of a WebSocket.
    """
    return _Writer(channel).document(title or f"Messages at {channel.path}", version, url)


@dataclass
class _Asked:
    """What a client may ask."""

    key: Mapping[str, Any]  # its schema
    name: str
    body: Any = field(default_factory=dict)
    replies: Mapping[str, Any] = field(default_factory=dict)
    summary: str = ""
    description: str = ""
    deprecated: bool = False


class _Writer:
    def __init__(self, channel: Channel) -> None:
        self._channel = channel
        self._schemas: dict[str, Any] = {"Problem": _PROBLEM}
        self._prefixes: dict[int, str] = {}  # of the schemas of a document, by its `Operations`
        self._names: set[str] = set()

    def document(self, title: str, version: str, url: str | None) -> dict[str, Any]:
        asked = [*self._walk(self._channel.router, None, self._channel.middleware)]
        messages: dict[str, Any] = {}
        operations: dict[str, Any] = {}
        here = {"$ref": "#/channels/messages"}
        for one in asked:
            name = self._unique(one.name)
            messages[name] = self._message(one, name)
            messages[f"{name}.reply"] = {
                "name": f"{name}.reply",
                "payload": self._channel.dialect.reply_schema(
                    one.replies, {"$ref": f"{_SCHEMAS}Problem"}
                ),
            }
            operation: dict[str, Any] = {
                "action": "receive",
                "channel": here,
                "messages": [{"$ref": f"#/channels/messages/messages/{name}"}],
                "reply": {
                    "channel": here,
                    "messages": [{"$ref": f"#/channels/messages/messages/{name}.reply"}],
                },
            }
            if one.summary:
                operation["summary"] = one.summary
            if one.description:
                operation["description"] = one.description
            if one.deprecated:
                operation["tags"] = [{"name": "deprecated"}]
            operations[name] = operation
        found: dict[str, Any] = {
            "asyncapi": "3.0.0",
            "info": {"title": title, "version": version},
            "defaultContentType": "application/json",
            "channels": {
                "messages": {
                    "address": self._channel.path,
                    "messages": messages,
                    "bindings": {"ws": {"method": "GET"}},
                }
            },
            "operations": operations,
            "components": {"schemas": self._schemas},
        }
        if url is not None:
            found["servers"] = {"gateway": _server(url)}
        return found

    def _message(self, one: _Asked, name: str) -> dict[str, Any]:
        payload = self._channel.dialect.call_schema(one.key, one.body)
        message: dict[str, Any] = {"name": name, "payload": payload}
        if one.summary:
            message["summary"] = one.summary
        return message

    def _unique(self, name: str) -> str:
        """A name that may be part of a reference, and that no other has."""
        plain = re.sub(r"[^A-Za-z0-9._-]", "_", name) or "_"
        found, number = plain, 2
        while found in self._names or f"{found}.reply" in self._names:
            found, number = f"{plain}_{number}", number + 1
        self._names |= {found, f"{found}.reply"}
        return found

    # --- what answers -----------------------------------------------------------------------

    def _walk(self, backend: Backend, key: str | None, before: Any) -> Iterator[_Asked]:
        """What may be asked of a backend, by a key, a pattern of keys, or any."""
        if isinstance(backend, Pipe):
            yield from self._walk(backend.backend, key, (*before, *backend.middleware))
        elif isinstance(backend, Router):
            for inner, each in backend.routes.items():
                if key is None or _covers(key, inner):
                    yield from self._walk(each, inner, before)
            if backend.default is not None:
                yield from self._walk(backend.default, key, before)
        elif hasattr(backend, "operations") and hasattr(backend, "components"):
            yield from self._operations(backend, key)  # type: ignore[arg-type]  # by its methods
        else:
            schema = _schema_for(key, before)
            yield _Asked(_key_schema(key), key or "any", {} if schema is None else schema)

    def _operations(self, backend: Operations, key: str | None) -> Iterator[_Asked]:
        prefix = self._take_schemas(backend)
        for contract in backend.operations:
            if key is None or _covers(key, contract.key):
                yield self._asked(contract, prefix)

    def _asked(self, contract: OperationContract, prefix: str) -> _Asked:
        return _Asked(
            {"const": contract.key},
            contract.key,
            _moved(contract.arguments, prefix),
            {status: _moved(schema, prefix) for status, schema in contract.replies.items()},
            contract.summary,
            contract.description,
            contract.deprecated,
        )

    def _take_schemas(self, backend: Operations) -> str:
        """Takes over the schemas of a document, and tells how their names begin here."""
        known = self._prefixes.get(id(backend))
        if known is None:
            known = f"api{len(self._prefixes) + 1}." if self._prefixes else "api."
            self._prefixes[id(backend)] = known
            for name, schema in (backend.components.get("schemas") or {}).items():
                self._schemas[f"{known}{name}"] = _moved(schema, known)
        return known


def _moved(value: Any, prefix: str) -> Any:
    """A schema whose references lead to where the schemas of its document are now."""
    if isinstance(value, Mapping):
        found = {name: _moved(inner, prefix) for name, inner in value.items()}
        ref = found.get("$ref")
        if isinstance(ref, str) and ref.startswith(_SCHEMAS):
            found["$ref"] = f"{_SCHEMAS}{prefix}{ref.removeprefix(_SCHEMAS)}"
        return found
    if isinstance(value, (list, tuple)):
        return [_moved(inner, prefix) for inner in value]
    return value


def _covers(pattern: str, key: str) -> bool:
    return key.startswith(pattern[:-1]) if pattern.endswith("*") else key == pattern


def _key_schema(key: str | None) -> Mapping[str, Any]:
    if key is None:
        return {"type": "string"}
    if key.endswith("*"):
        return {"type": "string", "pattern": f"^{re.escape(key[:-1])}"}
    return {"const": key}


def _schema_for(key: str | None, middleware: Any) -> Any:
    """What `Validate` holds the bodies of a key to; the last one that says something."""
    found = None
    for one in middleware:
        if isinstance(one, Validate):
            schema = one.schema_of(key or "")
            found = found if schema is None else schema
    return found


def _server(url: str) -> dict[str, Any]:
    parts = urlsplit(url)
    if parts.scheme not in ("ws", "wss") or not parts.netloc:
        raise ValueError(f"not the URL of a WebSocket: {url!r}")
    return {"host": parts.netloc.rpartition("@")[2], "protocol": parts.scheme}
