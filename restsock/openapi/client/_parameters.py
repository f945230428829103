"""Parameters on their way out: Python values to text, by the contract's `style` and `explode`.

The rules are the tables "Style Values" and "Style Examples" of OpenAPI 3.0.4, 3.1.1 and 3.2.0,
which stand on RFC 6570. Reading such text back is the part of `_reading`, at the serving end.

What an encoding cannot carry is refused instead of sent as something else: a list with a "," in an
item as a header, an object within an object, a path value that would lead to another path.
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
from collections.abc import Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from typing import Any, TypeAlias
from urllib.parse import quote

__all__ = [
    "LOCATIONS",
    "Parameter",
    "Unserializable",
    "encode_query_pairs",
    "is_json",
    "is_list",
    "json_text",
    "scalar",
]

# In the order in which a signature lists them.
LOCATIONS = ("path", "query", "querystring", "header", "cookie")

# RFC 3986: what never needs to be percent-encoded.
_UNRESERVED = "-._~"
# Reserved characters that `allowReserved` may leave as they are in a query: not "#", which ends it;
# not "&", "=" and "+", which take it apart; and "[" and "]", which RFC 3986 does not allow there.
_RESERVED = ":/?@!$'()*,;"
_HEADER_TEXT = re.compile(
    r"(?:[\x21-\x7e\x80-\xff](?:[\t\x20-\x7e\x80-\xff]*[\x21-\x7e\x80-\xff])?)?"
)
_COOKIE_TEXT = re.compile(r"[\x21\x23-\x2b\x2d-\x3a\x3c-\x5b\x5d-\x7e]*")  # RFC 6265, cookie-octet
_TOKEN = re.compile(r"[!#$%&'*+\-.^_`|~0-9A-Za-z]+")

_STYLES = {
    "path": ("simple", "label", "matrix"),
    "query": ("form", "spaceDelimited", "pipeDelimited", "deepObject"),
    "querystring": (),
    "header": ("simple",),
    "cookie": ("form", "cookie"),
}

# What a value amounts to: one text, a list of texts, or names with texts.
_Parts: TypeAlias = "str | list[str] | list[tuple[str, str]]"
Pairs: TypeAlias = "list[tuple[str, str]]"


class Unserializable(ValueError):
    """A value that its parameter's place and style cannot carry."""


@dataclass(frozen=True, slots=True)
class Parameter:
    """One parameter of an operation, as its contract describes it.

    Attributes:
        name: as it stands on the wire.
        location: `"path"`, `"query"`, `"querystring"` (OpenAPI 3.2), `"header"` or `"cookie"`.
        required: whether a call has to give it.
        style: how lists and objects are written; `""` where `media_type` says it.
        explode: whether each item of them stands on its own.
        allow_reserved: whether reserved characters of a query value stay as they are.
        media_type: of the text, where the contract has `content` instead of a style.
        schema: of the value.
        description: for people.
        deprecated: whether it should no longer be given.
    """

    name: str
    location: str
    required: bool
    style: str
    explode: bool
    allow_reserved: bool
    media_type: str
    schema: Any
    description: str
    deprecated: bool

    @classmethod
    def of(cls, contract: Mapping[str, Any]) -> Parameter:
        """From a Parameter Object whose references are resolved.

        Raises:
            ValueError: the contract gives it a place or a style that OpenAPI does not know.
        """
        name, location = contract.get("name"), contract.get("in")
        if not isinstance(name, str) or location not in _STYLES:
            raise ValueError(f"a parameter named {name!r} in {location!r} is not of OpenAPI")
        content = contract.get("content") or {}
        style = "" if content else contract.get("style") or (_STYLES[location] or ("",))[0]
        if style and style not in _STYLES[location]:
            raise ValueError(f"the {location} parameter {name!r} has no style {style!r}")
        media_type, media = next(iter(content.items()), ("", {}))
        return cls(
            name=name,
            location=location,
            required=location == "path" or bool(contract.get("required", False)),
            style=style,
            explode=bool(contract.get("explode", style in ("form", "cookie"))),
            allow_reserved=bool(contract.get("allowReserved", False)),
            media_type=media_type,
            schema=(media if content else contract).get("schema", {}),
            description=str(contract.get("description") or ""),
            deprecated=bool(contract.get("deprecated", False)),
        )

    @property
    def where(self) -> str:
        """What people call it: `query parameter 'limit'`."""
        return f"{self.location} parameter {self.name!r}"

    @property
    def key(self) -> tuple[str, str]:
        """Place and name, which together are one of a kind; header fields in lower case."""
        return self.location, self.name.lower() if self.location == "header" else self.name

    def path(self, value: Any) -> str:
        """The text that takes the place of `{name}` in the path, percent-encoded.

        Raises:
            Unserializable: it has no such text, or one that leads to another path.
        """
        text = _encoded(self._content(value)) if self.media_type else self._expanded(value)
        if not text:
            raise Unserializable("it would be empty, and the path another one")
        return text

    def _expanded(self, value: Any) -> str:
        if self.style == "matrix":
            pairs = self._pairs(value, ",", _encoded)
            return "".join(f";{key}={text}" if text else f";{key}" for key, text in pairs)
        first, between = (".", "." if self.explode else ",") if self.style == "label" else ("", ",")
        parts = _parts(value)
        if isinstance(parts, str):
            return first + _encoded(parts)
        if between == ".":
            # The one delimiter that percent-encoding leaves as it is.
            _refuse_delimiters(parts, between)
        joined = between.join(_items(parts, "=" if self.explode else between, _encoded))
        return first + joined if parts else ""

    def query(self, value: Any) -> Pairs:
        """Names and values of the query, percent-encoded. Both are empty in a whole `querystring`.

        Raises:
            Unserializable: its style cannot carry the value.
        """
        if self.media_type:
            if self.location == "querystring" and self.media_type.endswith("x-www-form-urlencoded"):
                return encode_query_pairs(value)
            name = "" if self.location == "querystring" else _encoded(self.name)
            return [(name, _encoded(self._content(value)))]
        encode = _encoded_reserved if self.allow_reserved else _encoded
        if self.style == "deepObject":
            return self._deep(value, encode)
        if self.style in _DELIMITERS and not self.explode:
            return self._delimited(value, *_DELIMITERS[self.style])
        return self._pairs(value, ",", encode)

    def _deep(self, value: Any, encode: Any) -> Pairs:
        if not isinstance(value, Mapping):
            raise Unserializable("the style deepObject carries objects only")
        name = _encoded(self.name)
        pairs = []
        for key, item in value.items():
            field = f"{name}%5B{_encoded(_text(str(key)))}%5D"
            texts = _parts(item)
            if isinstance(texts, str):
                texts = [texts]
            for text in texts:
                if isinstance(text, tuple):
                    raise Unserializable("the style deepObject carries no object within an object")
                pairs.append((field, encode(text)))
        return pairs

    def _delimited(self, value: Any, delimiter: str, encoded: str) -> Pairs:
        parts = _parts(value)
        if isinstance(parts, str):
            raise Unserializable(f"the style {self.style} carries lists and objects only")
        texts = [text for part in parts for text in ((part,) if isinstance(part, str) else part)]
        if any(delimiter in text for text in texts):
            raise Unserializable(f"{delimiter!r} in an item of the style {self.style}")
        joined = encoded.join(_encoded(text) for text in texts)
        return [(_encoded(self.name), joined)] if parts else []

    def _pairs(self, value: Any, between: str, encode: Any) -> Pairs:
        """The styles form, matrix and cookie, which write name and value."""
        name = encode(self.name) if encode is _raw else _encoded(self.name)
        parts = _parts(value)
        if isinstance(parts, str):
            return [(name, encode(parts))]
        if not parts:
            return []  # RFC 6570, section 2.3: an empty list is as good as none
        if not self.explode:
            return [(name, between.join(_items(parts, between, encode)))]
        return [
            (name, encode(part)) if isinstance(part, str) else (encode(part[0]), encode(part[1]))
            for part in parts
        ]

    def header(self, value: Any) -> str:
        """The value of the header field, as it is: header fields are not percent-encoded.

        Raises:
            Unserializable: no header field can carry it.
        """
        if not _TOKEN.fullmatch(self.name):
            raise Unserializable("its name is not one that a header field can have")
        if self.media_type:
            text = self._content(value)
        else:
            parts = _parts(value)
            if isinstance(parts, str):
                text = parts
            else:
                _refuse_delimiters(parts, ",=" if self.explode else ",")
                text = ",".join(_items(parts, "=" if self.explode else ",", _raw))
        if not _HEADER_TEXT.fullmatch(text):
            raise Unserializable("a header field cannot carry that text")
        return text

    def cookie(self, value: Any) -> Pairs:
        """Names and values of cookies. An exploded list or object becomes several.

        The style `form` percent-encodes what no cookie can hold, and leaves alone what one can:
        RFC 6570 would encode the "=" of a base64, too, and hardly a server would decode that.

        Raises:
            Unserializable: no cookie can carry it.
        """
        if self.media_type:
            pairs = [(self.name, _encoded(self._content(value)))]
        elif self.style == "form":
            pairs = self._pairs(value, ",", _encoded_cookie)
        else:
            parts = _parts(value)
            if not isinstance(parts, str):
                _refuse_delimiters(parts, "" if self.explode else ",")
            pairs = self._pairs(value, ",", _raw)
        for name, text in pairs:
            if not _TOKEN.fullmatch(name) or not _COOKIE_TEXT.fullmatch(text.replace(",", "")):
                raise Unserializable("a cookie cannot carry that text")
        return pairs

    def _content(self, value: Any) -> str:
        if is_json(self.media_type):
            return json_text(value)
        if not isinstance(value, str):
            raise Unserializable(f"for {self.media_type} it has to be text")
        return value


# Style -> what stands between the items, before and behind percent-encoding.
_DELIMITERS = {"spaceDelimited": (" ", "%20"), "pipeDelimited": ("|", "%7C")}


def encode_query_pairs(value: Any) -> Pairs:
    """The fields of `application/x-www-form-urlencoded`, in the style `form`, exploded.

    An object in a field is written as JSON, the default of the Encoding Object.

    Raises:
        Unserializable: it is no mapping and no list of pairs.
    """
    if isinstance(value, Mapping):
        items = list(value.items())
    elif is_list(value) and all(isinstance(item, tuple) and len(item) == 2 for item in value):
        items = list(value)
    else:
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


def is_json(media_type: str) -> bool:
    """Whether a media type is JSON (RFC 8259, RFC 6839)."""
    essence = media_type.partition(";")[0].strip().lower()
    return essence in ("application/json", "text/json") or essence.endswith("+json")


def is_list(value: Any) -> bool:
    """Whether a value stands for a list, as text and bytes do not."""
    if isinstance(value, (str, bytes, bytearray, memoryview)):
        return False
    return isinstance(value, (Sequence, AbstractSet))


def scalar(value: Any) -> str:
    """The text of a value that is neither a list nor an object.

    Numbers and booleans as in JSON, dates and times by RFC 3339, UUIDs and decimals as they print,
    bytes as base64, the members of an enumeration as their values.

    Raises:
        Unserializable: it has none.
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
    """A value as JSON. What `scalar` knows, and JSON does not, becomes a string.

    Raises:
        Unserializable: JSON cannot say it.
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
    """The text of an item of a list or an object, which may not be one of those itself."""
    if isinstance(item, Mapping) or is_list(item):
        raise Unserializable("a list or an object within another one")
    return scalar(item)


def _items(parts: list[str] | list[tuple[str, str]], equals: str, encode: Any) -> list[str]:
    return [
        encode(part) if isinstance(part, str) else f"{encode(part[0])}{equals}{encode(part[1])}"
        for part in parts
    ]


def _refuse_delimiters(parts: list[str] | list[tuple[str, str]], delimiters: str) -> None:
    for part in parts:
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
