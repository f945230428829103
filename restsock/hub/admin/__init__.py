"""The admin API of a hub."""

from __future__ import annotations

from ._api import DOCUMENT, OPERATIONS, AdminAPI

__all__ = ["DOCUMENT", "OPERATIONS", "AdminAPI"]
