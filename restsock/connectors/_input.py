"""`run_input`: from peers to lines."""

from __future__ import annotations

from collections.abc import Callable

import trio

from restsock.messaging import MessageStream

from ._carrier import Carrier
from ._lines import line_of

__all__ = ["run_input"]


async def run_input(
    carrier: Carrier,
    channel: str,
    write: Callable[[bytes], object],
    *,
    on_ready: Callable[[], object] | None = None,
) -> None:
    """Takes messages from peers until the carrier is closed, and writes each as a line of JSON.

    A message is acknowledged when `write` has returned. If cancelled, messages that were not
    acknowledged are sent again by peers that do that.

    Args:
        carrier: of an `InputConfig`; it is entered here.
        channel: of that.
        write: writes a line, and has it flushed. It is called in a thread, and may block.
        on_ready: is called on the loop, once peers can connect.

    Raises:
        OSError: what `write` raises; or the carrier cannot listen.
        WebSocketRefused: as of `Carrier.wait_closed`.
        HandshakeError: likewise.
    """
    failures: list[OSError] = []

    async def write_all(stream: MessageStream) -> None:
        try:
            async for message in stream:
                line = line_of(message)
                await trio.to_thread.run_sync(write, line, abandon_on_cancel=True)
                await message.ack()
        except OSError as exc:
            failures.append(exc)
            await carrier.aclose(grace=0)

    refused: BaseException | None = None
    stream = carrier.messaging.messages(channel)
    async with carrier, trio.open_nursery() as nursery:
        nursery.start_soon(write_all, stream)
        if on_ready is not None:
            on_ready()
        try:
            await carrier.wait_closed()
        except Exception as exc:  # noqa: BLE001  # raised below, where no nursery wraps it
            refused = exc
        nursery.cancel_scope.cancel()
    if failures:
        raise failures[0]
    if refused is not None:
        raise refused
