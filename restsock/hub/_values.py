"""What the values of a hub's file are: units, files, secrets, tables; see `_tables`."""

from __future__ import annotations

import dataclasses
from typing import Annotated, Any, get_type_hints

from msgspec import UNSET, Meta, Struct, UnsetType, defstruct

__all__ = ["Duration", "File", "Secret", "Size", "Table", "Texts", "table_of"]

Duration = Annotated[float, Meta(extra={"unit": "duration"}, extra_json_schema={"x-text": "30s"})]
"""Seconds, or a text such as `"30s"`, `"500ms"`, `"5m"`, `"1h"`."""

Size = Annotated[int, Meta(extra={"unit": "size"}, extra_json_schema={"x-text": "100MiB"})]
"""Bytes, or a text such as `"64KiB"`, `"100MiB"`, `"1GB"`."""

File = Annotated[str, Meta(extra={"file": True})]
"""The name of a file; one that is relative starts from the folder of the TOML file. Or a URL."""

Secret = Annotated[str, Meta(extra={"secret": True})]
"""Given by `"${NAME}"` only, the name of an environment variable."""

# The fields that have this type.
_SECRETS = frozenset(("password", "secret"))

Texts = tuple[str, ...]
"""Several texts, or one alone."""


class Table(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What all tables have in common."""

    def __rich_repr__(self) -> list[tuple[str, Any]]:
        """Names and values, for `repr` and rich; of a secret it tells only that there is one."""
        found = [(field, getattr(self, field)) for field in self.__struct_fields__]
        return [(name, ... if name in _SECRETS and value else value) for name, value in found]

    def __repr__(self) -> str:
        fields = ", ".join(f"{name}={value!r}" for name, value in self.__rich_repr__())
        return f"{type(self).__name__}({fields})"


def table_of(kind: type) -> Any:
    """The table of a class of options: the same keys, of which none has to be there."""
    hints = get_type_hints(kind)
    fields = []
    for field in dataclasses.fields(kind):
        hint: Any = hints[field.name]
        for plain, with_unit in ((float, Duration), (int, Size)):
            if hint == plain:
                hint = with_unit
            elif hint == (plain | None):
                hint = with_unit | None
        fields.append((field.name, hint | UnsetType, UNSET))
    return defstruct(
        f"{kind.__name__}Table",
        fields,
        bases=(Table,),
        frozen=True,
        kw_only=True,
        forbid_unknown_fields=True,
        namespace={"__module__": kind.__module__},
    )
