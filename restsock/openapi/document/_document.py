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
from typing import Any, TypeAlias, cast
from urllib.parse import unquote, urlsplit

import yaml
from jsonschema.exceptions import ValidationError as SchemaError
from jsonschema_path.loaders import JsonschemaSafeLoader

from restsock._exceptions import SpecError
from restsock._strict_json import MAX_DIGITS, NotJSON, read_json

from ._checking import FILES, check_document, check_patterns
from ._parameters import Parameter
from ._problems import explained
from ._routes import Match, Operation, Routes
from ._work import TooMuchWork, spend, within

__all__ = ["Document", "SpecLike", "load", "parse"]

METHODS = ("get", "put", "post", "delete", "options", "head", "patch", "trace", "query")
"""The fields of a path item that are operations; `query` since 3.2."""

_VERSION = re.compile(r"3\.[012](\.\d+)?(-.+)?")

# Far more than any API needs. Parsed, a document takes about ten times its size.
_MAX_SIZE = 32 * 1024 * 1024
MAX_PEER_SIZE = 4 * 1024 * 1024
"""The largest document from a peer, in bytes."""
PEER_SECONDS = 20.0
"""Seconds of processor time to parse and check it: a plain megabyte takes half of that."""
_MAX_NODES = 500_000  # values in it, and as many names
_MAX_DEPTH = 100
_MAXFILES = 200
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
        mapping = _Bundle(None).bundled(spec, source="the mapping")
        return Document(mapping, source="a mapping", check=check)
    if not isinstance(spec, (str, os.PathLike)):
        raise TypeError(
            f"an OpenAPI document is the name of a file, a mapping or a Document, not {spec!r}"
        )
    path = Path(spec)
    mapping = _Bundle(path).bundled(_read_file(path), source=str(path))
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
            decoded = _decode(data, source, aliases=False)
            _check_shape(decoded, source)
            mapping = _Bundle(None).bundled(decoded, source=source)
            return Document(mapping, source=source)
    except TooMuchWork as exc:
        raise SpecError(f"{source} {exc}") from None
    except (SpecError, MemoryError):
        raise
    except Exception as exc:  # the peer must not choose the type of an unforeseen error
        raise SpecError(f"{source}: {type(exc).__name__} while it was read") from exc


# --- reading ----------------------------------------------------------------------------------


def _read_file(path: Path) -> Any:
    try:
        if path.stat().st_size > _MAX_SIZE:
            raise SpecError(f"{path} is larger than {_MAX_SIZE} bytes")
        data = path.read_bytes()
    except OSError as exc:
        raise SpecError(f"cannot read {path}: {exc.strerror}") from exc
    return _decode(data, str(path), aliases=True)


def _check_yaml(data: bytes, source: str, *, aliases: bool) -> None:
    """Raises `SpecError` for YAML that exceeds a limit, before any value is made."""
    depth = 0
    for event in yaml.parse(data, cast("Any", JsonschemaSafeLoader)):
        spend(2)
        if isinstance(event, yaml.CollectionStartEvent):
            depth += 1
            if depth > _MAX_DEPTH:
                raise SpecError(f"{source} is nested more than {_MAX_DEPTH} deep")
        elif isinstance(event, yaml.CollectionEndEvent):
            depth -= 1
        elif isinstance(event, yaml.AliasEvent) and not aliases:
            raise SpecError(f"{source}: YAML aliases are not taken from a peer")
        elif isinstance(event, yaml.ScalarEvent) and _is_long_number(event):
            raise SpecError(f"{source} has a number of more than {MAX_DIGITS} digits")


def _is_long_number(event: yaml.ScalarEvent) -> bool:
    # Its conversion takes quadratic time.
    plain = event.style in (None, "")
    return plain and len(event.value) > MAX_DIGITS and not event.value.strip("0123456789_:.+-")


def _decode(data: bytes, source: str, *, aliases: bool) -> Any:
    try:
        if data.lstrip()[:1] == b"{":
            return read_json(data)
        _check_yaml(data, source, aliases=aliases)
        loaded = yaml.load(data, cast("Any", JsonschemaSafeLoader))  # noqa: S506  # a SafeLoader
        # As in JSON, all keys become strings, also `200:`.
        return read_json(json.dumps(loaded))
    except NotJSON as exc:
        raise SpecError(f"{source} is neither JSON nor YAML: it {exc}") from None
    except (ValueError, TypeError, RecursionError, yaml.YAMLError) as exc:
        raise SpecError(f"{source} is neither JSON nor YAML: {_first_line(exc)}") from exc


def _check_shape(decoded: Any, source: str) -> None:
    """Checks the limits on depth and number of values, level by level."""
    level = [decoded]
    number = 0
    for _ in range(_MAX_DEPTH):
        number += len(level)
        spend(len(level))
        if number > _MAX_NODES:
            raise SpecError(f"{source} has more than {_MAX_NODES} values")
        level = [
            inner
            for node in level
            if isinstance(node, (dict, list))
            for inner in (node.values() if isinstance(node, dict) else node)
        ]
        if not level:
            return
    raise SpecError(f"{source} is nested more than {_MAX_DEPTH} deep")


class _Bundle:
    """Merges a document and the files that it refers to into one mapping.

    Args:
        path: The file of the document; `None` if it is not a file, and may not refer to others.
    """

    def __init__(self, path: Path | None) -> None:
        self._root = None if path is None else path.resolve()
        self._names: dict[Path, str] = {}
        self._files: dict[str, Any] = {}

    def bundled(self, mapping: Any, *, source: str) -> dict[str, Any]:
        if not isinstance(mapping, Mapping):
            raise SpecError(f"{source} is no OpenAPI document, but {type(mapping).__name__}")
        try:
            bundled: dict[str, Any] = self._copy(mapping, self._root, "")
        except RecursionError:
            raise SpecError(f"{source} is nested too deeply") from None
        if self._files:
            bundled[FILES] = self._files
        return bundled

    def _copy(self, node: Any, path: Path | None, prefix: str) -> Any:
        if isinstance(node, Mapping):
            copied = {str(key): self._copy(value, path, prefix) for key, value in node.items()}
            ref = copied.get("$ref")
            if isinstance(ref, str):
                copied["$ref"] = self._local(ref, path, prefix)
            discriminator = copied.get("discriminator")
            if isinstance(discriminator, dict) and isinstance(discriminator.get("mapping"), dict):
                names = discriminator["mapping"]
                for key, value in names.items():
                    if isinstance(value, str) and re.search(r"[#/:]", value):  # not just a name
                        names[key] = self._local(value, path, prefix)
            return copied
        if isinstance(node, (list, tuple)):
            return [self._copy(item, path, prefix) for item in node]
        return node

    def _local(self, ref: str, path: Path | None, prefix: str) -> str:
        """The same reference within the merged mapping."""
        url = urlsplit(ref)
        if not (url.scheme or url.netloc or url.path or url.query):
            return f"#{prefix}{url.fragment}" if url.fragment or prefix else ref
        if url.scheme or url.netloc or url.query:
            raise SpecError(f"a reference to a URL is not followed: {ref!r}")
        if path is None or self._root is None:
            raise SpecError(f"a reference to a file, in a document that is not a file: {ref!r}")
        target = (path.parent / unquote(url.path)).resolve()
        if target == self._root:
            return f"#{url.fragment}"
        name = self._names.get(target)
        if name is None:
            if len(self._names) >= _MAXFILES:
                raise SpecError(f"more than {_MAXFILES} files")
            name = self._names[target] = str(len(self._names))
            self._files[name] = None  # a placeholder while the file is being read
            self._files[name] = self._copy(_read_file(target), target, f"/{FILES}/{name}")
        return f"#/{FILES}/{name}{url.fragment}"


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
        raise SpecError(f"{source}: not valid at {where}: {words or _first_line(exc)}") from exc
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


def _first_line(error: BaseException) -> str:
    message = str(getattr(error, "message", error)).strip()
    first = message.splitlines()[0] if message else type(error).__name__
    return first if len(first) <= 200 else first[:200] + "…"
