"""`FaultyProxy`: a TCP proxy on this machine that fails on demand."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator

import trio

from restsock._logging import PartLog
from restsock.testing._faults import Faults
from restsock.testing._stream import FaultyStream

_log = PartLog("restsock.testing")
_PIECE = 65536


class Link:
    """One proxied connection.

    Attributes:
        stream: The client's side, where faults are set; ``stream.receiving`` is the wire from
            client to target, ``stream.sending`` the wire from target to client.
    """

    def __init__(self, client: trio.SocketStream) -> None:
        self.stream = FaultyStream(client)
        self.target: trio.SocketStream | None = None

    async def run(self, host: str, port: int) -> None:
        """Dial the target and forward until both directions have ended.

        Raises nothing if the target cannot be reached: the client gets a reset, and the log says
        why.
        """
        try:
            self.target = target = await trio.open_tcp_stream(host, port)
            async with trio.open_nursery() as nursery:
                nursery.start_soon(self._pump, self.stream, target, nursery.cancel_scope)
                nursery.start_soon(self._pump, target, self.stream, nursery.cancel_scope)
        except OSError as error:
            _log.info("the proxy does not reach %s:%d: %s", host, port, error)
            await self.stream.cut()
        finally:
            with trio.CancelScope(shield=True):
                await self.stream.aclose_inner()
                if self.target is not None:
                    await trio.aclose_forcefully(self.target)

    async def _pump(
        self,
        source: trio.abc.HalfCloseableStream,
        sink: trio.abc.HalfCloseableStream,
        scope: trio.CancelScope,
    ) -> None:
        try:
            while data := await source.receive_some(_PIECE):
                await sink.send_all(data)
            await sink.send_eof()
        except (trio.BrokenResourceError, trio.ClosedResourceError):
            # Pass the failure on, as a reset, to both the target and the client.
            if self.target is not None:
                await FaultyStream(self.target).cut()
            await self.stream.cut()
            scope.cancel()


class FaultyProxy(Faults):
    """Forwards TCP to a target, for peers in other processes or over real TLS.

        async with FaultyProxy(host, port) as proxy:
            client = restsock.connect(f"ws://127.0.0.1:{proxy.port}/")
            ...
            await proxy.cut()       # every connection is reset; new ones work
            await proxy.refuse()    # new connections are refused
            await proxy.accept()    # and accepted again

    The methods act on every current connection; those that set a lasting state (`stall`, `drop`,
    `slow`) also act on later ones. For faults of a single connection, use `links`.

    Args:
        host: The host of the target.
        port: The port of the target.

    Attributes:
        links: The current connections, oldest first.
        accepted: How many connections were accepted so far.
    """

    def __init__(self, host: str, port: int) -> None:
        super().__init__()
        self.links: list[Link] = []
        self.accepted = 0
        self._target = (host, port)
        self._port = 0
        self._stack = contextlib.AsyncExitStack()
        self._nursery: trio.Nursery | None = None
        self._listening: trio.CancelScope | None = None
        self._refusing = trio.Event()

    @property
    def port(self) -> int:
        """The port on 127.0.0.1 that clients dial; `refuse` does not change it."""
        return self._port

    async def __aenter__(self) -> FaultyProxy:
        async with contextlib.AsyncExitStack() as stack:
            self._nursery = await stack.enter_async_context(_cancelled_nursery())
            await self.accept()
            self._stack = stack.pop_all()
        return self

    async def __aexit__(self, *args: object) -> None:
        await self._stack.aclose()

    async def refuse(self) -> None:
        """Refuse new connections; the current ones continue. Raises nothing; may be repeated."""
        await trio.lowlevel.checkpoint()
        if self._listening is not None:
            self._listening.cancel()
            self._listening = None
            await self._refusing.wait()

    async def accept(self) -> None:
        """Accept new connections (again), on the same port. Harmless if it already does.

        Raises:
            RuntimeError: The proxy was not entered.
            OSError: Another program has taken the port meanwhile.
        """
        if self._nursery is None:
            raise RuntimeError("the proxy runs inside `async with`")
        if self._listening is None:
            self._listening = await self._nursery.start(self._listen)

    async def _listen(
        self, task_status: trio.TaskStatus[trio.CancelScope] = trio.TASK_STATUS_IGNORED
    ) -> None:
        listeners = await trio.open_tcp_listeners(self._port, host="127.0.0.1")
        self._port = listeners[0].socket.getsockname()[1]
        self._refusing = trio.Event()
        with trio.CancelScope() as scope:
            task_status.started(scope)
            # Closes the sockets when it ends.
            await trio.serve_listeners(self._serve, listeners, handler_nursery=self._nursery)
        self._refusing.set()

    async def _serve(self, client: trio.SocketStream) -> None:
        link = Link(client)
        self.accepted += 1
        self.links.append(link)
        self._join(link.stream)
        try:
            await link.run(*self._target)
        finally:
            self._streams.remove(link.stream)
            self.links.remove(link)


@contextlib.asynccontextmanager
async def _cancelled_nursery() -> AsyncIterator[trio.Nursery]:
    async with trio.open_nursery() as nursery:
        try:
            yield nursery
        finally:
            nursery.cancel_scope.cancel()
