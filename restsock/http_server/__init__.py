"""Clients of plain HTTP, each as a connection whose requests are exchanges like any others."""

from __future__ import annotations

from ._connection import HTTPConnection

__all__ = ["HTTPConnection"]
