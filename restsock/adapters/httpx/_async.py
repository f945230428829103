"""The transport for the async clients of httpx and httpx2, on trio and on asyncio."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from typing import TYPE_CHECKING, Any

import anyio

from restsock._exceptions import RequestTimeout, RestsockError
from restsock.adapters._fields import INLINE
from restsock.connection import pause_if_refused
from restsock.protocol import RequestHead, ResetCode, ResponseHead
from restsock.threads import open_here

from ._network import NetworkStream
from ._request import ResponseBody, Times, mapped, package_of, parts_of, response_of

if TYPE_CHECKING:
    from restsock.adapters._peers import PeersByHost
    from restsock.connection import Requester, TaskExchange

__all__ = ["AsyncTunnelTransport"]


class AsyncTunnelTransport:
    """A transport that sends the requests of an async client to a peer over its connection.

        async with httpx.AsyncClient(transport=client.transport()) as http:
            await http.get("http://edge-1/pets")

    It works on trio and on asyncio, whichever loop the connection runs on. The differences listed
    for the blocking transport apply here, too. After a 101 there is
    `response.extensions["network_stream"]`, over which httpx2 and httpx-ws speak WebSocket.

    If a request is cancelled, its stream is reset and the peer's app learns of it.

    Args:
        requester: Sends the requests: a `Connection`, a `Client`, a route of a `Server`; or a
            `PeersByHost`, which finds the requester for each request.
    """

    def __init__(self, requester: Requester | PeersByHost) -> None:
        self._requester = requester

    async def handle_async_request(self, request: Any) -> Any:
        """Sends a request and returns once the response head has arrived.

        If cancelled, the stream is reset and the peer's app learns of it.

        Raises:
            httpx.TransportError: As for the blocking transport.
            httpx.InvalidURL: The host names no peer.
            TypeError: This is not a request of httpx or httpx2.
        """
        package = package_of(request)
        requester, head, body, times = parts_of(request, self._requester, upgradable=True)
        try:
            transfer, response = await self._send(requester, head, body, times)
        except RestsockError as exc:
            raise mapped(exc, request, busy=times.busy)  # noqa: B904  # has its cause
        extensions = {}
        if response.status == 101:
            extensions["network_stream"] = NetworkStream(transfer.exchange, package)
        return response_of(request, head.method, response, AsyncTunnelBytes, transfer, **extensions)

    async def _send(
        self, requester: Requester, head: RequestHead, body: Any, times: Times
    ) -> tuple[Transfer, ResponseHead]:
        whole = isinstance(body, bytes) and len(body) <= INLINE
        start_by = anyio.current_time() + times.start
        attempt = 0
        while True:
            exchange = open_here(requester, head, body=body if whole else b"", end=whole)
            transfer = Transfer(exchange, None if whole else body, times)
            try:
                await exchange.wait_started(max(0.0, start_by - anyio.current_time()))
                return transfer, await transfer.receive_head()
            except RestsockError as exc:
                await transfer.aclose()
                attempt += 1
                pause = pause_if_refused(
                    exc,
                    attempt,
                    started=exchange.started,
                    # The exchange itself handles a body that is short or was not begun.
                    replayable=isinstance(body, bytes) and not whole,
                    left=start_by - anyio.current_time(),
                )
                if pause is None:
                    raise
            except BaseException:
                await transfer.aclose()
                raise
            await anyio.sleep(pause)


class Transfer:
    """One request in progress, with the rest of its body.

    Args:
        exchange: The exchange.
        body: Bytes or an async iterable; `None` if it was sent already.
        times: Its timeouts.
    """

    def __init__(self, exchange: TaskExchange, body: Any, times: Times) -> None:
        self.exchange = exchange
        self._times = times
        self._body = body
        self._pieces: AsyncIterator[bytes] | None = None
        self._uploading = body is not None

    async def receive_head(self) -> ResponseHead:
        """Sends the body until all is sent or the response has begun; waits for the head.

        Raises:
            RequestTimeout: In phase "write" or "head".
            RestsockError: The exchange has failed.
        """
        exchange = self.exchange
        while self._uploading:
            if exchange.write_paused:
                head: ResponseHead | None
                head = await self._room_or(exchange.receive_head, self._times.write, "write")
                if head is not None:
                    return head
            else:
                await self._step()
        with anyio.move_on_after(self._times.read):
            return await exchange.receive_head()
        raise RequestTimeout(
            f"no response head within {self._times.read} s",
            phase="head" if exchange.started else "connect",
            may_have_run=exchange.started,
        )

    async def receive_data(self) -> bytes:
        """Waits for bytes of the response body; sends the rest of the request meanwhile.

        Raises:
            RequestTimeout: In phase "body".
            RestsockError: The exchange has failed.
        """
        exchange = self.exchange
        while self._uploading:
            data = exchange.receive_nowait()
            if data is None and exchange.write_paused:
                data = await self._room_or(exchange.receive_data, self._times.read, "body")
            if data is not None:
                return data
            exchange.check()
            if not exchange.write_paused:
                await self._step()
        with anyio.move_on_after(self._times.read):
            return await exchange.receive_data()
        raise RequestTimeout(f"no body bytes within {self._times.read} s", phase="body")

    def release(self) -> None:
        """Ignores the rest of the peer's half: everything of interest has arrived."""
        self.exchange.release()

    async def aclose(self) -> None:
        """Ends the exchange, unless it is complete, and the generator of the body."""
        self.exchange.close()
        self._uploading = False
        close = getattr(self._pieces, "aclose", None)
        self._pieces = None
        if close is not None:
            # Shielded, since otherwise the generator would be closed at some later time.
            with anyio.CancelScope(shield=True):
                await close()

    async def _step(self) -> None:
        """Sends one piece."""
        exchange = self.exchange
        if self._pieces is None:
            body = self._body
            self._pieces = _cut(body) if isinstance(body, bytes) else aiter(body)
        piece: bytes | None = None
        if not exchange.stopped and exchange.error is None:
            try:
                piece = await anext(self._pieces, None)
            except Exception:
                # Any exception, since the body is the caller's. What was sent before must arrive.
                exchange.close(ResetCode.INTERNAL, "the body of the request failed")
                raise
        if piece is None:
            self._uploading = False
            exchange.send_end()
        elif piece:
            exchange.send_nowait(piece)

    async def _room_or(
        self, receive: Callable[[], Awaitable[Any]], seconds: float | None, phase: str
    ) -> Any:
        """Waits until there is room to send, or something arrives; returns that, or `None`.

        Both waits can be cancelled without losing anything.
        """
        received: Any = None
        error: RestsockError | None = None

        async def wait_for_room() -> None:
            await self.exchange.send_data(b"")
            tasks.cancel_scope.cancel()

        with anyio.move_on_after(seconds) as waiting:
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(wait_for_room)
                try:
                    received = await receive()
                except RestsockError as exc:
                    error = exc
                tasks.cancel_scope.cancel()
        if error is not None:
            raise error
        if received is None and waiting.cancelled_caught:
            raise RequestTimeout(f"nothing within {seconds} s", phase=phase)
        return received


class AsyncTunnelBytes(ResponseBody):
    """The body of a response, as it arrives."""

    base = "AsyncByteStream"

    def __init__(self, transfer: Transfer, request: Any, length: int | None) -> None:
        self._transfer = transfer
        super().__init__(request, length, transfer.release)

    # Not a generator, which would have to be closed if it is left halfway.
    def __aiter__(self) -> AsyncIterator[bytes]:
        return self

    async def __anext__(self) -> bytes:
        if self._left != 0:
            try:
                data = await self._transfer.receive_data()
            except RestsockError as exc:
                await self.aclose()
                raise mapped(exc, self._request)  # noqa: B904  # has its cause
            if data:
                self._take(data)
                return data
        self.trailers[:] = self._transfer.exchange.trailers
        raise StopAsyncIteration

    async def aclose(self) -> None:
        """Ends the exchange, unless it is complete."""
        await self._transfer.aclose()

    def __del__(self) -> None:
        # The garbage collector may run anywhere, also outside the loop's thread.
        transfer = getattr(self, "_transfer", None)
        if transfer is not None:
            transfer.exchange.close_soon()


async def _cut(body: bytes) -> AsyncIterator[bytes]:
    for at in range(0, len(body), INLINE):
        yield body[at : at + INLINE]
