"""An envelope on its way out."""

from __future__ import annotations

import base64
import json
from typing import Any

__all__ = ["Outgoing"]


class Outgoing:
    """An envelope that leaves, encoded once, however many links it goes to.

    Args:
        type: the type of the envelope.
        id: its id.
        timestamp: Unix time in milliseconds.
        text: the whole message.
        size: bytes of the text in UTF-8.
        urgent: whether it goes ahead of messages that wait: all but `data` do.
        channel: of `data`.

    Attributes:
        type: and the others as above.
    """

    __slots__ = ("_payload", "channel", "id", "size", "text", "timestamp", "type", "urgent")

    def __init__(
        self,
        type: str,
        id: str,
        timestamp: int,
        text: str,
        size: int,
        *,
        urgent: bool,
        channel: str = "",
    ) -> None:
        self.type = type
        self.id = id
        self.timestamp = timestamp
        self.text = text
        self.size = size
        self.urgent = urgent
        self.channel = channel
        self._payload: dict[str, Any] | None = None

    @property
    def payload(self) -> dict[str, Any]:
        """The payload, for dialects that put it in another form; read from the text once."""
        if self._payload is None:
            self._payload = json.loads(self.text)["payload"]
        return self._payload

    @property
    def body(self) -> Any:
        """The body of `data`, as it was sent: any JSON value, or bytes."""
        payload = self.payload
        body: Any = payload.get("body")
        return base64.b64decode(body) if "encoding" in payload else body
