"""Keys that mask what a WebSocket client sends (RFC 6455, section 5.3)."""

from __future__ import annotations

import os

__all__ = ["mask_key"]

# Bytes of keys to draw at once: one system call for a hundred frames.
_KEYS = 4 * 128

_mask_keys: list[bytes] = []
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_mask_keys.clear)


def mask_key() -> bytes:
    """A random masking key, of those drawn from the system a block at a time. For any thread."""
    while True:
        try:
            return _mask_keys.pop()
        except IndexError:
            block = os.urandom(_KEYS)
            _mask_keys.extend(block[at : at + 4] for at in range(0, _KEYS, 4))
