"""Handlers in front of an app: validation, and access rules."""
