"""`connected_pair`: two peers, connected and running, over a wire in memory."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from typing import Any

import trio
from trio.testing import memory_stream_pair

from restsock._options import Options
from restsock.apps import make_handler
from restsock.connection import (
    Connection,
    Handler,
    InstrumentLike,
    MessagingLike,
    Peer,
    instruments_of,
    open_accepted,
    open_dialed,
)
from restsock.testing._stream import FaultyStream

_PEER = Peer("memory", 0)


@dataclass(frozen=True)
class Pair:
    """The value of `connected_pair`; unpacks into the two connections.

    Attributes:
        dialer: The connection at the dialing end; its app is ``app_a``.
        listener: The same connection at the listening end; its app is ``app_b``.
        wire: The wire between them, as seen from the dialer: `wire.drop()` and so on.
    """

    dialer: Connection
    listener: Connection
    wire: FaultyStream

    def __iter__(self) -> Iterator[Connection]:
        return iter((self.dialer, self.listener))


@contextlib.asynccontextmanager
async def connected_pair(
    app_a: Any = None,
    app_b: Any = None,
    *,
    options: Options | None = None,
    options_b: Options | None = None,
    name: str | None = None,
    metadata: Any = None,
    interface_a: str | None = None,
    interface_b: str | None = None,
    loop_a: str = "auto",
    loop_b: str = "auto",
    instrument_a: InstrumentLike | None = None,
    instrument_b: InstrumentLike | None = None,
    messaging_a: MessagingLike | None = None,
    messaging_b: MessagingLike | None = None,
    **app_options: Any,
) -> AsyncIterator[Pair]:
    """Connect two peers in memory, for as long as the block runs.

        async with connected_pair(app_b=app) as (dialer, listener):
            response = await dialer.request("GET", "/pets")

    Both ends run on this loop with its clock: with `trio.testing.MockClock(autojump_threshold=0)`,
    timeouts and delays take no time. Leaving the block closes the connection gracefully, unless the
    wire is broken.

    Args:
        app_a: Serves the requests of the listener: an ASGI or WSGI app, or a coroutine function.
            Without an app the answer is 503.
        app_b: Serves the requests of the dialer.
        options: Limits, timeouts and heartbeat of both ends.
        options_b: The options of the listener, if they differ.
        name: The name of the dialer.
        metadata: The metadata of the dialer: any JSON value.
        interface_a: "asgi", "wsgi" or "function", if that cannot be detected from ``app_a``.
        interface_b: The same for ``app_b``.
        loop_a: The event loop of an ASGI ``app_a``: "trio", "asyncio", or "auto"; see
            `restsock.apps.make_handler`. asyncio runs in a thread, which ignores a `MockClock`.
        loop_b: The same for ``app_b``.
        instrument_a: Is told what happens at the dialer's end.
        instrument_b: The same at the listener's end.
        messaging_a: Receives and sends messages at the dialer's end: an open
            `restsock.messaging.Messaging`.
        messaging_b: The same at the listener's end.
        app_options: Other options of `restsock.apps.make_handler`, for both apps.

    Raises:
        ValueError: An argument is not valid.
        TypeError: An argument is unknown or has a wrong type.
    """
    for messaging in (messaging_a, messaging_b):
        if messaging is not None:
            messaging.check_running()
    here = Options() if options is None else options
    there = here if options_b is None else options_b
    near, far = memory_stream_pair()
    wire = FaultyStream(near)
    async with contextlib.AsyncExitStack() as stack:
        handlers: list[Handler | None] = []
        for app, interface, loop, own in (
            (app_a, interface_a, loop_a, here),
            (app_b, interface_b, loop_b, there),
        ):
            handler = None
            if app is not None:
                handler = make_handler(
                    app, interface=interface, loop=loop, options=own, **app_options
                )
                await stack.enter_async_context(handler.running())
            handlers.append(handler)
        ends: dict[str, Connection] = {}

        async def dial() -> None:
            ends["dialer"] = await open_dialed(
                wire,
                host="memory",
                name=name,
                metadata=metadata,
                peer=_PEER,
                options=here,
                messaging=None if messaging_a is None else messaging_a.settings,
            )

        async def accept() -> None:
            ends["listener"] = await open_accepted(
                far,
                peer=_PEER,
                options=there,
                messaging=None if messaging_b is None else messaging_b.settings,
            )

        async with trio.open_nursery() as nursery:
            nursery.start_soon(dial)
            nursery.start_soon(accept)
        pair = Pair(ends["dialer"], ends["listener"], wire)
        pair.dialer.observe(instruments_of(instrument_a))
        pair.listener.observe(instruments_of(instrument_b))
        carried = [
            (messaging, connection)
            for messaging, connection in zip((messaging_a, messaging_b), pair, strict=True)
            if messaging is not None
        ]
        failure: BaseException | None = None
        try:
            for carrier, connection in carried:
                carrier.attach_connection(connection)
            async with trio.open_nursery() as nursery:
                nursery.start_soon(pair.dialer.run, handlers[0])
                nursery.start_soon(pair.listener.run, handlers[1])
                try:
                    yield pair
                # Kept from the nursery, which would wrap it in an exception group.
                except Exception as error:  # noqa: BLE001  # raised again below
                    failure = error
                await pair.dialer.aclose()
                await pair.listener.aclose()
        finally:
            for carrier, connection in carried:
                carrier.detach_connection(connection)
            # After a `drop`, which keeps the inner stream open.
            with trio.CancelScope(shield=True):
                await wire.aclose_inner()
        if failure is not None:
            raise failure
