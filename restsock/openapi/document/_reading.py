"""A document as it is written: JSON or YAML, within bounds, and the files that it refers to."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, cast
from urllib.parse import unquote, urlsplit

import yaml
from jsonschema_path.loaders import JsonschemaSafeLoader

from restsock._exceptions import SpecError
from restsock._strict_json import MAX_DIGITS, NotJSON, read_json

from ._checking import FILES
from ._work import spend

__all__ = ["Bundle", "check_shape", "decode", "first_line", "read_file"]

# Far more than any API needs. Parsed, a document takes about ten times its size.
_MAX_SIZE = 32 * 1024 * 1024
_MAX_NODES = 500_000  # values in it, and as many names
_MAX_DEPTH = 100
_MAX_FILES = 200


def read_file(path: Path) -> Any:
    """What a file of JSON or YAML has. Raises `SpecError`."""
    try:
        if path.stat().st_size > _MAX_SIZE:
            raise SpecError(f"{path} is larger than {_MAX_SIZE} bytes")
        data = path.read_bytes()
    except OSError as exc:
        raise SpecError(f"cannot read {path}: {exc.strerror}") from exc
    return decode(data, str(path), aliases=True)


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


def decode(data: bytes, source: str, *, aliases: bool) -> Any:
    """What a text of JSON or YAML has. Raises `SpecError`."""
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
        raise SpecError(f"{source} is neither JSON nor YAML: {first_line(exc)}") from exc


def check_shape(decoded: Any, source: str) -> None:
    """Raises `SpecError` for what is too deep or has too many values; looks level by level."""
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


class Bundle:
    """Merges a document and the files that it refers to into one mapping.

    Args:
        path: The file of the document; `None` if it is not a file, and may not refer to others.
    """

    def __init__(self, path: Path | None) -> None:
        self._root = None if path is None else path.resolve()
        self._names: dict[Path, str] = {}
        self._files: dict[str, Any] = {}

    def bundled(self, mapping: Any, *, source: str) -> dict[str, Any]:
        """The one mapping. Raises `SpecError`."""
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
            if len(self._names) >= _MAX_FILES:
                raise SpecError(f"more than {_MAX_FILES} files")
            name = self._names[target] = str(len(self._names))
            self._files[name] = None  # a placeholder while the file is being read
            self._files[name] = self._copy(read_file(target), target, f"/{FILES}/{name}")
        return f"#/{FILES}/{name}{url.fragment}"


def first_line(error: BaseException) -> str:
    """The first line of what an error says, and not too much of it."""
    message = str(getattr(error, "message", error)).strip()
    first = message.splitlines()[0] if message else type(error).__name__
    return first if len(first) <= 200 else first[:200] + "…"
