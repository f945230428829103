"""The fuzz targets, by name, and the inputs that are kept for them."""

from __future__ import annotations

from collections.abc import Sequence
from importlib import import_module
from pathlib import Path
from typing import Protocol, cast

__all__ = ["CORPUS", "TARGETS", "Target", "corpus", "target"]

TARGETS = (
    "heads_fast",
    "websocket_fast",
    "frames",
    "heads",
    "handshake",
    "messages",
    "dialects",
    "gateway_dialects",
    "websocket_events",
    "plain_exchange",
    "multiplexer",
    "listener",
    "plain_http",
    "codecs",
    "framings",
    "connectors",
    "websocket_served",
    "swaggersocket",
)

CORPUS = Path(__file__).parent / "corpus"


class Target(Protocol):
    """What the module of a target holds.

    Attributes:
        MAX_LEN: of an input, in bytes.
        DICTIONARY: words of its language, for mutations.
    """

    MAX_LEN: int
    DICTIONARY: Sequence[bytes]

    def test_one(self, data: bytes) -> None:
        """Runs one input; any exception is a fault that was found."""


def target(name: str) -> Target:
    """The target of this name."""
    return cast("Target", import_module(f"tests.fuzz.{name}"))


def corpus(name: str) -> list[bytes]:
    """The inputs that fuzzing has found for a target, and that are worth keeping."""
    return [path.read_bytes() for path in sorted((CORPUS / name).glob("*"))]
