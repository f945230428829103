"""The items of `restsock call`, written as HTTPie has them."""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import click

__all__ = ["Items", "read_body", "read_items"]

# The first of these separators counts; `:=` before `:`, and `==` before `=`.
_ITEM = re.compile(r"([^:=@\s][^:=]*?)(:=|==|=|:)(.*)", re.DOTALL)


@dataclass
class Items:
    """What the items say.

    Attributes:
        query: Names and values, in order.
        headers: Names and values, in order.
        data: The members of a JSON body; of an operation, its arguments.
        body: The body itself, of `@file`; `None` without one.
    """

    query: list[tuple[str, str]] = field(default_factory=list)
    headers: list[tuple[str, str]] = field(default_factory=list)
    data: dict[str, Any] = field(default_factory=dict)
    body: bytes | None = None


def read_items(texts: Sequence[str]) -> Items:
    """Reads `key=v`, `key:=json`, `Header:v`, `q==v` and `@file`.

    Raises:
        UsageError: One is none of these, or its file cannot be read.
    """
    items = Items()
    for text in texts:
        if text.startswith("@"):
            items.body = read_body(text)
            continue
        found = _ITEM.fullmatch(text)
        if found is None:
            raise click.UsageError(
                f"{text!r} is none of key=v, key:=json, Header:v, q==v and @file"
            )
        key, separator, value = found.groups()
        if separator == "==":
            items.query.append((key, value))
        elif separator == ":":
            items.headers.append((key, value.strip()))
        elif separator == "=":
            items.data[key] = value
        else:
            try:
                items.data[key] = json.loads(value)
            except ValueError as exc:
                raise click.UsageError(f"{text!r}: not JSON after the :=, {exc}") from None
    return items


def read_body(text: str) -> bytes:
    """A body: `@file`, `@-` for stdin, or the text itself.

    Raises:
        UsageError: The file cannot be read.
    """
    if text == "@-":
        return sys.stdin.buffer.read()
    if not text.startswith("@"):
        return text.encode()
    try:
        return Path(text[1:]).read_bytes()
    except OSError as exc:
        raise click.UsageError(f"cannot read {text[1:]!r}: {exc.strerror or exc}") from None
