"""The scripted peer of the adapters' tests."""

from __future__ import annotations

from tests.adapters.conftest import loop, tunnel

__all__ = ["loop", "tunnel"]
