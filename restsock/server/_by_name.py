"""Requests to peers by name, for the async servers."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import AsyncIterable
from typing import TYPE_CHECKING, Any

from restsock.connection import Requester
from restsock.endpoint import AdaptersByName, documented_like

if TYPE_CHECKING:
    from restsock.connection import FieldsLike, Response

__all__ = ["RequestsByName"]


class RequestsByName(AdaptersByName):
    """What the servers for trio and for asyncio have in common."""

    @abstractmethod
    def route(self, name: str) -> Any:
        """A way to send requests to the peer of this name, connected now or not."""

    @documented_like(Requester.request)
    async def request(
        self,
        name: str,
        method: str,
        target: str,
        *,
        headers: FieldsLike = (),
        body: bytes | str | AsyncIterable[bytes] = b"",
        timeout: float | None = None,
        scheme: str | None = None,
    ) -> Response:
        """Sends a request to the peer of this name and reads the whole response.

        `Client.request` says which requests are sent again automatically. If cancelled, the stream
        is reset and the peer's app learns of it.

        Args:
            name: The peer's name.

        Raises:
            PeerNotFound: No peer of that name was ever connected, and none connected within
                `Timeouts.connect`. A retry is safe.
            PeerUnavailable: The peer was connected before, but not within that time. A retry is
                safe.
        """
        response: Response = await self.route(name).request(
            method, target, headers=headers, body=body, timeout=timeout, scheme=scheme
        )
        return response
