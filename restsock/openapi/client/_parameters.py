"""Parameters as they are sent: Python values to text, by the contract's `style` and `explode`.

The rules are the tables "Style Values" and "Style Examples" of OpenAPI 3.0.4, 3.1.1 and 3.2.0,
which are based on RFC 6570. `restsock.openapi.checks` parses such text.

A value that an encoding cannot represent is refused, not changed: a list with a "," in an item as a
header, an object within an object, a path value that would lead to another path.
"""

from __future__ import annotations

import base64
import dataclasses
import datetime
import decimal
import enum
import json
import math
import re
import uuid
from collections.abc import Callable, Mapping, Sequence
from collections.abc import Set as AbstractSet
from typing import Any, TypeAlias
from urllib.parse import quote

from restsock.openapi.document import Parameter, kind_of
from restsock.protocol import TOKEN, VALUE

__all__ = [
    "Unserializable",
    "is_list",
    "json_text",
    "pairs_of",
    "scalar",
    "write_cookies",
    "write_form",
    "write_header",
    "write_path",
    "write_query",
]

# RFC 3986: what never needs to be percent-encoded.
_UNRESERVED = "-._~"
# Reserved characters that `allowReserved` may leave as they are in a query: not "#", which ends it;
# not "&", "=" and "+", which take it apart; and "[" and "]", which RFC 3986 does not allow there.
_RESERVED = ":/?@!$'()*,;"
_COOKIE_TEXT = re.compile(r"[\x21\x23-\x2b\x2d-\x3a\x3c-\x5b\x5d-\x7e]*")  # RFC 6265, cookie-octet

# A value's text, its list of texts, or its names with texts.
_Parts: TypeAlias = "str | list[str] | list[tuple[str, str]]"
_Encode: TypeAlias = "Callable[[str], str]"
Pairs: TypeAlias = "list[tuple[str, str]]"


class Unserializable(ValueError):
    """A value that its parameter's location and style cannot represent."""


def write_path(parameter: Parameter, value: Any) -> str:
    """The percent-encoded text that replaces `{name}` in the path.

    Raises:
        Unserializable: The value has no such text, or the text leads to another path.
    """
    style, explode = parameter.style, parameter.explode
    if parameter.media_type:
        text = _encoded(_content(parameter, value))
    elif style == "matrix":
        pairs = _pairs(parameter, value, _encoded)
        text = "".join(f";{key}={item}" if item else f";{key}" for key, item in pairs)
    else:
        first, between = (".", "." if explode else ",") if style == "label" else ("", ",")
        parts = _parts(value)
        if between == ".":
            # The only delimiter that percent-encoding does not change.
            _refuse_delimiters(parts, between)
        text = _joined(parts, between, "=" if explode else between, _encoded)
        text = first + text if isinstance(parts, str) or parts else ""
    if not text:
        raise Unserializable("it would be empty, and the path another one")
    return text


def write_query(parameter: Parameter, value: Any) -> Pairs:
    """Names and values of the query, percent-encoded. The names in a `querystring` may be empty.

    Raises:
        Unserializable: Its style cannot represent the value.
    """
    if parameter.media_type:
        if parameter.location != "querystring":
            return [(_encoded(parameter.name), _encoded(_content(parameter, value)))]
        if kind_of(parameter.media_type) == "form":
            return write_form(value)
        return [("", _encoded(_content(parameter, value)))]
    encode = _encoded_reserved if parameter.allow_reserved else _encoded
    if parameter.style == "deepObject":
        return _deep(_encoded(parameter.name), value, encode)
    if parameter.style in _DELIMITERS and not parameter.explode:
        parts = _parts(value)
        if isinstance(parts, str):
            raise Unserializable(f"the style {parameter.style} is for lists and objects only")
        delimiter = _DELIMITERS[parameter.style]
        _refuse_delimiters(parts, delimiter)
        between = _encoded(delimiter)
        joined = _joined(parts, between, between, _encoded)
        return [(_encoded(parameter.name), joined)] if parts else []
    return _pairs(parameter, value, encode)


def write_header(parameter: Parameter, value: Any) -> str:
    """The value of the header field, unchanged: header fields are not percent-encoded.

    Raises:
        Unserializable: No header field can contain it.
    """
    if parameter.media_type:
        text = _content(parameter, value)
    else:
        parts = _parts(value)
        _refuse_delimiters(parts, ",=" if parameter.explode else ",")
        text = _joined(parts, ",", "=" if parameter.explode else ",", _raw)
    if not TOKEN.fullmatch(parameter.name.encode()):
        raise Unserializable("its name is not one that a header field can have")
    raw = text.encode("latin-1", "replace")
    if raw.decode("latin-1") != text.strip("\t ") or not VALUE.fullmatch(raw):
        raise Unserializable("a header field cannot contain that text")
    return text


def write_cookies(parameter: Parameter, value: Any) -> Pairs:
    """Names and values of cookies. An exploded list or object becomes several.

    The style `form` percent-encodes only what a cookie cannot contain. RFC 6570 would also encode
    the "=" of a base64, which hardly any server would decode.

    Raises:
        Unserializable: No cookie can contain it.
    """
    if parameter.media_type:
        pairs = [(parameter.name, _encoded(_content(parameter, value)))]
    elif parameter.style == "form":
        pairs = _pairs(parameter, value, _encoded_cookie)
    else:
        if not parameter.explode:
            _refuse_delimiters(_parts(value), ",")
        pairs = _pairs(parameter, value, _raw)
    for name, text in pairs:
        fits = _COOKIE_TEXT.fullmatch(text.replace(",", ""))
        if not fits or not TOKEN.fullmatch(name.encode()):
            raise Unserializable("a cookie cannot contain that text")
    return pairs


def write_form(value: Any) -> Pairs:
    """The fields of `application/x-www-form-urlencoded`, in the style `form`, exploded.

    An object in a field is written as JSON, the default of the Encoding Object.

    Raises:
        Unserializable: It is neither a mapping nor a list of pairs.
    """
    items = pairs_of(value)
    if items is None:
        raise Unserializable("a form is a mapping, or a list of pairs")
    pairs = []
    for key, item in items:
        name = _encoded(_text(str(key)))
        for part in item if is_list(item) else [item]:
            if part is None:
                continue
            text = json_text(part) if isinstance(part, Mapping) or is_list(part) else scalar(part)
            pairs.append((name, _encoded(text)))
    return pairs


# Style -> the separator of the items, before percent-encoding.
_DELIMITERS = {"spaceDelimited": " ", "pipeDelimited": "|"}


def _deep(name: str, value: Any, encode: _Encode) -> Pairs:
    if not isinstance(value, Mapping):
        raise Unserializable("the style deepObject is for objects only")
    pairs = []
    for key, item in value.items():
        field = f"{name}%5B{_encoded(_text(str(key)))}%5D"
        texts = _parts(item)
        for text in [texts] if isinstance(texts, str) else texts:
            if isinstance(text, tuple):
                raise Unserializable("the style deepObject has no object within an object")
            pairs.append((field, encode(text)))
    return pairs


def _pairs(parameter: Parameter, value: Any, encode: _Encode) -> Pairs:
    """The styles form, matrix and cookie, which write name and value."""
    name = parameter.name if encode is _raw else _encoded(parameter.name)
    parts = _parts(value)
    if isinstance(parts, str):
        return [(name, encode(parts))]
    if not parts:
        return []  # RFC 6570, section 2.3: an empty list counts as undefined
    if not parameter.explode:
        return [(name, _joined(parts, ",", ",", encode))]
    return [
        (name, encode(part)) if isinstance(part, str) else (encode(part[0]), encode(part[1]))
        for part in parts
    ]


def _content(parameter: Parameter, value: Any) -> str:
    if kind_of(parameter.media_type) == "json":
        return json_text(value)
    if not isinstance(value, str):
        raise Unserializable(f"for {parameter.media_type} it has to be text")
    return value


# --- values ---------------------------------------------------------------------------------------


def is_list(value: Any) -> bool:
    """Whether a value is written as a list; text and bytes are not."""
    if isinstance(value, (str, bytes, bytearray, memoryview)):
        return False
    return isinstance(value, (Sequence, AbstractSet))


def pairs_of(value: Any) -> list[tuple[Any, Any]] | None:
    """The fields of a mapping, or of a list of pairs; `None` for anything else."""
    if isinstance(value, Mapping):
        return list(value.items())
    if is_list(value) and all(isinstance(item, tuple) and len(item) == 2 for item in value):
        return list(value)
    return None


def scalar(value: Any) -> str:
    """The text of a value that is neither a list nor an object.

    Numbers and booleans are written as in JSON, dates and times as in RFC 3339, UUIDs and decimals
    as by `str`, bytes as base64, the members of an enumeration as their values.

    Raises:
        Unserializable: The value has no such text.
    """
    if isinstance(value, enum.Enum):
        return scalar(value.value)
    if isinstance(value, str):
        return _text(value)
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int):
        return str(int(value))
    if isinstance(value, float):
        if not math.isfinite(value):
            raise Unserializable(f"{value} is not a number of JSON")
        return repr(float(value))
    if isinstance(value, decimal.Decimal):
        if not value.is_finite():
            raise Unserializable(f"{value} is not a number of JSON")
        return str(value)
    if isinstance(value, (datetime.datetime, datetime.date, datetime.time)):
        return value.isoformat()
    if isinstance(value, uuid.UUID):
        return str(value)
    if isinstance(value, (bytes, bytearray)):
        return base64.b64encode(value).decode("ascii")
    if value is None:
        raise Unserializable("None within a parameter has no text")
    raise Unserializable(f"a {type(value).__name__} has no text here")


def json_text(value: Any) -> str:
    """A value as JSON. Types that `scalar` supports and JSON does not become strings.

    Raises:
        Unserializable: JSON cannot represent it.
    """

    def default(other: Any) -> Any:
        if isinstance(other, Mapping):
            return dict(other)
        if is_list(other):
            return list(other)
        if hasattr(other, "model_dump"):  # pydantic's
            return other.model_dump(mode="json")
        if dataclasses.is_dataclass(other) and not isinstance(other, type):
            return dataclasses.asdict(other)
        return scalar(other)

    try:
        return json.dumps(
            value, default=default, allow_nan=False, separators=(",", ":"), ensure_ascii=False
        )
    except Unserializable:
        raise
    except (TypeError, ValueError, RecursionError) as exc:
        raise Unserializable(str(exc)) from exc


def _parts(value: Any) -> _Parts:
    if isinstance(value, Mapping):
        return [(_text(str(key)), _item(item)) for key, item in value.items()]
    if is_list(value):
        return [_item(item) for item in value]
    return scalar(value)


def _item(item: Any) -> str:
    """The text of an item of a list or an object; the item must be a scalar."""
    if isinstance(item, Mapping) or is_list(item):
        raise Unserializable("a list or an object within another one")
    return scalar(item)


def _joined(parts: _Parts, between: str, equals: str, encode: _Encode) -> str:
    if isinstance(parts, str):
        return encode(parts)
    return between.join(
        encode(part) if isinstance(part, str) else f"{encode(part[0])}{equals}{encode(part[1])}"
        for part in parts
    )


def _refuse_delimiters(parts: _Parts, delimiters: str) -> None:
    for part in () if isinstance(parts, str) else parts:
        for text in (part,) if isinstance(part, str) else part:
            for delimiter in delimiters:
                if delimiter in text:
                    raise Unserializable(f"{delimiter!r} in an item, which would end the item")


def _text(value: str) -> str:
    try:
        value.encode()
    except UnicodeEncodeError as exc:
        raise Unserializable(f"it is not text: {exc.reason}") from exc
    return str(value)


def _encoded(text: str) -> str:
    return quote(text, safe=_UNRESERVED)


def _encoded_cookie(text: str) -> str:
    return text if _COOKIE_TEXT.fullmatch(text) else _encoded(text)


def _encoded_reserved(text: str) -> str:
    return quote(text, safe=_UNRESERVED + _RESERVED)


def _raw(text: str) -> str:
    return text
