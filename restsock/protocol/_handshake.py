"""The handshake: three envelopes that make a WebSocket a connection (spec, "Handshake").

::

    dialer                         listener
      | -- hello: name, metadata --> |
      | <-- welcome: connection id - |
      | -- ready: the same id -----> |

Each side waits for exactly one step at a time; whatever else comes ends it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from enum import Enum
from typing import Any

from restsock._exceptions import LocalProtocolError, RemoteProtocolError
from restsock._options import Limits

from ._envelopes import Settings, decode_envelope, encode_envelope, weight_of
from ._events import CloseCode, HandshakeCompleted, HelloReceived
from ._urls import can_be_told, read_urls

__all__ = ["STEPS", "VERSION", "Handshake"]

VERSION = 1

STEPS = frozenset(("hello", "welcome", "ready"))

_MAX_NAME = 255


class _Due(Enum):
    """Whose turn it is, and for what; the values are the peer's envelope types."""

    OWN_HELLO = "nothing"
    WELCOME = "welcome"
    HELLO = "hello"
    OWN_WELCOME = "nothing yet"
    READY = "ready"
    DONE = "done"


class Handshake:
    """One side of the handshake.

    Args:
        dialer: which side.
        settings: what this side tells of itself.
        limits: what this side takes: `max_metadata` for an envelope of the peer's, in characters.
        new_id: makes the id of an envelope.
        unix_ms: the time, in milliseconds.

    Attributes:
        peer: the peer's settings, the defaults until it has told them.
        connection_id: known from `welcome` on.
        urls: where plain HTTP reaches the dialer, as `welcome` tells it.
        done: whether streams may be opened.
    """

    __slots__ = (
        *("_due", "_limits", "_new_id", "_settings", "_unix_ms"),
        *("connection_id", "done", "peer", "urls"),
    )

    def __init__(
        self,
        *,
        dialer: bool,
        settings: Settings,
        limits: Limits,
        new_id: Callable[[], str],
        unix_ms: Callable[[], int],
    ) -> None:
        self.peer = Settings()
        self.connection_id: str | None = None
        self.urls: tuple[str, ...] = ()
        self.done = False
        self._settings = settings
        self._limits = limits
        self._new_id = new_id
        self._unix_ms = unix_ms
        self._due = _Due.OWN_HELLO if dialer else _Due.HELLO

    def hello(self, name: str | None, metadata: Any) -> str:
        """Returns the dialer's first step.

        Raises:
            LocalProtocolError: the metadata is not JSON, the name is not a name, or it is not
                the dialer's turn.
        """
        if self._due is not _Due.OWN_HELLO:
            raise LocalProtocolError("hello is the dialer's first step")
        if not _is_name(name):
            raise LocalProtocolError(f"a name is 1 to {_MAX_NAME} printable characters")
        payload = {"version": VERSION, "name": name, "metadata": metadata}
        message = self._envelope("hello", {**payload, "settings": self._settings.to_json()})
        self._due = _Due.WELCOME
        return message

    def welcome(self, connection_id: str, urls: Sequence[str] = ()) -> str:
        """Returns the listener's answer to `HelloReceived`.

        Raises:
            LocalProtocolError: it is not the listener's turn, or the URLs cannot be told.
        """
        if self._due is not _Due.OWN_WELCOME:
            raise LocalProtocolError("welcome is the answer to hello")
        if not can_be_told(urls):
            raise LocalProtocolError("these URLs are too many, or not plain ones")
        self.connection_id = connection_id
        self.urls = tuple(urls)
        self._due = _Due.READY
        payload: dict[str, Any] = {"connection_id": connection_id}
        if urls:
            payload["urls"] = list(urls)
        return self._envelope("welcome", {**payload, "settings": self._settings.to_json()})

    def skip(self, connection_id: str) -> None:
        """Takes all steps as done."""
        self.connection_id = connection_id
        self._due = _Due.DONE
        self.done = True

    def receive(
        self, message: str | bytes
    ) -> tuple[HelloReceived | HandshakeCompleted, str | None]:
        """Takes in the peer's next step.

        Returns:
            What has happened, and what to answer at once.

        Raises:
            RemoteProtocolError: it is not the step that is due. Its code is HANDSHAKE_FAILED.
        """
        try:
            if not isinstance(message, str):
                raise RemoteProtocolError("a frame before the handshake is complete")
            if len(message) > self._limits.max_metadata:
                raise RemoteProtocolError(
                    f"a handshake message of {len(message)} characters", limit="max_metadata"
                )
            envelope = decode_envelope(message)
            if envelope.type != self._due.value:
                due = self._due.value
                raise RemoteProtocolError(f"{envelope.type[:20]!r} where {due} is due")
            if self._due is _Due.HELLO:
                return self._receive_hello(envelope.payload), None
            return self._receive_id(envelope.payload)
        except RemoteProtocolError as exc:
            exc.close_code = CloseCode.HANDSHAKE_FAILED
            raise

    def _receive_hello(self, payload: dict[str, Any]) -> HelloReceived:
        version = payload.get("version")
        # To Python, true and 1.0 are 1 as well.
        if type(version) is not int or version != VERSION:
            raise RemoteProtocolError("an unknown version of the protocol")
        name = payload.get("name")
        if not _is_name(name):
            raise RemoteProtocolError("a malformed name")
        metadata = payload.get("metadata")
        self._check_metadata(metadata)
        self.peer = Settings.from_json(payload.get("settings", {}))
        self._due = _Due.OWN_WELCOME
        return HelloReceived(name, metadata)

    def _check_metadata(self, metadata: object) -> None:
        limits = self._limits
        most, depth = limits.max_metadata_memory, limits.max_metadata_depth
        if weight_of(metadata, depth=depth) is None:
            raise RemoteProtocolError(
                f"metadata that is nested more than {depth} deep", limit="max_metadata_depth"
            )
        if weight_of(metadata, most=most) is None:
            raise RemoteProtocolError(
                f"metadata that takes more than {most} bytes of memory",
                limit="max_metadata_memory",
            )

    def _receive_id(self, payload: dict[str, Any]) -> tuple[HandshakeCompleted, str | None]:
        connection_id = payload.get("connection_id")
        if not isinstance(connection_id, str) or not _is_name(connection_id):
            raise RemoteProtocolError("a malformed connection id")
        answer: str | None = None
        if self._due is _Due.WELCOME:
            self.peer = Settings.from_json(payload.get("settings", {}))
            self.urls = read_urls(payload.get("urls", []))
            self.connection_id = connection_id
            answer = self._envelope("ready", {"connection_id": connection_id})
        elif connection_id != self.connection_id:
            raise RemoteProtocolError("ready with another connection's id")
        self._due = _Due.DONE
        self.done = True
        return HandshakeCompleted(connection_id, self.urls), answer

    def _envelope(self, type: str, payload: dict[str, Any]) -> str:
        return encode_envelope(type, self._new_id(), self._unix_ms(), payload)


def _is_name(name: object) -> bool:
    if name is None:
        return True
    return isinstance(name, str) and 1 <= len(name) <= _MAX_NAME and name.isprintable()
