"""After a 101: raw bytes both ways, between the tunnel and the server's connection."""

from __future__ import annotations

import trio

from restsock._exceptions import RestsockError
from restsock.connection import AsyncExchange

__all__ = ["carry_raw"]

_READ = 64 * 1024


async def carry_raw(
    exchange: AsyncExchange, stream: trio.abc.Stream, first: bytes, *, grace: float
) -> None:
    """Carries bytes until both directions have ended.

    The caller's end is passed on where possible: TCP can end one direction, TLS only both. The
    server's end may be that of its whole connection, which only sending would show; so after it a
    silent caller does not keep the connection.

    Args:
        exchange: the caller's side.
        stream: the server's side.
        first: bytes of the server that have come already.
        grace: seconds of silence, or after an end that cannot be passed on, before both are ended.

    Raises:
        trio.BrokenResourceError: the server's connection broke. The caller has not been told.
    """
    broken: list[trio.BrokenResourceError] = []
    over = trio.CancelScope()
    server_ended = False

    def end_soon() -> None:
        over.deadline = trio.current_time() + grace

    async def to_server() -> None:
        try:
            while data := await exchange.receive_data():
                await stream.send_all(data)
                if server_ended:
                    end_soon()
            if isinstance(stream, trio.abc.HalfCloseableStream):
                await stream.send_eof()
                return
        except trio.BrokenResourceError:
            pass  # what the server has sent before that is still to be carried
        except RestsockError:
            return  # the caller has left, and all of this is being cancelled
        end_soon()

    async def to_caller() -> None:
        nonlocal server_ended
        data = first
        try:
            while True:
                if data:
                    await exchange.send_data(data)
                data = bytes(await stream.receive_some(_READ))
                if not data:
                    break
        except trio.BrokenResourceError as exc:
            broken.append(exc)
            over.cancel()
            return
        exchange.send_end()
        server_ended = True
        end_soon()

    with over:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(to_server)
            nursery.start_soon(to_caller)
    if broken:
        raise broken[0]
    exchange.close()
