"""`connected_pair`: two peers, handshaken and running, over a wire in memory."""

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
    """What `connected_pair` gives; unpacks into the two connections.

    Attributes:
        dialer: The connection at the end that dialed; its app is ``app_a``.
        listener: The same connection at the end that listened; its app is ``app_b``.
        wire: What is between them, seen from the dialer: `wire.drop()` and so on.
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

    Both ends run on this loop and under its clock: with a
    `trio.testing.MockClock(autojump_threshold=0)`, time-outs and delays take no time. Leaving
    closes the connection in good order, unless the wire is broken by then.

    Args:
        app_a: Serves what the listener asks of the dialer: an ASGI or WSGI app, a coroutine
            function; without one the answer is 503.
        app_b: Serves what the dialer asks of the listener.
        options: Limits, timeouts and heartbeat of both ends.
        options_b: Those of the listener, where they differ.
        name: What the dialer calls itself.
        metadata: What it tells about itself: any JSON value.
        interface_a: "asgi", "wsgi" or "function", if that cannot be detected from ``app_a``.
        interface_b: The same for ``app_b``.
        loop_a: Of ``app_a``, an ASGI app: asyncio, unless this is "trio" (or Quart-Trio's). With
            asyncio a thread has its part in it, of which a `MockClock` knows nothing.
        loop_b: The same for ``app_b``.
        instrument_a: Is told what happens at the dialer's end.
        instrument_b: The same at the listener's.
        messaging_a: Takes and sends messages at the dialer's end: a `restsock.messaging.Messaging`
            that is open.
        messaging_b: The same at the listener's.
        app_options: Further options of `restsock.apps.make_handler`, for both apps.
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
                # Kept from the nursery, which would wrap it in a group.
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
