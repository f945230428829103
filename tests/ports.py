"""Ports for listeners that tell nobody which one they have, or that come back at the same one."""

from __future__ import annotations

import random
import socket

__all__ = ["free_port"]

# Below what Linux, macOS and Windows give to those who ask for any port, and to those who dial:
# nobody gets one of these by chance between two starts of a listener.
_FIRST, _LAST = 20_000, 32_000

_random = random.SystemRandom()
_given: set[int] = set()


def free_port() -> int:
    """A port that nobody has on 127.0.0.1; another one each time."""
    while True:
        port = _random.randint(_FIRST, _LAST)
        if port in _given:
            continue
        with socket.socket() as sock:
            try:
                sock.bind(("127.0.0.1", port))
            except OSError:
                continue
        _given.add(port)
        return port
