"""Handlers that stand in front of an app: its contract, and who may call what."""

from __future__ import annotations

from ._access import AccessHandler, CallerOf, Rule, Rules, allow, caller_of
from ._handler import OpenAPIHandler

__all__ = ["AccessHandler", "CallerOf", "OpenAPIHandler", "Rule", "Rules", "allow", "caller_of"]
