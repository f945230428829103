"""Handlers that stand in front of an app: its contract, and who may call what."""
