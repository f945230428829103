"""The hub: peers, ingress and admin API in one process, from one configuration.

    async with restsock.hub.Hub(restsock.hub.load("hub.toml")) as hub:
        await hub.run_until_signal()

Needs msgspec: `pip install 'restsock[cli]'`. docs/hub.md describes the file.

- `_tables`, `_reading`, `_config`: the file, key by key.
- `_access`, `_parts`: what is made of it, checked before anything is bound.
- `_listening`, `_servers`: addresses, and the listeners there.
- `_state`, `_notify`: the hub's folder, systemd.
- `_tokens`: files of tokens.
- `_records`: what is remembered of requests and events.
- `_changes`: what another configuration changes while it runs.
- `_hub`: all of it as one.
- `admin`: the admin API.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from ._errors import ConfigError
from ._state import ADMIN_TOKEN, state_folder

if TYPE_CHECKING:
    from restsock.auth import SCOPES, scopes_of

    from ._config import Config, json_schema, load, parse, parse_toml, read_tables
    from ._hub import Hub
    from ._parts import check
    from ._records import NameCounters, PassedLog, Record, Ring
    from ._tokens import Token, Tokens, hash_of

# Loaded at their first use: a verb that only asks a hub is no hub.
_LATER = {
    **dict.fromkeys(("SCOPES", "scopes_of"), "restsock.auth"),
    **dict.fromkeys(
        ("Config", "json_schema", "load", "parse", "parse_toml", "read_tables"),
        "restsock.hub._config",
    ),
    "Hub": "restsock.hub._hub",
    "check": "restsock.hub._parts",
    **dict.fromkeys(("NameCounters", "PassedLog", "Record", "Ring"), "restsock.hub._records"),
    **dict.fromkeys(("Token", "Tokens", "hash_of"), "restsock.hub._tokens"),
}

__all__ = [
    "ADMIN_TOKEN",
    "SCOPES",
    "Config",
    "ConfigError",
    "Hub",
    "NameCounters",
    "PassedLog",
    "Record",
    "Ring",
    "Token",
    "Tokens",
    "check",
    "hash_of",
    "json_schema",
    "load",
    "parse",
    "parse_toml",
    "read_tables",
    "scopes_of",
    "state_folder",
]


def __getattr__(name: str) -> Any:
    if name not in _LATER:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(_LATER[name]), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *_LATER})
