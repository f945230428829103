"""The description of one parameter, for the end that writes it and the end that parses it.

The rules are those of the Parameter Object in OpenAPI 3.0.4, 3.1.1 and 3.2.0. Header fields of a
response and fields of a form are described in the same way.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

__all__ = ["LOCATIONS", "Parameter"]

# The styles of each location, its default first. The order is that of a signature.
_STYLES: Mapping[str, tuple[str, ...]] = {
    "path": ("simple", "label", "matrix"),
    "query": ("form", "spaceDelimited", "pipeDelimited", "deepObject"),
    "querystring": ("",),
    "header": ("simple",),
    "cookie": ("form", "cookie"),
}
LOCATIONS = tuple(_STYLES)


@dataclass(frozen=True, slots=True)
class Parameter:
    """One parameter of an operation.

    Attributes:
        name: Its name as sent.
        location: `"path"`, `"query"`, `"querystring"` (OpenAPI 3.2), `"header"` or `"cookie"`.
        required: Whether it is required.
        style: How lists and objects are written; `""` if `media_type` decides that.
        explode: Whether each of their items is written separately.
        allow_reserved: Whether reserved characters in a query value are not encoded.
        allow_empty: Whether an empty text is valid, whatever the schema says.
        media_type: The media type of the text, if the document has `content` instead of a style.
        schema: The schema of the value, which may be a `$ref`; `None` without one.
        description: Its description.
        deprecated: Whether it should no longer be used.
    """

    name: str
    location: str
    required: bool
    style: str
    explode: bool
    allow_reserved: bool
    allow_empty: bool
    media_type: str
    schema: Any
    description: str
    deprecated: bool

    @classmethod
    def of(
        cls, described: Mapping[str, Any], resolve: Callable[[Any], Any] = lambda node: node
    ) -> Parameter:
        """Makes a parameter from a Parameter Object.

        Args:
            described: The object; if it was a reference, resolved.
            resolve: Resolves the references in it.

        Raises:
            ValueError: The location or the style is not valid in OpenAPI.
        """
        name, location = described.get("name"), str(described.get("in"))
        if not isinstance(name, str) or location not in _STYLES:
            raise ValueError(f"OpenAPI has no parameter named {name!r} in {location!r}")
        media_type, media = next(iter((described.get("content") or {}).items()), ("", described))
        style = "" if media_type else described.get("style") or _STYLES[location][0]
        if style and style not in _STYLES[location]:
            raise ValueError(f"the {location} parameter {name!r} has no style {style!r}")
        return cls(
            name=name,
            location=location,
            required=location == "path" or bool(described.get("required", False)),
            style=style,
            explode=bool(described.get("explode", style in ("form", "cookie", "deepObject"))),
            allow_reserved=bool(described.get("allowReserved", False)),
            allow_empty=bool(described.get("allowEmptyValue", False)),
            media_type=media_type,
            schema=resolve(media).get("schema"),
            description=str(described.get("description") or ""),
            deprecated=bool(described.get("deprecated", False)),
        )

    def __str__(self) -> str:
        return f"{self.location} parameter {self.name!r}"

    @property
    def key(self) -> tuple[str, str]:
        """The location and the name, which identify it; a header name is in lower case."""
        return self.location, self.name.lower() if self.location == "header" else self.name
