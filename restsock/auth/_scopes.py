"""Scopes: what the token of an API for administrators lets its holder do."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from restsock._principal import Principal

__all__ = ["SCOPES", "scopes_of"]

SCOPES = ("read", "write")
"""What tokens of an API for administrators may do: ask, and change."""


def scopes_of(principal: Principal) -> frozenset[str]:
    """What somebody may do by such an API: the claim `scopes`, as far as it is known."""
    scopes = principal.claims.get("scopes", ())
    if not isinstance(scopes, (list, tuple)):
        return frozenset()
    return frozenset(scope for scope in scopes if scope in SCOPES)
