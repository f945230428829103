"""The handshake: three JSON messages, in place of the envelopes of restsock.v1.

| swaggersocket, with its sender                        | restsock.v1 |
|-------------------------------------------------------|-------------|
| dialer: `{"Type":"ClientHandshakeMetaData","Meta":…}` | `hello`     |
| listener: `{"Type":"ServerHandshakeConnectionID",…}`  | `welcome`   |
| dialer: `{"Type":"ClientHandshakeAckFrame"}`          | `ready`     |

The multiplexer has the envelopes, and with them the order of the steps and the limits.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

from restsock._exceptions import LocalProtocolError, RemoteProtocolError
from restsock._strict_json import NotJSON, read_json
from restsock.http1 import CREDIT
from restsock.protocol import CloseCode, decode_envelope, encode_envelope

__all__ = ["HandshakeSteps"]

_METADATA = "ClientHandshakeMetaData"
_ID = "ServerHandshakeConnectionID"
_ACK = "ClientHandshakeAckFrame"

# What a peer would say of itself: there is one request at a time, and no credit on this wire.
_SETTINGS = {"max_frame": 64 * 1024, "initial_window": CREDIT, "max_streams": 1}


class HandshakeSteps:
    """Turns the steps of one handshake into each other.

    Args:
        dialer: whether this side has dialed.
        name_of: what a dialer is called, given its metadata.

    Attributes:
        done: whether the last step has come. What follows is HTTP.
    """

    def __init__(self, *, dialer: bool, name_of: Callable[[Any], str | None]) -> None:
        self.done = False
        self._name_of = name_of
        self._due = _ID if dialer else _METADATA
        self._id: str | None = None  # once this side has told it

    def send(self, text: str) -> bytes:
        """The message in place of an envelope that is to be sent."""
        envelope = decode_envelope(text)
        message: dict[str, Any]
        if envelope.type == "hello":
            message = {"Type": _METADATA, "Meta": envelope.payload["metadata"]}
        elif envelope.type == "welcome":
            self._id = envelope.payload["connection_id"]
            message = {"Type": _ID, "ConnectionID": self._id}
        else:
            message = {"Type": _ACK}
        # As the original writes it: a line.
        text = json.dumps(message, ensure_ascii=False, separators=(",", ":"))
        return text.encode() + b"\n"

    def receive(self, data: bytes) -> str:
        """The envelope in place of a message that has come.

        Raises:
            RemoteProtocolError: it is not the step that is due. Its code is HANDSHAKE_FAILED.
        """
        try:
            return self._envelope(self._read(data))
        except RemoteProtocolError as exc:
            exc.close_code = CloseCode.HANDSHAKE_FAILED
            raise

    def _read(self, data: bytes) -> dict[str, Any]:
        try:
            message = read_json(data)
        except NotJSON as exc:
            raise RemoteProtocolError(f"a message of the handshake {exc}") from None
        if not isinstance(message, dict) or message.get("Type") != self._due:
            raise RemoteProtocolError(f"not the {self._due} that is due in the handshake")
        return message

    def _envelope(self, message: dict[str, Any]) -> str:
        payload: dict[str, Any] = {"settings": _SETTINGS}
        if self._due == _METADATA:
            metadata = message.get("Meta")
            self._due = _ACK
            payload |= {"version": 1, "name": self._name_of(metadata), "metadata": metadata}
            return _encoded("hello", payload)
        self.done = True
        if self._due == _ID:
            payload["connection_id"] = message.get("ConnectionID")
            return _encoded("welcome", payload)
        if self._id is None:
            raise RemoteProtocolError(f"{_ACK} before there is an id")
        return _encoded("ready", {"connection_id": self._id})


def _encoded(type: str, payload: dict[str, Any]) -> str:
    try:
        return encode_envelope(type, "", 0, payload)
    except LocalProtocolError:  # nested deeper than can be written, or half of a character
        raise RemoteProtocolError("metadata that cannot be kept") from None
