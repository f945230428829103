"""The admin API of a hub."""

from __future__ import annotations

from ._api import AdminAPI

__all__ = ["AdminAPI"]
