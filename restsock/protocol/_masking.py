"""Masking: the XOR with a four-byte key that a dialer applies to all it sends (RFC 6455, 5.3).

Three ways, the fastest that is there for the size at hand: the C function of the `websockets`
package when it is installed (the extra `speed`), one long integer for short data, wsproto's
translation tables for long data.
"""

from __future__ import annotations

from collections.abc import Callable

from wsproto.frame_protocol import XorMaskerSimple

__all__ = ["apply_mask"]

# Where wsproto's tables overtake integers, in bytes; measured.
_LONG = 3072


def _apply_mask_python(data: bytes | bytearray | memoryview, key: bytes) -> bytes:
    size = len(data)
    if size >= _LONG:
        return bytes(XorMaskerSimple(key).process(bytearray(data)))
    stretched = (key * (size // 4 + 1))[:size]
    number = int.from_bytes(data, "little") ^ int.from_bytes(stretched, "little")
    return number.to_bytes(size, "little")


apply_mask: Callable[[bytes | bytearray | memoryview, bytes], bytes] = _apply_mask_python
try:
    from websockets.speedups import apply_mask as _apply_mask_c
except ImportError:
    pass
else:
    apply_mask = _apply_mask_c
