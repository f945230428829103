"""Serves another HTTP server: requests are forwarded to it, over a pool of connections."""

from __future__ import annotations

from ._forward import Forward, forward

__all__ = ["Forward", "forward"]
