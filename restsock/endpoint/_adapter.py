"""Adapters for other HTTP libraries: they send through a client, a route or a connection."""

from __future__ import annotations

from abc import ABC, abstractmethod
from functools import partial
from typing import TYPE_CHECKING, Any

from restsock.connection import Requester

if TYPE_CHECKING:
    from requests.adapters import BaseAdapter

    from restsock.adapters import PeersByHost
    from restsock.openapi import ContractLike

__all__ = ["AdaptedRequester", "Adapters", "AdaptersByName"]


class Adapters(ABC):
    """The adapters of a client, a route or a connection for `requests`, httpx and httpx2."""

    @abstractmethod
    def _sender(self) -> Requester:
        """What sends the requests."""

    def adapter(self, *, openapi: ContractLike | None = None, **options: Any) -> BaseAdapter:
        """Make a transport adapter for `requests`, for any number of threads and sessions.

            session.mount("http://hub/", client.adapter())

        The adapter of a client or a route keeps working across reconnects.

        Args:
            openapi: Validates calls against an OpenAPI document: its file name, a mapping, its path
                on the peer (`"/openapi.json"`), `True` to look for it there, or a
                `restsock.openapi.Contract` with options.
            options: Options of `TunnelAdapter`: `max_retries`, for example.

        Raises:
            SpecError: The document cannot be read or used.
        """
        # Both load modules that many programs do not need.
        from restsock.adapters import TunnelAdapter

        if openapi is not None:
            from restsock.openapi import bind_contract

            options["contract"] = bind_contract(self._sender(), openapi)
        return TunnelAdapter(self._sender(), **options)

    def transport(self) -> Any:
        """Make a transport for httpx and httpx2: for `AsyncClient` (trio, asyncio) and `Client`.

            async with httpx.AsyncClient(transport=client.transport()) as http:
                await http.get("http://hub/pets")

        A `Client` blocks its thread, so do not use it on the thread of an event loop.

        Raises:
            ImportError: Neither of the two is installed (`pip install 'restsock[httpx]'`).
        """
        from restsock.adapters import transport_for

        return transport_for(self._sender())


class AdaptedRequester(Requester, Adapters):
    """A requester of the API for trio, with adapters."""

    def _sender(self) -> Requester:
        return self


class AdaptersByName(ABC):
    """The same for a server, whose peers have names."""

    @abstractmethod
    def route(self, name: str) -> Adapters:
        """A way to send requests to the peer of this name, connected now or not."""

    def adapter(
        self,
        name: str | None = None,
        *,
        suffix: str | None = None,
        openapi: ContractLike | None = None,
        **options: Any,
    ) -> BaseAdapter:
        """Make a transport adapter for `requests` to the peer of this name, or to all peers.

            session.mount("http://edge-1/", server.adapter("edge-1"))
            session.mount("http://", server.adapter(suffix=".peers"))  # http://edge-1.peers/

        Args:
            name: The peer's name.
            suffix: For all peers: what follows the peer's name in the host of a URL. See
                `restsock.adapters.PeersByHost`.
            openapi: As for `Client.adapter`. With `suffix`, a document that is passed here applies
                to all peers; a document on a peer applies to that peer only.
            options: As for `Client.adapter`.

        Raises:
            SpecError: The document cannot be read or used.
            TypeError: There is neither a name nor a suffix, or both.
            ValueError: The suffix cannot be part of a host.
        """
        _check_one(name, suffix)
        if name is not None:
            return self.route(name).adapter(openapi=openapi, **options)
        from restsock.adapters import TunnelAdapter

        return TunnelAdapter(self._peers(suffix, openapi), **options)

    def transport(self, name: str | None = None, *, suffix: str | None = None) -> Any:
        """Make a transport for httpx and httpx2 to the peer of this name, or to all peers.

            async with httpx.AsyncClient(transport=server.transport("edge-1")) as http:
                await http.get("http://edge-1/pets")

            mounts = {"all://*.peers": server.transport(suffix=".peers")}

        See `Client.transport` for where it works.

        Args:
            name: The peer's name.
            suffix: As for `adapter`.

        Raises:
            ImportError: Neither of the two is installed (`pip install 'restsock[httpx]'`).
            TypeError: There is neither a name nor a suffix, or both.
            ValueError: The suffix cannot be part of a host.
        """
        _check_one(name, suffix)
        if name is not None:
            return self.route(name).transport()
        from restsock.adapters import transport_for

        return transport_for(self._peers(suffix))

    def _peers(self, suffix: str | None, openapi: ContractLike | None = None) -> PeersByHost:
        from restsock.adapters import PeersByHost

        assert suffix is not None
        bind = None
        if openapi is not None:
            from restsock.openapi import Contract, bind_contract

            contract = openapi if isinstance(openapi, Contract) else Contract(openapi)
            bind = partial(bind_contract, openapi=contract)
        return PeersByHost(suffix, lambda name: self.route(name)._sender(), bind)


def _check_one(name: str | None, suffix: str | None) -> None:
    if (name is None) is (suffix is None):
        raise TypeError("pass the name of a peer, or suffix= for all peers")
