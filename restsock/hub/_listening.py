"""Where the listeners of a hub listen."""

from __future__ import annotations

import re
import socket
from collections.abc import Collection, Iterable, Mapping
from typing import Any, Literal, NamedTuple, TypeAlias

from restsock._addresses import is_loopback, is_loopback_socket, url_host
from restsock.server import systemd_sockets

from ._errors import ConfigError

__all__ = ["ListenerName", "Place", "handed_over", "http_url"]

ListenerName: TypeAlias = Literal["peers", "ingress", "admin"]

_ADDRESS = re.compile(r"(\[[0-9A-Fa-f:.%\w]+\]|[^\[\]:/]*):([0-9]{1,5})")


class Place(NamedTuple):
    """An address to listen on, or sockets that listen already.

    Attributes:
        host: as `restsock.listen` takes it.
        port: likewise.
        sockets: those that were handed over; then host and port are `None`.
        loopback: whether this machine alone can reach it.
    """

    host: str | None
    port: int | None
    sockets: tuple[socket.socket, ...]
    loopback: bool

    @property
    def address(self) -> tuple[str | None, int | None]:
        """Host and port."""
        return self.host, self.port

    @property
    def expected(self) -> tuple[str, int]:
        """Where it is going to listen: host and port, or path and 0; port 0 is one to come."""
        if self.sockets:
            found = self.sockets[0].getsockname()
            return (found, 0) if isinstance(found, str) else found[:2]
        return self.host or "0.0.0.0", self.port or 0  # noqa: S104  # nothing is bound to it

    @classmethod
    def at(cls, text: str, key: str) -> Place:
        """Reads `host:port`, `[address]:port`, `:port` (everywhere) or `unix:/path`.

        Raises:
            ConfigError: it is none of these.
        """
        if text.startswith("unix:"):
            return cls(text, None, (), True)
        found = _ADDRESS.fullmatch(text)
        if found is None or int(found[2]) > 65535:
            raise ConfigError(
                key, f'not an address: {text!r}; one is "127.0.0.1:8080", ":8080" or "unix:/path"'
            )
        host = found[1].strip("[]")
        where = None if host in ("", "*") else host
        return cls(where, int(found[2]), (), is_loopback(where))

    @classmethod
    def on(cls, sockets: Iterable[socket.socket]) -> Place:
        """The place of sockets that a parent process has bound."""
        found = tuple(sockets)
        return cls(None, None, found, all(map(is_loopback_socket, found)))

    def arguments(self) -> dict[str, Any]:
        """Those of `restsock.listen`."""
        if self.sockets:
            return {"sockets": self.sockets}
        return {"host": self.host, "port": self.port}


def http_url(address: tuple[str, int], *, tls: bool) -> str:
    """The URL of a listener of plain HTTP; of a Unix socket, `unix:` and its path."""
    host, port = address
    if host.startswith(("/", "@")):
        return f"unix:{host}"
    return f"{'https' if tls else 'http'}://{url_host(host)}:{port}/"


def handed_over(
    given: Mapping[ListenerName, Collection[socket.socket]] | None,
) -> dict[ListenerName, Place]:
    """Where there are sockets that listen already: those given, or else those of systemd."""
    if given is None:
        names: tuple[ListenerName, ...] = ("ingress", "admin", "peers")
        found = {name: systemd_sockets(name) for name in names}
        given = {**found, "peers": [*found["peers"], *systemd_sockets()]}
    return {name: Place.on(sockets) for name, sockets in given.items() if sockets}
