"""Request bodies as they are sent: Python values to bytes, by media type.

If the caller does not choose a media type, the value decides: JSON, if offered, for values other
than text, bytes and files; otherwise the first media type that can represent the value.
"""

from __future__ import annotations

import secrets
from collections.abc import AsyncIterable, Iterable, Iterator, Mapping
from pathlib import PurePath
from typing import Any, NamedTuple, TypeAlias

from restsock.openapi.document import (
    best_of,
    charset_of,
    covers,
    essence_of,
    kind_of,
)

from ._parameters import Unserializable, is_list, json_text, pairs_of, scalar, write_form

__all__ = ["Body", "Content", "encode_body"]

Content: TypeAlias = "bytes | Iterable[bytes] | AsyncIterable[bytes]"

_BINARY = (bytes, bytearray, memoryview)
_CHUNK = 64 * 1024  # bytes of a file at a time


class Body(NamedTuple):
    """A body and its type.

    Attributes:
        content: Bytes, or pieces that are produced while they are sent.
        content_type: The content type with its parameters: charset, boundary.
    """

    content: Content
    content_type: str


def encode_body(value: Any, offered: Mapping[str, Any], wanted: str | None = None) -> Body:
    """Encodes a body. Bytes are sent as they are, whatever the media type.

    Args:
        value: The body.
        offered: The `content` of the Request Body Object: media types or media ranges.
        wanted: The content type that the caller has chosen.

    Raises:
        Unserializable: The contract does not offer that type, or it cannot represent the value.
    """
    media_type = _chosen(value, list(offered), wanted)
    if isinstance(value, _BINARY):
        return Body(bytes(value), media_type)
    essence = essence_of(media_type)
    if _is_stream(value):
        return Body(_FilePieces(value) if hasattr(value, "read") else value, media_type)
    if kind_of(essence) == "json":
        return Body(json_text(value).encode(), media_type)
    if kind_of(essence) == "form":
        fields = "&".join(f"{name}={text}" for name, text in write_form(value))
        return Body(fields.encode(), media_type)
    if essence.startswith("multipart/"):
        media = offered.get(media_type) or next(iter(offered.values()))
        return _multipart(value, essence, media.get("encoding") or {})
    if isinstance(value, str):
        text = _encoded_text(value, media_type)
        if essence.startswith("text/") and "charset" not in media_type and not text.isascii():
            media_type += "; charset=utf-8"
        return Body(text, media_type)
    raise Unserializable(f"{media_type} cannot carry a {type(value).__name__}")


# --- which media type ---------------------------------------------------------------------------


def _chosen(value: Any, offered: list[str], wanted: str | None) -> str:
    if wanted is not None:
        if best_of(offered, wanted) is None:
            raise Unserializable(f"{wanted} is not offered: {', '.join(offered)}")
        return wanted
    natural = _natural(value)
    fitting = [each for each in offered if _suits(each, value, natural)]
    if natural == "application/json":
        fitting.sort(key=lambda each: kind_of(each) != "json")
    if not fitting and len(offered) > 1:
        kind = type(value).__name__
        raise Unserializable(f"none of {', '.join(offered)} is for a {kind}: say content_type")
    chosen = (fitting or offered)[0]
    if "*" not in chosen:
        return chosen
    if not covers(chosen, natural):
        raise Unserializable(f"{chosen} is a range: say which content_type it is")
    return natural


def _natural(value: Any) -> str:
    """The default media type of a value."""
    if isinstance(value, str):
        return "text/plain"
    binary = isinstance(value, _BINARY) or _is_stream(value)
    return "application/octet-stream" if binary else "application/json"


def _suits(media_type: str, value: Any, natural: str) -> bool:
    essence = essence_of(media_type)
    if "*" in essence:
        return covers(essence, natural)
    structured = kind_of(essence) in ("json", "form") or essence.startswith("multipart/")
    if natural == "application/octet-stream":
        return not structured and not essence.startswith("text/")
    if natural == "text/plain":
        return not structured and essence != "application/octet-stream"
    return kind_of(essence) == "json" or (structured and pairs_of(value) is not None)


def _encoded_text(value: str, media_type: str) -> bytes:
    charset = charset_of(media_type)
    try:
        return value.encode(charset)
    except LookupError:
        raise Unserializable(f"an unknown charset: {charset}") from None


# --- streams ------------------------------------------------------------------------------------


def _is_stream(value: Any) -> bool:
    """Whether a value produces its bytes in pieces: a file, an iterator, an async iterable."""
    return hasattr(value, "read") or hasattr(value, "__next__") or hasattr(value, "__aiter__")


class _FilePieces:
    """A binary file, from its position to its end."""

    def __init__(self, file: Any) -> None:
        if hasattr(file, "encoding"):
            raise Unserializable("the file is open as text: open it with mode 'rb'")
        self._file = file

    def __iter__(self) -> Iterator[bytes]:
        while piece := self._file.read(_CHUNK):
            yield piece


# --- forms --------------------------------------------------------------------------------------


class _Parts:
    """The pieces of a multipart body with a file in it."""

    def __init__(self, pieces: list[Any]) -> None:
        self._pieces = pieces

    def __iter__(self) -> Iterator[bytes]:
        for piece in self._pieces:
            if isinstance(piece, bytes):
                yield piece
            else:
                yield from piece


def _multipart(value: Any, essence: str, encoding: Mapping[str, Any]) -> Body:
    """RFC 7578: a part for each field; for a list, one for each item.

    A field is text, a number, bytes, a file, an object (as JSON), or
    `(filename, content[, content type])`.
    """
    fields = pairs_of(value)
    if fields is None:
        raise Unserializable(f"{essence} is made of a mapping, or of a list of pairs")
    boundary = secrets.token_hex(16)
    pieces: list[Any] = []
    for name, field in fields:
        is_file = isinstance(field, tuple)
        for item in field if is_list(field) and not is_file else [field]:
            if item is None:
                continue
            said = (encoding.get(name) or {}).get("contentType")
            filename, content, content_type = _part(item, said)
            lines = [
                f"--{boundary}",
                f'Content-Disposition: form-data; name="{_quoted(str(name))}"'
                + (f'; filename="{_quoted(filename)}"' if filename else ""),
            ]
            if content_type:
                lines.append(f"Content-Type: {content_type}")
            pieces += ["\r\n".join(lines).encode() + b"\r\n\r\n", content, b"\r\n"]
    pieces.append(f"--{boundary}--\r\n".encode())
    content_type = f"{essence}; boundary={boundary}"
    if all(isinstance(piece, bytes) for piece in pieces):
        return Body(b"".join(pieces), content_type)
    return Body(_Parts(pieces), content_type)


def _part(item: Any, said: str | None) -> tuple[str | None, Any, str | None]:
    """The file name, the content and the content type of a part."""
    filename = None
    if isinstance(item, tuple):
        if not 2 <= len(item) <= 3 or not isinstance(item[0], str):
            raise Unserializable(
                "a file is (filename, content) or (filename, content, content type)"
            )
        filename, said = item[0], item[2] if len(item) == 3 else said
        item = item[1]
    if said is not None and ("," in said or "*" in said):
        said = None  # a choice, which is the caller's: by the third item of the tuple
    if said is not None and not said.isprintable():
        raise Unserializable("a content type is one line of text")
    if hasattr(item, "read"):
        name = getattr(item, "name", None)
        filename = filename or (PurePath(name).name if isinstance(name, str) else "file")
        return filename, _FilePieces(item), said or "application/octet-stream"
    if isinstance(item, _BINARY):
        return filename or "file", bytes(item), said or "application/octet-stream"
    if isinstance(item, Mapping) or is_list(item):
        return filename, json_text(item).encode(), said or "application/json"
    text = json_text(item) if said and kind_of(said) == "json" else scalar(item)
    return filename, text.encode(), said


def _quoted(name: str) -> str:
    # As the HTML standard has it: what would end the string or the line.
    return name.replace("\r", "%0D").replace("\n", "%0A").replace('"', "%22")
