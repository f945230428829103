"""An OpenAPI document: parsed, checked, and with a look-up of operations.

Loading opens no socket: a `$ref` to a URL is refused. A `$ref` to another file is followed if the
document is a file itself; that file becomes a part of the document, under `x-files`. A document
from a peer, or a mapping, may only refer to itself, so its author cannot choose what is read here.

Swagger 2.0 is refused, with a hint how to convert it, since it would need a second implementation
of documents, parameters and schemas.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, TypeAlias
from urllib.parse import unquote

from jsonschema.exceptions import ValidationError as SchemaError

from restsock._exceptions import SpecError

from ._checking import check_document, check_patterns
from ._parameters import Parameter
from ._problems import explained
from ._reading import Bundle, check_shape, decode, first_line, read_file
from ._routes import Match, Operation, Routes
from ._work import TooMuchWork, spend, within

__all__ = ["Document", "SpecLike", "load", "parse"]

METHODS = ("get", "put", "post", "delete", "options", "head", "patch", "trace", "query")
"""The fields of a path item that are operations; `query` since 3.2."""

_VERSION = re.compile(r"3\.[012](\.\d+)?(-.+)?")

MAX_PEER_SIZE = 4 * 1024 * 1024
"""The largest document from a peer, in bytes."""
PEER_SECONDS = 20.0
"""Seconds of processor time to parse and check it: a plain megabyte takes half of that."""
_MAX_REFS = 100

# Keywords beside a `$ref` that change nothing.
_BESIDE = {"$ref", "summary", "title", "description", "default", "deprecated", "example"}

_CONVERT = (
    "Swagger 2.0 is not supported; convert the document to OpenAPI 3 once, for example with"
    " `npx swagger2openapi FILE -o openapi.json` or at https://converter.swagger.io"
)


class Document:
    """An OpenAPI document. Made by `load`; immutable, threads may share it.

    Attributes:
        mapping: The document as it was written, including other files. Do not change it.
        source: Where it came from, for messages.
        version: The version of OpenAPI: `(3, 1)`.
        operations: All operations, in the order of the document.
    """

    def __init__(self, mapping: Mapping[str, Any], *, source: str, check: bool = True) -> None:
        self.mapping = mapping
        self.source = source
        self.version = _version(mapping, source)
        check_patterns(mapping, source)
        if check:
            _check(mapping, self.version, source)
        self.operations = tuple(self._read_operations())
        self._by_name = {f"{each.method} {each.path}": each for each in self.operations}
        self._by_name.update((str(each), each) for each in reversed(self.operations))
        self._parameters: dict[tuple[str, str], tuple[Parameter, ...]] = {}
        self._routes = Routes(
            (base, operation)
            for operation in self.operations
            for base in self.base_paths(operation)
        )

    @property
    def title(self) -> str:
        """`info.title`."""
        return str(self.mapping.get("info", {}).get("title", ""))

    def operation(self, name: str) -> Operation | None:
        """The operation with this `operationId`, or "METHOD /path"; `None` if there is none."""
        method, _, path = name.partition(" ")
        return self._by_name.get(name) or self._by_name.get(f"{method.upper()} {path}")

    def match(self, method: str, path: str) -> Match:
        """Finds the operation of a request.

        Args:
            method: The method, in capitals.
            path: The path as sent, percent-encoded, without the query.

        Raises:
            NoSuchPath: The document has no such path.
            NoSuchMethod: The path has no such method.
        """
        return self._routes.match(method, path)

    def resolve(self, node: Any, *, alone: bool = False) -> Any:
        """Resolves a `$ref`; returns anything else unchanged.

        Args:
            node: A part of the document.
            alone: Whether to stop at a `$ref` with other keywords beside it, which schemas may have
                since OpenAPI 3.1.

        Raises:
            SpecError: The reference is unresolvable or circular.
        """
        for _ in range(_MAX_REFS):
            if not isinstance(node, Mapping) or not isinstance(node.get("$ref"), str):
                return node
            if alone and self.version > (3, 0) and node.keys() - _BESIDE:
                return node
            node = self._look_up(node["$ref"])
        raise SpecError(f"{self.source}: a ring of references")

    def parameters(self, operation: Operation) -> tuple[Parameter, ...]:
        """All parameters of an operation; its own override those of the path item.

        Raises:
            SpecError: A parameter is not valid in OpenAPI.
        """
        key = (operation.method, operation.path)
        made = self._parameters.get(key)
        if made is None:
            found: dict[tuple[str, str], Parameter] = {}
            for node in (*operation.mapping.get("parameters", ()), *operation.parameters):
                try:
                    parameter = Parameter.of(self.resolve(node), self.resolve)
                except ValueError as exc:
                    raise SpecError(f"{self.source}: {operation}: {exc}") from exc
                found.setdefault(parameter.key, parameter)
            made = self._parameters[key] = tuple(found.values())
        return made

    def base_paths(self, operation: Operation) -> tuple[str, ...]:
        """The base paths of an operation, from `servers`; `("",)` if there are none.

        The hosts of `servers` are ignored: requests always go to the peer.
        """
        item = self.resolve(self.mapping["paths"][operation.path])
        servers = operation.mapping.get("servers") or item.get("servers")
        bases = _bases(servers or self.mapping.get("servers") or [{"url": "/"}])
        return tuple(dict.fromkeys(bases))

    def to_json(self) -> bytes:
        """The document as JSON, as it is published."""
        return json.dumps(self.mapping, ensure_ascii=False).encode("utf-8", "backslashreplace")

    def _look_up(self, ref: str) -> Any:
        if not ref.startswith("#"):
            raise SpecError(f"{self.source}: a reference that is not local: {ref!r}")
        node: Any = self.mapping
        for token in unquote(ref[1:]).split("/")[1:]:
            token = token.replace("~1", "/").replace("~0", "~")
            try:
                node = node[int(token)] if isinstance(node, list) else node[token]
            except (KeyError, IndexError, ValueError, TypeError):
                raise SpecError(f"{self.source}: {ref!r} leads nowhere") from None
        return node

    def _read_operations(self) -> Iterator[Operation]:
        for path, item in (self.mapping.get("paths") or {}).items():
            if not path.startswith("/"):
                continue  # x-...
            item = self.resolve(item)
            shared = tuple(item.get("parameters", ()))
            methods = {name: value for name, value in item.items() if name in METHODS}
            methods.update(item.get("additionalOperations", {}))
            for method, operation in methods.items():
                if isinstance(operation, Mapping):
                    id = operation.get("operationId")
                    # Methods are case-sensitive; only the fields of a path item are in lower case.
                    name = method.upper() if method in METHODS else method
                    yield Operation(id, name, path, operation, shared)

    def __repr__(self) -> str:
        version = ".".join(map(str, self.version))
        return f"<Document {self.title!r} from {self.source}, OpenAPI {version}>"


SpecLike: TypeAlias = "str | os.PathLike[str] | Mapping[str, Any] | Document"


def load(spec: SpecLike, *, check: bool = True) -> Document:
    """Loads an OpenAPI document. Blocks for about a second for each 100 KB.

    Args:
        spec: The name of a JSON or YAML file, a mapping, or a loaded document.
        check: Whether to check the document against the specification of OpenAPI. Without that, an
            invalid document may work, or fail at its first use.

    Raises:
        SpecError: The document cannot be read, or is not valid OpenAPI 3.0, 3.1 or 3.2.
        TypeError: `spec` has a wrong type.
    """
    if isinstance(spec, Document):
        return spec
    if isinstance(spec, Mapping):
        mapping = Bundle(None).bundled(spec, source="the mapping")
        return Document(mapping, source="a mapping", check=check)
    if not isinstance(spec, (str, os.PathLike)):
        raise TypeError(
            f"an OpenAPI document is the name of a file, a mapping or a Document, not {spec!r}"
        )
    path = Path(spec)
    mapping = Bundle(path).bundled(read_file(path), source=str(path))
    return Document(mapping, source=str(path), check=check)


def parse(data: bytes, *, source: str) -> Document:
    """Parses a document from a peer: JSON or YAML. It blocks, so it is not for the loop.

    Its size, depth, number of values and processor time are limited.

    Raises:
        SpecError: As for `load`; or it exceeds a limit, refers to another document, or uses YAML
            aliases, which can expand a short text endlessly.
    """
    if len(data) > MAX_PEER_SIZE:
        raise SpecError(f"{source} is larger than {MAX_PEER_SIZE} bytes")
    try:
        with within(PEER_SECONDS):
            decoded = decode(data, source, aliases=False)
            check_shape(decoded, source)
            mapping = Bundle(None).bundled(decoded, source=source)
            return Document(mapping, source=source)
    except TooMuchWork as exc:
        raise SpecError(f"{source} {exc}") from None
    except (SpecError, MemoryError):
        raise
    except Exception as exc:  # the peer must not choose the type of an unforeseen error
        raise SpecError(f"{source}: {type(exc).__name__} while it was read") from exc


# --- checking ---------------------------------------------------------------------------------


def _version(mapping: Mapping[str, Any], source: str) -> tuple[int, int]:
    version = mapping.get("openapi")
    if "swagger" in mapping:
        raise SpecError(f"{source}: {_CONVERT}")
    if not isinstance(version, str) or not _VERSION.fullmatch(version):
        found = f"version {version!r}" if version is not None else "no version"
        raise SpecError(f"{source}: OpenAPI 3.0, 3.1 or 3.2 is needed, and this has {found}")
    major, minor = version.split(".")[:2]
    return int(major), int(minor)


def _check(mapping: Mapping[str, Any], version: tuple[int, int], source: str) -> None:
    try:
        check_document(mapping, version)
    except TooMuchWork:
        raise
    except RecursionError:
        raise SpecError(f"{source}: schemas refer to each other in a ring, or too deeply") from None
    except SchemaError as exc:
        where, words = explained(exc)
        raise SpecError(f"{source}: not valid at {where}: {words or first_line(exc)}") from exc
    except Exception as exc:  # unresolvable references have many types
        # Their messages quote the whole document.
        ref = getattr(exc, "ref", None)
        what = f"{ref!r} leads nowhere" if isinstance(ref, str) else type(exc).__name__
        raise SpecError(f"{source}: {what}") from exc


def _bases(servers: Any) -> Iterator[str]:
    for server in servers:
        url = str(server.get("url", "/"))
        variables = server.get("variables") or {}
        choices = [url]
        for name, variable in variables.items():
            values = dict.fromkeys([variable.get("default", ""), *variable.get("enum", ())])
            choices = [
                choice.replace("{" + name + "}", str(value))
                for choice in choices
                for value in values
            ][:_MAX_REFS]
        spend(len(choices))
        for choice in choices:
            # Not `urlsplit`: a template may not be a valid URL.
            path = re.sub(r"^(?:[A-Za-z][A-Za-z0-9+.-]*:)?//[^/]*", "", choice).partition("?")[0]
            yield "/" + path.strip("/") if path.strip("/") else ""
