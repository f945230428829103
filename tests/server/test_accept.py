"""Accepting goes on whatever happens; binding does not hide its errors."""

from __future__ import annotations

import errno
import logging
import socket
from collections.abc import Awaitable, Callable
from typing import cast

import pytest
import trio
import trio.testing

from restsock import SocketOptions
from restsock.server import _accept
from restsock.server._accept import accept_forever, open_listeners

Bind = Callable[[str | None, int, SocketOptions], Awaitable[list[trio.SocketListener]]]


class FakeListener:
    """A listener that follows a script of errors and streams, then is closed."""

    def __init__(self, *script: OSError | str) -> None:
        self.script = list(script)

    async def accept(self) -> str:
        await trio.lowlevel.checkpoint()
        if not self.script:
            raise trio.ClosedResourceError
        step = self.script.pop(0)
        if isinstance(step, OSError):
            raise step
        return step


async def test_running_out_of_file_descriptors(
    autojump_clock: trio.testing.MockClock, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "restsock.server")
    full = OSError(errno.EMFILE, "Too many open files")
    listener = FakeListener("a", full, full, full, "b", "c")
    greeted: list[str] = []
    greet = cast("Callable[[trio.abc.Stream], object]", greeted.append)
    await accept_forever(cast("trio.SocketListener", listener), greet)
    assert greeted == ["a", "b", "c"]
    assert trio.current_time() == pytest.approx(0.3)
    # Said once, not three times; and that it is over.
    assert [record.levelname for record in caplog.records] == ["ERROR", "INFO"]


async def test_a_taken_port_is_an_error() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        with pytest.raises(OSError, match=r"(?i)in use"):
            await open_listeners("127.0.0.1", taken.getsockname()[1], SocketOptions())


async def test_one_port_on_all_addresses(monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[int] = []
    real: Bind = _accept._bind

    async def two(host: str | None, port: int, options: SocketOptions) -> list[trio.SocketListener]:
        calls.append(port)
        first = await real("127.0.0.1", port, options)
        # A second address of the same name, as on a host with IPv4 and IPv6.
        return first + await real("127.0.0.2", port, options)

    monkeypatch.setattr(_accept, "_bind", two)
    listeners = await open_listeners("localhost", 0, SocketOptions())
    ports = {listener.socket.getsockname()[1] for listener in listeners}
    for listener in listeners:
        listener.socket.close()
    assert len(listeners) == 2
    assert ports == {calls[1]}


async def test_gives_up_when_no_port_is_free_everywhere(monkeypatch: pytest.MonkeyPatch) -> None:
    real: Bind = _accept._bind

    async def never(
        host: str | None, port: int, options: SocketOptions
    ) -> list[trio.SocketListener]:
        if port:
            raise OSError(errno.EADDRINUSE, "Address already in use")
        return [*await real("127.0.0.1", 0, options), *await real("127.0.0.1", 0, options)]

    monkeypatch.setattr(_accept, "_bind", never)
    with pytest.raises(OSError, match="no port is free"):
        await open_listeners("localhost", 0, SocketOptions())
