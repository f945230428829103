"""The interface of framings, and chains of them."""

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
"""The names of all framings for incoming data."""

AFTER_ENCODING: tuple[str, ...] = _AFTER.names
"""The names of all framings for outgoing data."""

Step = str | Mapping[str, Any]
"""A framing in a configuration: its name, or a mapping with `name` and optionally `config`."""


class Piece(NamedTuple):
    """Bytes, and the time of their arrival or sending.

    Attributes:
        data: Part of a stream, or a message.
        time: When it arrived or was sent, in nanoseconds since 1970.
    """

    data: bytes
    time: int


class Framing(Protocol):
    """One step between bytes and messages, with the state of one connection in one direction.

    An error in the data is yielded in place of its message, so that the result does not depend on
    how a stream is split into pieces.
    """

    def feed(self, piece: Piece) -> Iterable[Piece | CodecError]:
        """The messages or pieces that a piece completes; may be none.

        The result must be consumed completely before the next call.
        """

    def finish(self, now: int) -> Iterable[Piece | CodecError]:
        """The rest at the end of the stream; or now, for a framing that only collects.

        Args:
            now: The time in nanoseconds since 1970.
        """


class Chain:
    """Several framings in sequence; itself a framing."""

    def __init__(self, steps: Sequence[Framing]) -> None:
        self._steps = tuple(steps)

    def feed(self, piece: Piece) -> Iterator[Piece | CodecError]:
        """The results of the last framing for a piece."""
        items: Iterable[Piece | CodecError] = (piece,)
        for step in self._steps:
            items = _through(step, items)
        return iter(items)

    def finish(self, now: int) -> Iterator[Piece | CodecError]:
        """The rest from all framings: the rest of each one passes through those after it."""
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
        max_length: The `max_length` of all steps that do not set it, in bytes; by default 1 MiB.

    Raises:
        ValueError: There is no such framing or option, or a value is not valid. The message
            suggests the most similar name.
        ImportError: A framing needs a library that is not installed; the message says which extra
            has it.
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
        raise ValueError(f"more than {_MAX_STEPS} framings")
    made: list[Framing] = []
    for step in steps:
        name, options = named(step, "framing")
        name, kind = registry.find(name)
        if max_length is not None:
            options = {"max_length": max_length, **options}
        made.append(registry.build(name, kind, options))
    return Chain(made)
