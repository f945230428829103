"""YAML (1.1, as in PyYAML), without tags that make arbitrary objects."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, ClassVar

from restsock._exceptions import CodecError

from ._bounds import Bounds
from ._registry import library

__all__ = ["YAML"]

_CORE = "tag:yaml.org,2002:"
_SCALARS = frozenset(
    _CORE + name for name in ("null", "bool", "int", "float", "str", "binary", "timestamp")
)
# Types of plain scalars: `<<` merges mappings, `=` is a default value. In YAML 1.2 they are text.
_TEXT = frozenset((_CORE + "merge", _CORE + "value"))
_MAX_DIGITS = 1000
_KEYS = (str, int)
_MAX_KEY = 2**64


class YAML:
    """Each document is a value, with the types of JSON, and `bytes`, dates and times.

    Aliases are refused, because they can expand a short text endlessly, and so are custom tags. The
    keys of mappings are text, integers or booleans, without duplicates.

    A value takes 15 microseconds, so the default of `max_items` is 10,000.
    """

    default_bounds: ClassVar = {"max_items": 10_000}

    def __init__(self, *, bounds: Bounds) -> None:
        self._bounds = bounds
        self._yaml = yaml = library("yaml", "pyyaml")
        # The ones in C take a tenth of the time.
        self._loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
        base = getattr(yaml, "CSafeDumper", yaml.SafeDumper)
        known = {kind: how for kind, how in base.yaml_representers.items() if kind is not set}
        self._dumper = type(
            "Dumper",
            (base,),
            {"ignore_aliases": lambda self, data: True, "yaml_representers": known},
        )

    def decode(self, data: bytes, now: int | None) -> list[Any]:
        text = data.decode("utf-8")  # PyYAML would accept UTF-16 as well
        loader = self._loader(text)
        try:
            return list(_Documents(self._yaml, loader, self._bounds))
        finally:
            loader.dispose()

    def encode(self, value: Any) -> bytes:
        text: str = self._yaml.dump(
            value, Dumper=self._dumper, allow_unicode=True, sort_keys=False, width=2**31 - 1
        )
        return text.encode()


class _Documents:
    """Makes values from the events of a parser, without recursion.

    A loader would first make nodes from the events, and recurse in C as deep as the text is nested.
    """

    def __init__(self, yaml: Any, loader: Any, bounds: Bounds) -> None:
        self._yaml = yaml
        self._loader = loader
        self._bounds = bounds
        self._items = 0

    def __iter__(self) -> Iterator[Any]:
        yaml, loader = self._yaml, self._loader
        while loader.check_event():
            if isinstance(loader.get_event(), yaml.DocumentStartEvent):
                yield self._document()

    def _document(self) -> Any:
        yaml, bounds = self._yaml, self._bounds
        # The open lists and mappings; for a mapping also the key whose value is expected.
        open_: list[tuple[Any, list[Any]]] = []
        while True:
            event = self._loader.get_event()
            if isinstance(event, yaml.CollectionEndEvent):
                made, _ = open_.pop()
            else:
                self._items += 1
                bounds.count(self._items)
                if isinstance(event, yaml.ScalarEvent):
                    made = self._scalar(event)
                elif isinstance(event, yaml.CollectionStartEvent):
                    bounds.nest(len(open_) + 1)
                    open_.append((self._collection(event), []))
                    continue
                else:
                    raise CodecError("aliases are not supported", kind="unsupported")
            if not open_:
                return made
            into, key = open_[-1]
            if isinstance(into, list):
                into.append(made)
            elif key:
                into[key.pop()] = made
            else:
                key.append(_checked_key(made, into))

    def _collection(self, event: Any) -> Any:
        sequence = isinstance(event, self._yaml.SequenceStartEvent)
        expected = _CORE + ("seq" if sequence else "map")
        if event.tag not in (None, "!", expected):
            raise CodecError("tags are not supported", kind="unsupported")
        return [] if sequence else {}

    def _scalar(self, event: Any) -> Any:
        yaml, text = self._yaml, event.value
        tag = event.tag
        if tag is None or tag == "!":
            tag = self._loader.resolve(yaml.ScalarNode, text, event.implicit)
            if tag in _TEXT:
                return text
        if tag not in _SCALARS:
            raise CodecError("tags are not supported", kind="unsupported")
        if tag in (_CORE + "int", _CORE + "float") and len(text) > _MAX_DIGITS:
            raise CodecError(f"a number of more than {_MAX_DIGITS} digits", kind="malformed")
        return self._loader.construct_object(yaml.ScalarNode(tag, text))


def _checked_key(key: Any, into: dict[Any, Any]) -> Any:
    if not isinstance(key, _KEYS) or (isinstance(key, int) and abs(key) >= _MAX_KEY):
        raise CodecError("a key that is neither text nor an integer", kind="unsupported")
    if key in into:
        raise CodecError("a duplicate key", kind="malformed")
    return key
