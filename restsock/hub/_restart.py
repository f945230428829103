"""Which differences between two configurations take a restart."""

from __future__ import annotations

from dataclasses import replace

from ._config import Config

__all__ = ["restart_needed"]

# Keys of which a running hub keeps the value that it has begun with.
_FIXED = (
    *("hub.name", "hub.state", "hub.trusted_proxies", "hub.dev"),
    *("peers.listen", "peers.names", "peers.origins", "peers.access"),
    *("ingress.listen", "admin.listen"),
)
# Keys whose values may change, but neither appear nor disappear.
_THERE_OR_NOT = (
    *("hub.domain", "peers.tokens", "admin.tokens"),
    *("tls", "ingress.tls", "admin.tls"),
)
_OPTIONS = ("limits", "timeouts", "heartbeat", "sockets")


def restart_needed(begun: Config, config: Config) -> list[str]:
    """The keys whose values differ from those that a hub has begun with, and that it kept."""
    found = [key for key in _FIXED if _value(begun, key) != _value(config, key)]
    found += [
        key
        for key in _THERE_OR_NOT
        if (_value(begun, key) is None) != (_value(config, key) is None)
    ]
    named = config.peers.access
    if named is not None and begun.access.get(named) != config.access.get(named):
        found.append(f"access.{named}")
    found += [
        name for name in _OPTIONS if _fixed_options(begun, name) != _fixed_options(config, name)
    ]
    return found


def _value(config: Config, key: str) -> object:
    value: object = config
    for name in key.split("."):
        value = getattr(value, name)
    return value


def _fixed_options(config: Config, name: str) -> object:
    options = getattr(config.options, name)
    # Looked at when the hub closes.
    return replace(options, grace=0.0) if name == "timeouts" else options
