"""Runs a peer, or a listener, until it ends or a signal ends it."""

from __future__ import annotations

import signal
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import asdict, dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

import click
import trio

from restsock._exceptions import ConnectionClosed, HandshakeError
from restsock.client import Client, connect
from restsock.connection import Closed
from restsock.endpoint import drain_on_signal
from restsock.protocol import CloseCode

from ._collector import collect_seldom
from ._exit_codes import ExitCode
from ._failures import Failure, failure_of
from ._traffic import Served, Traffic

if TYPE_CHECKING:
    from restsock.endpoint import Drainable

    from ._hub_address import HubAddress
    from ._output import Output
    from ._panel import View

__all__ = ["Peer", "Signals", "reporting"]

_BACKLOG = 1000  # events that wait to be written; what comes above that is lost


class Signals:
    """Drains something at a signal, and tells which kind it was.

    SIGTERM and SIGHUP are a wish to end, which is then done in good order. SIGINT is the same, but
    the exit code tells of it. A second one cuts off what is in flight.

    Args:
        endpoint: What to drain.
        hangup: Whether SIGHUP counts.

    Attributes:
        exit_code: What to exit with; `None` before a signal.
    """

    def __init__(self, endpoint: Drainable, *, hangup: bool = True) -> None:
        self.exit_code: ExitCode | None = None
        self._endpoint = endpoint
        self._hangup = hangup

    @asynccontextmanager
    async def drained(self) -> AsyncIterator[None]:
        """Around all that is to end at a signal."""
        terminating = [signal.SIGTERM]
        hangup = self._hangup and hasattr(signal, "SIGHUP")
        # Under nohup it is ignored, and is to stay so.
        if hangup and signal.getsignal(signal.SIGHUP) is not signal.SIG_IGN:
            terminating.append(signal.SIGHUP)
        terminated = _Noted(self, ExitCode.OK)
        interrupted = _Noted(self, ExitCode.INTERRUPTED)
        async with drain_on_signal(terminated, signals=terminating):
            async with drain_on_signal(interrupted, signals=[signal.SIGINT]):
                yield

    async def close(self, code: ExitCode, grace: float | None) -> None:
        """Closes it; the first call says what to exit with."""
        self.exit_code = code if self.exit_code is None else self.exit_code
        await self._endpoint.aclose(grace=grace)


@dataclass
class _Noted:
    signals: Signals
    code: ExitCode

    async def aclose(self, *, grace: float | None = None) -> None:
        await self.signals.close(self.code, grace)


@asynccontextmanager
async def reporting(
    output: Output, traffic: Traffic, look: Callable[[], View]
) -> AsyncIterator[None]:
    """Shows the panel, or writes an event for each request, while the block runs."""
    async with AsyncExitStack() as stack:
        if output.panel:
            from ._panel import panel

            await stack.enter_async_context(panel(look, output))
        elif output.as_json or output.verbose:
            nursery = await stack.enter_async_context(trio.open_nursery())
            send, receive = trio.open_memory_channel[Served](_BACKLOG)
            token = trio.lowlevel.current_trio_token()

            def put(served: Served) -> None:
                try:
                    send.send_nowait(served)
                except (trio.WouldBlock, trio.BrokenResourceError):
                    pass  # the reader is too slow, or has just ended

            traffic.on_served = lambda served: token.run_sync_soon(put, served)
            nursery.start_soon(_write_requests, receive, output)
            stack.callback(nursery.cancel_scope.cancel)
        yield


async def _write_requests(receive: trio.MemoryReceiveChannel[Served], output: Output) -> None:
    async for served in receive:
        text = f"{served.method} {served.path} {served.status} {served.seconds * 1000:.0f} ms"
        write = partial(output.event, "request", text, **asdict(served))
        # In a thread: a terminal that is stopped must not stop the heartbeat.
        await trio.to_thread.run_sync(write, abandon_on_cancel=True)


@dataclass
class Peer:
    """A peer of a hub.

    Args:
        hub: Whom to dial.
        name: To be known by.
        metadata: What the hub is to know of it.
        app: What it serves: an app, or a handler.
        served: What that is, for people: a URL, or `module:app`.
        output: Where to write.
    """

    hub: HubAddress
    name: str
    metadata: dict[str, str]
    app: Any
    served: str
    output: Output
    _urls: tuple[str, ...] = ()

    def run(self) -> int:
        """Runs it until it ends; returns the exit code.

        Raises:
            Failure: It has ended for a reason that people have to know.
        """
        traffic = Traffic()
        try:
            client = connect(
                **self.hub.connect_arguments(),
                app=self.app,
                name=self.name,
                metadata=self.metadata or None,
                instrument=traffic,
            )
        except (ValueError, ImportError) as exc:
            raise click.UsageError(str(exc)) from None
        collect_seldom()
        return trio.run(self._run, client, traffic)

    async def _run(self, client: Client, traffic: Traffic) -> int:
        output, signals = self.output, Signals(client)
        closed: Closed | None = None
        try:
            async with signals.drained():
                output.say(f"connecting to {client.address} as {self.name!r}, for {self.served}")
                async with client:
                    self._tell_connected(client)
                    async with reporting(output, traffic, lambda: self._look(client, traffic)):
                        closed = await client.wait_closed()
        except ConnectionClosed:
            if signals.exit_code is None:
                raise
        if closed is not None:
            output.event("closed", code=closed.code, reason=closed.reason)
        if signals.exit_code is not None:
            return signals.exit_code
        assert closed is not None
        raise await _why(client, closed, self.name)

    def _tell_connected(self, client: Client) -> None:
        output, urls = self.output, client.urls
        url = next(iter(urls), None)
        output.event("connected", name=self.name, url=url, urls=urls, hub=str(client.address))
        if url is None:
            output.say(f"connected; callers name this peer with 'Restsock-Peer: {self.name}'")
        elif not output.as_json:
            output.data(url)

    def _look(self, client: Client, traffic: Traffic) -> View:
        from ._panel import View

        health = client.health()
        connection = client.connection
        seconds = None if connection is None else connection.round_trip
        status = "connected" if connection is not None else "not connected"
        if health.reasons:
            status = f"{status}: {health.reasons[-1]}"
        return View(
            health.ok,
            status,
            (
                ("Name", self.name),
                ("Public URL", self._public_url(client)),
                ("Local", self.served),
                ("Round trip", "-" if seconds is None else f"{seconds * 1000:.1f} ms"),
            ),
            traffic,
        )

    def _public_url(self, client: Client) -> str:
        self._urls = client.urls or self._urls  # those of the last connection, while there is none
        return next(iter(self._urls), f"none; callers send 'Restsock-Peer: {self.name}'")


async def _why(client: Client, closed: Closed, name: str) -> Failure:
    """Why a client has ended that nobody has closed here."""
    if closed.code == CloseCode.REPLACED:
        return Failure(
            f"another peer has taken the name {name!r}",
            "stop that one, or choose another name with --name",
        )
    try:
        await client.wait_connected()
    except ConnectionClosed as exc:
        if isinstance(exc.__cause__, HandshakeError):
            return failure_of(exc.__cause__)
    return Failure(
        f"the hub has ended the connection: {closed}", "'restsock doctor' looks for more"
    )
