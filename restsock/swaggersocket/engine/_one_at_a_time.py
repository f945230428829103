"""`OneAtATime`: the multiplexer of a connection on which each side asks one thing at a time."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from restsock._exceptions import LocalProtocolError
from restsock.protocol import Multiplexer, PlainHead, RequestHead, content_length

if TYPE_CHECKING:
    from ._own_requests import OwnRequests

__all__ = ["OneAtATime"]


class OneAtATime(Multiplexer):
    """Refuses beforehand what the wire of swaggersocket cannot carry.

    Args:
        own: this side's requests on the wire.
        max_request: bytes of the longest body of one.
        args: those of `Multiplexer`.
    """

    __slots__ = ("_body", "_max_request", "_own")

    numbered_pings = False

    def __init__(self, own: OwnRequests, max_request: int, **args: Any) -> None:
        super().__init__(**args)
        self._own = own
        self._max_request = max_request
        self._body = 0  # bytes of the body of the latest request

    @property
    def can_open(self) -> bool:
        """Whether `open_stream()` would succeed now: not before the answer to the last has come.

        Even if nobody waits for that any more: the peer could mix up two answers.
        """
        return self._own.idle and super().can_open

    def announced(self, stream_id: int) -> bool:
        """Whether the peer may know of a stream: its message has begun to leave."""
        return super().announced(stream_id) and not self._own.holds(stream_id)

    def open_stream(
        self, head: RequestHead, *, end: bool = False, plain: PlainHead | None = None
    ) -> int:
        """As `Multiplexer.open_stream`; an upgrade, or too long a body, cannot be sent."""
        if head.upgrade is not None:
            raise LocalProtocolError(
                f"a request to upgrade to {head.upgrade.decode('latin-1')}: swaggersocket carries"
                " requests and responses only"
            )
        self._check_body(content_length(head.headers) or 0)
        self._body = 0
        return super().open_stream(head, end=end, plain=plain)

    def send_data(self, stream_id: int, data: bytes) -> None:
        """As `Multiplexer.send_data`; the body of a request has a bound."""
        stream = self.streams.get(stream_id)
        if stream is not None and stream.local:
            self._check_body(self._body + len(data))
            self._body += len(data)
        super().send_data(stream_id, data)

    def _check_body(self, size: int) -> None:
        if size > self._max_request:
            raise LocalProtocolError(
                f"a request body of more than {self._max_request} bytes (max_request):"
                " swaggersocket sends a request as one message, which is kept until it is whole"
            )
