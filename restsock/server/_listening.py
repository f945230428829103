"""The listeners of a server, which can move to another address."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import trio

from restsock._addresses import is_loopback

from ._accept import Listener, accept_forever, accept_queued, address_of
from ._place import place_of

if TYPE_CHECKING:
    from restsock._options import SocketOptions

    from ._accept import OpenListeners

__all__ = ["Bound", "Listening"]


@dataclass(frozen=True)
class Bound:
    """Bound sockets that nothing accepts from yet. Made by `Server.bind`.

    Attributes:
        host: The host that they are bound to.
        listeners: One for each address.
    """

    host: str | None
    listeners: Sequence[Listener]

    async def aclose(self) -> None:
        """Closes the sockets if they are not used after all. If cancelled, they are closed, too."""
        for listener in self.listeners:
            await trio.aclose_forcefully(listener)


class Listening:
    """The listeners of a server, each with a task that accepts from it.

    Order of calls: `open()`, `start()`, then `bind()` and `move()` any number of times.

    Args:
        host: The host of the first listeners; `None` is all interfaces.
        port: The port of the first listeners.
        open_listeners: Opens the first listeners.
        shared: Whether another process has bound them.
        on_accept: Takes over a new connection; must not block.
    """

    def __init__(
        self,
        host: str | None,
        port: int,
        open_listeners: OpenListeners,
        *,
        shared: bool,
        on_accept: Callable[[trio.abc.Stream], object],
    ) -> None:
        self.open_listeners = open_listeners
        self.shared = shared
        self._host = host
        self._port = port
        self._on_accept = on_accept
        self._nursery: trio.Nursery | None = None
        self._scopes: dict[Listener, trio.CancelScope] = {}  # of the current listeners
        self._address: tuple[str, int] | None = None

    @property
    def address(self) -> tuple[str, int] | None:
        """The address of the first listener; `None` before there is one."""
        return self._address

    async def open(self, options: SocketOptions) -> Sequence[Listener]:
        """Opens the first listeners.

        Raises:
            OSError: An address cannot be bound.
        """
        return await self.open_listeners(self._host, self._port, options)

    def start(self, nursery: trio.Nursery, listeners: Sequence[Listener]) -> None:
        """Accepts from these listeners, in tasks of this nursery, until it is cancelled."""
        self._nursery = nursery
        self._add(listeners)

    async def bind(self, host: str | None, port: int | None, options: SocketOptions) -> Bound:
        """See `Server.bind`."""
        where, number, open_listeners = place_of(host, port)
        if self.shared:
            raise ValueError("the sockets were handed over: whoever has bound them can move them")
        if is_loopback(where) != is_loopback(self._host):
            raise ValueError("a server does not move from loopback to elsewhere, or back")
        return Bound(where, await open_listeners(where, number, options))

    def move(self, bound: Bound) -> None:
        """Accepts from these listeners instead of the old ones, which are closed soon.

        Connections in the queues of the old ones are accepted first.
        """
        before, self._scopes = self._scopes, {}
        self._host = bound.host
        self._add(bound.listeners)
        for listener, scope in before.items():
            accept_queued(listener, self._on_accept)
            scope.cancel()

    def _add(self, listeners: Sequence[Listener]) -> None:
        assert self._nursery is not None
        for listener in listeners:
            scope = self._scopes[listener] = trio.CancelScope()
            self._nursery.start_soon(self._accept, listener, scope)
        self._address = address_of(listeners[0])

    async def _accept(self, listener: Listener, scope: trio.CancelScope) -> None:
        with scope:
            async with listener:
                await accept_forever(listener, self._on_accept)

    async def aclose(self) -> None:
        """Closes the listeners. Can be cancelled."""
        for listener in self._scopes:
            await listener.aclose()
