"""Authentication as StreamKit configures it: by secrets in environment variables."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any

from restsock._nearest import nearest
from restsock.auth import Authenticator, Basic, BasicUsers, Bearer, BearerTokens, Credentials

__all__ = ["authenticator_from", "credentials_from"]

_KINDS = ("none", "bearer", "basic")
_TOKEN, _USER, _PASSWORD = "bearer_token_env", "basic_username_env", "basic_password_env"
_KEYS = ("type", _TOKEN, _USER, _PASSWORD)


def authenticator_from(config: Mapping[str, Any]) -> Authenticator | None:
    """The authenticator of an endpoint, from a configuration of StreamKit.

        messaging.endpoint(dialect, auth=authenticator_from({"type": "bearer",
            "bearer_token_env": "INGEST_TOKEN"}))

    The principal of a token is named `bearer`, that of a user like the user. The variables are
    read now.

    Args:
        config: `type` (`"none"`, which lets all in, `"bearer"` or `"basic"`) and the names of
            variables: `bearer_token_env`, or `basic_username_env` and `basic_password_env`.

    Raises:
        ValueError: a key or the type is not known, a variable is not set, or what it holds cannot
            be sent. The message names the key, and shows no secret.
    """
    kind = _kind(config)
    if kind == "bearer":
        _secret(config, _TOKEN)
        return BearerTokens(env=config[_TOKEN], principal="bearer")
    if kind == "basic":
        return BasicUsers({_secret(config, _USER): _secret(config, _PASSWORD)})
    return None


def credentials_from(config: Mapping[str, Any]) -> Credentials | None:
    """The credentials of a dialer, from the same configuration as `authenticator_from`.

    Raises:
        ValueError: as of `authenticator_from`.
    """
    kind = _kind(config)
    if kind == "bearer":
        _secret(config, _TOKEN)
        return Bearer(env=config[_TOKEN])
    if kind == "basic":
        user = _secret(config, _USER)
        _secret(config, _PASSWORD)
        return Basic(user, env=config[_PASSWORD])
    return None


def _kind(config: Mapping[str, Any]) -> str:
    for key in config:
        if key not in _KEYS:
            raise ValueError(f"auth has no key {key!r}{nearest(str(key), _KEYS)}")
    kind = config.get("type", "none")
    if kind not in _KINDS:
        raise ValueError(f"type of auth is one of {', '.join(_KINDS)}, not {kind!r}")
    return str(kind)


def _secret(config: Mapping[str, Any], key: str) -> str:
    name = config.get(key)
    if not isinstance(name, str) or not name:
        raise ValueError(f"{key} of auth is missing: the name of an environment variable")
    value = os.environ.get(name)
    if not value:
        raise ValueError(f"{key} of auth: the environment variable {name} is not set")
    return value
