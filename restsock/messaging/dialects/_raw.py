"""`Raw`: each message of the WebSocket is a message, text or bytes, as it is."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from restsock.messaging.engine import check_name, encode_json
from restsock.protocol import Envelope

from ._dialect import End, Garbled, Unsayable, milliseconds

if TYPE_CHECKING:
    from restsock.messaging.engine import Outgoing

__all__ = ["Raw"]


class Raw:
    """Text and bytes as they are, for peers that have no envelope.

    Received messages are on one channel: `str` for a text message, `bytes` for a binary one.
    Messages on any channel are sent in the same way; other values as JSON text. There are no
    acknowledgements, ids, headers or requests.

    Args:
        channel: the channel of received messages.

    Raises:
        ValueError: the channel is not valid.
    """

    name = "raw"
    acknowledges = False

    def __init__(self, *, channel: str = "messages") -> None:
        check_name("channel", channel)
        self.channel = channel

    def __repr__(self) -> str:
        return f"Raw(channel={self.channel!r})"

    def wire(self, end: End) -> _Wire:
        """See `Dialect`."""
        return _Wire(self.channel, end)


class _Wire:
    def __init__(self, channel: str, end: End) -> None:
        self.metadata: Mapping[str, Any] = {}
        self._channel = channel
        self._end = end

    def receive(self, message: str | bytes, now: int) -> Iterator[Envelope | Garbled]:
        payload = {"channel": self._channel, "body": message}
        yield Envelope("data", self._end.new_id(), milliseconds(now), payload)

    def receive_end(self, now: int) -> Iterator[Envelope | Garbled]:
        return iter(())

    def encode(self, outgoing: Outgoing, now: int) -> Sequence[str | bytes]:
        if outgoing.type == "request":
            raise Unsayable("this peer takes no requests")
        if outgoing.type != "data":
            return ()
        body = outgoing.body
        return (body if isinstance(body, (str, bytes)) else encode_json(body),)

    def flush(self, now: int) -> Sequence[str | bytes]:
        return ()
