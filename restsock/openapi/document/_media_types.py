"""Media types: their essence, how their bodies are read, and the charset that they name."""

from __future__ import annotations

import re
from collections.abc import Collection

from restsock._patterns import like

__all__ = [
    "FORM",
    "FORM_TYPE",
    "JSON",
    "OTHER",
    "TEXT",
    "best_of",
    "charset_of",
    "covers",
    "essence_of",
    "is_json",
    "kind_of",
]

JSON, FORM, TEXT, OTHER = "json", "form", "text", "other"
FORM_TYPE = "application/x-www-form-urlencoded"

_TEXT_TYPES = ("text/plain", "text/html", "text/csv", "text/markdown")
_CHARSET = re.compile(r";\s*charset\s*=\s*(\"[^\"]*\"|[^\s;]*)", re.IGNORECASE)


def essence_of(media_type: str) -> str:
    """Type and subtype in lower case, without parameters."""
    return media_type.partition(";")[0].strip().lower()


def is_json(media_type: str) -> bool:
    """Whether a media type is JSON (RFC 8259, RFC 6839)."""
    essence = essence_of(media_type)
    return essence in ("application/json", "text/json") or essence.endswith("+json")


def kind_of(media_type: str) -> str:
    """How a body of this type is read: `JSON`, `FORM`, `TEXT`, or `OTHER` for not at all."""
    essence = essence_of(media_type)
    if is_json(essence):
        return JSON
    if essence == FORM_TYPE:
        return FORM
    return TEXT if essence in _TEXT_TYPES else OTHER


def covers(media_range: str, essence: str) -> bool:
    """Whether a media type or range of a document includes this essence."""
    return like(essence_of(media_range), essence)


def best_of(offered: Collection[str], content_type: str) -> str | None:
    """The most exact of the types and ranges that include one: `a/b;c=d`, `a/b`, `a/*`, `*/*`."""
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
