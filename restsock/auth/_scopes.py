"""Scopes: what a token allows at an API for administrators."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from restsock._principal import Principal

__all__ = ["SCOPES", "scopes_of"]

SCOPES = ("read", "write")
"""The scopes of tokens for administrators: to read, and to change something."""


def scopes_of(principal: Principal) -> frozenset[str]:
    """The scopes of a principal: the known ones in its claim `scopes`."""
    scopes = principal.claims.get("scopes", ())
    if not isinstance(scopes, (list, tuple)):
        return frozenset()
    return frozenset(scope for scope in scopes if scope in SCOPES)
