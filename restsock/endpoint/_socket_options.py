"""Applies `SocketOptions` to sockets, and checks which options this system has."""

from __future__ import annotations

import socket
import sys
from dataclasses import fields
from typing import Any

import trio

from restsock._options import SocketOptions

__all__ = ["UNIX", "apply_socket_options", "check_socket_options", "prepare_listening_socket"]

# Field -> possible names of its constant; the system must have one of them.
_TCP = {
    "keep_alive_idle": ("TCP_KEEPIDLE", "TCP_KEEPALIVE"),  # the second is for macOS
    "keep_alive_interval": ("TCP_KEEPINTVL",),
    "keep_alive_count": ("TCP_KEEPCNT",),
    "user_timeout": ("TCP_USER_TIMEOUT",),
}
_NEEDED = {**_TCP, "reuse_port": ("SO_REUSEPORT",)}

UNIX: int | None = getattr(socket, "AF_UNIX", None)
"""The family of Unix sockets; `None` on a system without them."""

_DEFAULTS = SocketOptions()


def check_socket_options(options: SocketOptions) -> None:
    """Checks that this system has every option that is set. Called before dialing or binding.

    Raises:
        ValueError: An option is not the default, and this system does not have it.
    """
    for field in fields(options):
        needed = _NEEDED.get(field.name)
        if needed is None or getattr(options, field.name) == getattr(_DEFAULTS, field.name):
            continue
        if _constant(needed) is None:
            raise ValueError(
                f"SocketOptions.{field.name}: this system ({sys.platform}) has no {needed[0]}"
            )


def apply_socket_options(stream: trio.abc.Stream, options: SocketOptions) -> None:
    """Sets the options on a connected TCP socket; does nothing to other kinds of streams.

    Raises:
        OSError: The system refuses an option, or the socket has failed already.
    """
    if not isinstance(stream, trio.SocketStream) or stream.socket.family == UNIX:
        return
    if not options.no_delay:  # trio has switched it on
        stream.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 0)
    _set_buffers(stream, options)
    names = ["user_timeout"]
    if options.keep_alive:
        stream.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        names = list(_TCP)
    for name in names:
        constant = _constant(_TCP[name])
        value = getattr(options, name)
        if constant is not None and value is not None:
            # All are in whole seconds, except this one, which is in milliseconds.
            number = round(value * 1000) if name == "user_timeout" else value
            stream.setsockopt(socket.IPPROTO_TCP, constant, number)


def prepare_listening_socket(sock: trio.socket.SocketType, options: SocketOptions) -> None:
    """Sets the options that a socket needs before it is bound and listens.

    Buffer sizes are among them, because the first packets negotiate the window scale. On most
    systems accepted sockets inherit them; `apply_socket_options` sets them again.

    Raises:
        OSError: The system refuses an option.
    """
    if options.reuse_address and sys.platform != "win32":
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    if options.reuse_port:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
    _set_buffers(sock, options)


def _set_buffers(sock: Any, options: SocketOptions) -> None:
    if options.send_buffer is not None:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, options.send_buffer)
    if options.receive_buffer is not None:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, options.receive_buffer)


def _constant(names: tuple[str, ...]) -> int | None:
    for name in names:
        number: int | None = getattr(socket, name, None)
        if number is not None:
            return number
    return None
