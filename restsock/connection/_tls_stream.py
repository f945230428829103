"""TLS over any stream, for as long as only tasks of the loop use it.

A `Connection` takes it apart: it drives the stream below and the `TLS` itself.
"""

from __future__ import annotations

import operator
import ssl
from collections.abc import Generator
from contextlib import contextmanager

import trio

from restsock.protocol import TLS

__all__ = ["TLSStream", "linger"]

_READ = 64 * 1024


class TLSStream(trio.abc.Stream):
    """A stream whose bytes are encrypted. Begins with `do_handshake()`.

    One task may send while another receives. What TLS finds wrong is a `trio.BrokenResourceError`
    with the `ssl.SSLError` as its cause; the peer has been sent the alert that tells it why.

    Args:
        transport_stream: below; closed with this one.
        context: what is offered and accepted.
        server_side: whether this end was dialed.
        server_hostname: whom the certificate of the peer has to be for.
        close_required: whether a peer that ends without close_notify is an error.
    """

    def __init__(
        self,
        transport_stream: trio.abc.Stream,
        context: ssl.SSLContext,
        *,
        server_side: bool = False,
        server_hostname: str | None = None,
        close_required: bool = False,
    ) -> None:
        self.transport_stream = transport_stream
        self.tls = TLS(
            context,
            server_side=server_side,
            server_hostname=server_hostname,
            close_required=close_required,
        )
        self._flushing = trio.StrictFIFOLock()
        self._plain = bytearray()
        self._closed = False
        self._busy: set[str] = set()

    async def do_handshake(self) -> None:
        """Does the handshake. Bound its time.

        Raises:
            trio.BrokenResourceError: it failed.
        """
        try:
            while not self.tls.handshake():
                await self._flush()
                self.tls.receive_data(bytes(await self.transport_stream.receive_some(_READ)))
        except ssl.SSLError as exc:
            await self._warn()
            raise trio.BrokenResourceError("the TLS handshake failed") from exc
        await self._flush()

    async def send_all(self, data: bytes | bytearray | memoryview) -> None:
        """Sends bytes. If cancelled, some of them may have been sent; nothing can follow them."""
        with self._alone("send"):
            await trio.lowlevel.checkpoint()
            self.tls.send_data(bytes(data))
            await self._flush()

    async def wait_send_all_might_not_block(self) -> None:
        """Waits until `send_all` might not have to wait."""
        with self._alone("send"):
            await self.transport_stream.wait_send_all_might_not_block()

    async def receive_some(self, max_bytes: int | None = None) -> bytes:
        """Waits for bytes; `b""` at the end. A cancelled wait has taken none."""
        if max_bytes is not None and operator.index(max_bytes) < 1:
            raise ValueError("max_bytes must be 1 or more")
        with self._alone("receive"):
            await trio.lowlevel.checkpoint()
            while not self._plain:
                data = self.tls.read()
                if data:
                    self._plain += data
                elif self.tls.ended:
                    return b""
                else:
                    # An answer to what was read: to a key update, say. Who is sending takes it
                    # along, and who receives must not wait for that.
                    if self.tls.outgoing.pending and not self._flushing.locked():
                        await self._flush()
                    self.tls.receive_data(bytes(await self.transport_stream.receive_some(_READ)))
            size = len(self._plain) if max_bytes is None else max_bytes
            taken = bytes(self._plain[:size])
            del self._plain[:size]
            return taken

    def quiet(self) -> bool:
        """Whether nothing waits to be received, as far as bytes were taken from below."""
        try:
            self._plain += self.tls.read()
        except ssl.SSLError:
            return False
        return not (self._plain or self.tls.ended)

    async def aclose(self) -> None:
        """Says that nothing more will be sent (close_notify), and closes.

        If cancelled, it closes without a word.
        """
        if self._closed:
            await trio.lowlevel.checkpoint()
            return
        self._closed = True
        try:
            self.tls.close()
            await self._flush()
        except (trio.BrokenResourceError, trio.ClosedResourceError, trio.BusyResourceError):
            pass  # it has gone
        finally:
            await self.transport_stream.aclose()

    @contextmanager
    def _alone(self, doing: str) -> Generator[None, None, None]:
        """Keeps a second task out, and maps what TLS raises."""
        if self._closed:
            raise trio.ClosedResourceError
        if doing in self._busy:
            raise trio.BusyResourceError(f"another task is using this stream to {doing}")
        self._busy.add(doing)
        try:
            yield
        except ssl.SSLError as exc:
            raise trio.BrokenResourceError("TLS failed") from exc
        except (trio.BrokenResourceError, trio.ClosedResourceError):
            if self._closed:  # meanwhile
                raise trio.ClosedResourceError from None
            raise
        finally:
            self._busy.discard(doing)

    async def _flush(self) -> None:
        async with self._flushing:
            while data := self.tls.data_to_send():
                await self.transport_stream.send_all(data)

    async def _warn(self) -> None:
        """Sends the alert of a handshake that failed, so that the peer learns why."""
        try:
            await self._flush()
            if self.tls.object.server_side:
                await linger(self.transport_stream)
        except (trio.BrokenResourceError, trio.ClosedResourceError, OSError):
            pass  # it has gone


async def linger(stream: trio.abc.Stream) -> None:
    """Reads what still comes, for a moment: closing on unread bytes would discard our last."""
    if isinstance(stream, trio.abc.HalfCloseableStream):
        try:
            await stream.send_eof()
        except (trio.BrokenResourceError, trio.ClosedResourceError, OSError):
            return
    with trio.move_on_after(0.5):
        for _ in range(64):
            if not await stream.receive_some(_READ):
                return
