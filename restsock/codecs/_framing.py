"""What a framing is, how a row of them is made, and how it works."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple, Protocol

from restsock._exceptions import CodecError

from ._registry import Registry, named

__all__ = [
    "AFTER_ENCODING",
    "BEFORE_DECODING",
    "Chain",
    "Framing",
    "Piece",
    "Step",
    "after_encoding",
    "before_decoding",
]

_MAX_STEPS = 16

_BEFORE = Registry(
    "framing before decoding",
    {
        "separate": "_delimited:Split",
        "length-prefixed": "_prefixed:length_prefix_decoder",
        "textual-length-prefixed": "_prefixed:textual_length_prefix_decoder",
        "base64": "_transforms:base64_decoder",
        "decompress": "_transforms:decompression",
        "gelf-chunking": "_gelf:GELFDecoder",
        "ingest-ns": "_transforms:IngestTimeDecoder",
        "remove-empty": "_transforms:RemoveEmpty",
    },
    {"textual-length-prefix": "textual-length-prefixed", "length-prefix": "length-prefixed"},
)
_AFTER = Registry(
    "framing after encoding",
    {
        "separate": "_delimited:Terminate",
        "length-prefixed": "_prefixed:length_prefix_encoder",
        "textual-length-prefixed": "_prefixed:textual_length_prefix_encoder",
        "base64": "_transforms:base64_encoder",
        "compress": "_transforms:compression",
        "chunk": "_collected:Chunk",
        "collect": "_collected:Collect",
        "gelf-chunking": "_gelf:GELFEncoder",
        "ingest-ns": "_transforms:IngestTimeEncoder",
        "remove-empty": "_transforms:RemoveEmpty",
    },
    {"textual-length-prefix": "textual-length-prefixed", "length-prefix": "length-prefixed"},
)

BEFORE_DECODING: tuple[str, ...] = _BEFORE.names
"""The names of all framings that there are for what comes in."""

AFTER_ENCODING: tuple[str, ...] = _AFTER.names
"""The names of all framings that there are for what goes out."""

Step = str | Mapping[str, Any]
"""A framing in a configuration: its name, or a mapping with `name` and perhaps `config`."""


class Piece(NamedTuple):
    """Bytes on their way, and a time that goes with them.

    Attributes:
        data: Part of a stream, or a message.
        time: When it came or was sent, in nanoseconds since 1970.
    """

    data: bytes
    time: int


class Framing(Protocol):
    """One step between bytes and messages, with the state of one connection in one direction.

    What is wrong with one piece is given back in the place of what would have become of it, so that
    the result does not depend on how a stream is cut into pieces.
    """

    def feed(self, piece: Piece) -> Iterable[Piece | CodecError]:
        """What a piece completes, which may be nothing.

        All of it has to be taken before the next call.
        """

    def finish(self, now: int) -> Iterable[Piece | CodecError]:
        """What is left at the end of the stream; or now, for what only collects.

        Args:
            now: Nanoseconds since 1970.
        """


class Chain:
    """Framings in a row, which are a framing again."""

    def __init__(self, steps: Sequence[Framing]) -> None:
        self._steps = tuple(steps)

    def feed(self, piece: Piece) -> Iterator[Piece | CodecError]:
        """What a piece completes in the last of them."""
        items: Iterable[Piece | CodecError] = (piece,)
        for step in self._steps:
            items = _through(step, items)
        return iter(items)

    def finish(self, now: int) -> Iterator[Piece | CodecError]:
        """What is left in all of them: that of each one still passes through those after it."""
        items: Iterable[Piece | CodecError] = ()
        for step in self._steps:
            items = _through(step, items, now)
        return iter(items)


def _through(
    step: Framing, items: Iterable[Piece | CodecError], end: int | None = None
) -> Iterator[Piece | CodecError]:
    for item in items:
        if isinstance(item, CodecError):
            yield item
        else:
            yield from step.feed(item)
    if end is not None:
        yield from step.finish(end)


def before_decoding(steps: Iterable[Step], *, max_length: int | None = None) -> Chain:
    """Makes the framings that come before the codec, for one connection.

    Args:
        steps: Names, or mappings such as `{"name": "separate", "config": {"separator": ";"}}`, in
            the order in which data passes through them. docs/connectors.md lists them.
        max_length: That of all steps which do not say otherwise, in bytes; by default 1 MiB.

    Raises:
        ValueError: There is no such framing or option, or a value is not valid. The message names
            the nearest one.
        ImportError: One needs a library that is not installed; the message says which extra has it.
    """
    return _build(_BEFORE, steps, max_length)


def after_encoding(steps: Iterable[Step], *, max_length: int | None = None) -> Chain:
    """Makes the framings that come after the codec, for one connection.

    Arguments and errors are those of `before_decoding`.
    """
    return _build(_AFTER, steps, max_length)


def _build(registry: Registry, steps: Iterable[Step], max_length: int | None) -> Chain:
    steps = [steps] if isinstance(steps, (str, Mapping)) else list(steps)
    if len(steps) > _MAX_STEPS:
        raise ValueError(f"more than {_MAX_STEPS} framings in a row")
    made: list[Framing] = []
    for step in steps:
        name, options = named(step, "framing")
        name, kind = registry.find(name)
        if max_length is not None:
            options = {"max_length": max_length, **options}
        made.append(registry.build(name, kind, options))
    return Chain(made)
