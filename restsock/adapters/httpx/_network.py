"""After a 101: raw bytes, as the network stream that libraries on top of httpx expect."""

from __future__ import annotations

import importlib
from collections.abc import Iterator
from contextlib import contextmanager
from types import ModuleType
from typing import TYPE_CHECKING, Any

import anyio

from restsock._exceptions import RestsockError

if TYPE_CHECKING:
    from restsock.connection import TaskExchange

__all__ = ["NetworkStream"]


class NetworkStream:
    """An `AsyncNetworkStream` of httpcore, over which httpx2 and httpx-ws speak WebSocket.

    Args:
        exchange: The exchange with the bytes.
        package: The package of the client; errors are those of its httpcore.
    """

    def __init__(self, exchange: TaskExchange, package: ModuleType) -> None:
        self._exchange = exchange
        core = "httpcore2" if package.__name__ == "httpx2" else "httpcore"
        self._core = importlib.import_module(core)
        self._rest = b""

    @contextmanager
    def _within(self, kind: str, timeout: float | None) -> Iterator[None]:
        """Limits a wait, and raises httpcore's errors of this kind."""
        try:
            with anyio.fail_after(timeout):
                yield
        except TimeoutError as exc:
            raise getattr(self._core, f"{kind}Timeout")(f"nothing within {timeout} s") from exc
        except RestsockError as exc:
            raise getattr(self._core, f"{kind}Error")(str(exc)) from exc

    async def read(self, max_bytes: int, timeout: float | None = None) -> bytes:
        """Waits for bytes, for at most `timeout` seconds; `b""` at the end.

        Raises:
            httpcore.ReadTimeout: Nothing arrived in time.
            httpcore.ReadError: The stream has failed.
        """
        if not self._rest:
            with self._within("Read", timeout):
                self._rest = await self._exchange.receive_data()
        data, self._rest = self._rest[:max_bytes], self._rest[max_bytes:]
        return data

    async def write(self, buffer: bytes, timeout: float | None = None) -> None:
        """Sends bytes; waits, for at most `timeout` seconds, while the send buffer is full.

        Raises:
            httpcore.WriteTimeout: The send buffer was full for that long.
            httpcore.WriteError: The stream has failed.
        """
        with self._within("Write", timeout):
            await self._exchange.send_data(buffer)
            self._exchange.check()

    async def aclose(self) -> None:
        """Ends both directions."""
        if self._exchange.error is None:
            self._exchange.send_end()
        self._exchange.close()

    async def start_tls(self, *args: Any, **options: Any) -> Any:
        """Not supported for a stream in a tunnel.

        Raises:
            NotImplementedError: Always.
        """
        raise NotImplementedError("TLS inside a tunnelled stream is not supported")

    def get_extra_info(self, info: str) -> Any:
        """Always `None`: there is no socket here."""
        return None
