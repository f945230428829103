"""Where a server listens: checks the arguments, and chooses how to open the listeners."""

from __future__ import annotations

from restsock._addresses import check_socket_path

from ._accept import OpenListeners, open_listeners
from ._unix import open_unix_listeners

__all__ = ["place_of"]


def place_of(host: str | None, port: int | None) -> tuple[str | None, int, OpenListeners]:
    """Where to listen, given these arguments of `listen`, and the function that opens listeners.

    Raises:
        ValueError: The port or the path is not valid, or this system has no Unix sockets.
        TypeError: An argument is of a wrong type.
    """
    if host is not None and not isinstance(host, str):
        raise TypeError(f"the host must be a str or None, not {type(host).__name__}")
    if host is not None and host.startswith("unix:"):
        if port is not None:
            raise ValueError("a Unix socket has no port")
        path = host.removeprefix("unix:").removeprefix("//")
        return check_socket_path(path, "the address to listen on"), 0, open_unix_listeners
    if isinstance(port, bool) or not isinstance(port, int):
        raise TypeError(f"the port must be an int, not {type(port).__name__}")
    if not 0 <= port <= 65535:
        raise ValueError(f"the port must be in 0..65535, not {port}")
    return host, port, open_listeners
