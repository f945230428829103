"""The admin API of a hub."""

from __future__ import annotations

from ._api import DOCUMENT, AdminAPI
from ._operations import OPERATIONS

__all__ = ["DOCUMENT", "OPERATIONS", "AdminAPI"]
