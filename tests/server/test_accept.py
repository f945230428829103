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

import restsock.sync
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
    assert [(record.levelname, record.getMessage()) for record in caplog.records] == [
        (
            "WARNING",
            f"cannot accept connections: {full}; trying again every 0.1 s",
        ),
        ("WARNING", "accepting connections again, after 0.3 s"),
    ]


@pytest.mark.parametrize("host", ["127.0.0.1", "::1"])
async def test_a_taken_port_is_an_error(host: str) -> None:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family) as taken:
        try:
            taken.bind((host, 0))
        except OSError:
            pytest.skip("no such family here")
        taken.listen()
        port = taken.getsockname()[1]
        shown = f"[{host}]" if ":" in host else host
        with pytest.raises(OSError, match=r"(?i)in use") as caught:
            await open_listeners(host, port, SocketOptions())
        assert caught.value.errno == errno.EADDRINUSE
        assert f"cannot listen on {shown}:{port}: " in str(caught.value)
        assert "take another port" in str(caught.value)
        with pytest.raises(OSError, match=f"cannot listen on .*:{port}: "):
            await trio.to_thread.run_sync(restsock.sync.listen, host, port)


async def test_an_address_of_another_machine_is_an_error() -> None:
    with pytest.raises(OSError, match=r"cannot listen on 192\.0\.2\.1:7000: ") as caught:
        await open_listeners("192.0.2.1", 7000, SocketOptions())
    assert caught.value.errno == errno.EADDRNOTAVAIL
    assert "this machine has no such address" in str(caught.value)


@pytest.mark.parametrize(
    ("error", "kind", "words"),
    [
        (
            OSError(errno.EACCES, "Permission denied"),
            PermissionError,
            r"cannot listen on edge\.example:80: Permission denied; ports below 1024",
        ),
        (
            socket.gaierror(socket.EAI_NONAME, "Name or service not known"),
            socket.gaierror,
            r"cannot listen on edge\.example:80: Name or service not known$",
        ),
        (OSError("odd"), OSError, r"cannot listen on edge\.example:80: odd$"),
    ],
)
async def test_an_error_says_where(
    error: OSError, kind: type[OSError], words: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def fail(*args: object, **kwargs: object) -> None:
        raise error

    monkeypatch.setattr(trio.socket, "getaddrinfo", fail)
    with pytest.raises(kind, match=words) as caught:
        await open_listeners("edge.example", 80, SocketOptions())
    assert caught.value.errno == error.errno


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


async def test_a_localhost_whose_ipv6_is_not_there(monkeypatch: pytest.MonkeyPatch) -> None:
    """As in containers whose hosts file lists ::1."""
    found = [
        (trio.socket.AF_INET6, trio.socket.SOCK_STREAM, 0, "", ("::1", 0, 0, 0)),
        (trio.socket.AF_INET, trio.socket.SOCK_STREAM, 0, "", ("127.0.0.1", 0)),
    ]
    make = trio.socket.socket

    async def both(*_: object, **__: object) -> list[object]:
        return list(found)

    def no_ipv6(family: int, *arguments: int) -> object:
        # A socket that can have no IPv6 address says what one says whose address is not there.
        sock = make(trio.socket.AF_INET, *arguments)
        if family == trio.socket.AF_INET6:

            async def bind(_: object) -> None:
                raise OSError(errno.EADDRNOTAVAIL, "Cannot assign requested address")

            sock.bind = bind  # type: ignore[method-assign, assignment]
            sock.setsockopt = lambda *_: None  # type: ignore[method-assign]
        return sock

    monkeypatch.setattr(trio.socket, "getaddrinfo", both)
    monkeypatch.setattr(trio.socket, "socket", no_ipv6)
    (listener,) = await open_listeners("localhost", 0, SocketOptions())
    async with listener:
        assert listener.socket.getsockname()[0] == "127.0.0.1"
    del found[1]
    with pytest.raises(OSError, match="this machine has no such address"):
        await open_listeners("localhost", 0, SocketOptions())
