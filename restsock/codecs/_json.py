"""JSON (RFC 8259), as strict as everywhere in this package."""

from __future__ import annotations

import json
from typing import Any

from restsock._exceptions import CodecError
from restsock._strict_json import NestedTooDeeply, NotJSON, read_json

from ._bounds import Bounds, check_trees, one_of

__all__ = ["JSON"]


class JSON:
    """JSON texts in UTF-8, without NaN, infinite numbers and duplicate names in an object.

    Args:
        bounds: The limits of a message.
        mode: `"unsorted"`, or `"sorted"` for members in the order of their names.
    """

    def __init__(self, *, bounds: Bounds, mode: str = "unsorted") -> None:
        self._bounds = bounds
        self._encoder = json.JSONEncoder(
            ensure_ascii=False,
            allow_nan=False,
            sort_keys=one_of("mode", mode, ("unsorted", "sorted")) == "sorted",
            separators=(",", ":"),
        )

    def decode(self, data: bytes, now: int | None) -> list[Any]:
        try:
            value = read_json(data)
        except NotJSON as exc:
            kind = "too_deep" if isinstance(exc, NestedTooDeeply) else "malformed"
            raise CodecError(str(exc), kind=kind) from None
        bounds = self._bounds
        # Most messages have too few brackets and commas to exceed a limit.
        nested = data.count(b"[") + data.count(b"{")
        items = nested + data.count(b",") + data.count(b":") + 1
        if nested > bounds.max_depth or items > bounds.max_items:
            check_trees([value], bounds)
        if b"\\u" in data:
            self._check_text(value)
        return [value]

    def encode(self, value: Any) -> bytes:
        return self._encoder.encode(value).encode()

    def _check_text(self, value: Any) -> None:
        """Refuses lone surrogates, which can be written only in JSON."""
        try:
            self.encode(value)
        except UnicodeEncodeError:
            raise CodecError("has half of a character", kind="malformed") from None
