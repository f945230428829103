"""The part of an exchange that serving a request needs, on any loop."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from restsock.connection import Carrier, ExchangeEvent
    from restsock.protocol import Headers, RequestHead, ResponseHead

__all__ = ["ServedExchange"]


class ServedExchange(Protocol):
    """An `Exchange`, or its proxy on an asyncio loop."""

    observer: Callable[[ExchangeEvent], None]

    @property
    def request(self) -> RequestHead:
        """The head of the request."""

    @property
    def connection(self) -> Carrier | None:
        """Its connection; outside its loop, only attributes that never change may be read."""

    @property
    def buffered(self) -> int:
        """Body bytes that wait to be sent."""

    def batch(self) -> AbstractContextManager[object]:
        """As `Exchange.batch`."""

    def send_head(self, head: ResponseHead) -> None:
        """As `Exchange.send_head`."""

    def send_data(self, data: bytes) -> None:
        """As `Exchange.send_data`."""

    def send_end(self, trailers: Headers = ()) -> None:
        """As `Exchange.send_end`."""

    def respond(self, head: ResponseHead, body: bytes) -> None:
        """As `Exchange.respond`."""

    def consume(self, nbytes: int) -> None:
        """As `Exchange.consume`."""

    def reset(self, code: int = ..., reason: str = ...) -> None:
        """As `Exchange.reset`."""
