"""Media types: their essence, how their bodies are parsed, and their charset."""

from __future__ import annotations

import re
from collections.abc import Collection
from typing import Literal, TypeAlias

from restsock._patterns import like

__all__ = ["Kind", "best_of", "charset_of", "covers", "essence_of", "kind_of"]

Kind: TypeAlias = 'Literal["json", "form", "text", "other"]'
"""How a body of a media type is parsed; `"other"` is not parsed at all."""

_TEXT_TYPES = ("text/plain", "text/html", "text/csv", "text/markdown")
_CHARSET = re.compile(r";\s*charset\s*=\s*(\"[^\"]*\"|[^\s;]*)", re.IGNORECASE)


def essence_of(media_type: str) -> str:
    """The type and subtype in lower case, without parameters."""
    return media_type.partition(";")[0].strip().lower()


def kind_of(media_type: str) -> Kind:
    """How a body of this type is parsed. For JSON see RFC 8259 and RFC 6839."""
    essence = essence_of(media_type)
    if essence in ("application/json", "text/json") or essence.endswith("+json"):
        return "json"
    if essence == "application/x-www-form-urlencoded":
        return "form"
    return "text" if essence in _TEXT_TYPES else "other"


def covers(media_range: str, essence: str) -> bool:
    """Whether a media type or range of a document includes this essence."""
    return like(essence_of(media_range), essence)


def best_of(offered: Collection[str], content_type: str) -> str | None:
    """The most specific matching type or range: `a/b;c=d`, then `a/b`, `a/*`, `*/*`."""
    if content_type in offered:
        return content_type
    essence = essence_of(content_type)
    fitting = [each for each in offered if covers(each, essence)]
    return min(fitting, key=lambda each: (each.count("*"), -len(each)), default=None)


def charset_of(content_type: str) -> str:
    """The charset in lower case; "utf-8" if none is named, and "" if several are."""
    found = {text.strip('"').lower() for text in _CHARSET.findall(content_type)}
    if not found:
        return "utf-8"
    return found.pop() if len(found) == 1 else ""
