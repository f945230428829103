"""`Reconnect`: when to dial again; also read from configurations of others."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any

from restsock._go_duration import go_duration
from restsock._nearest import nearest
from restsock._options import Backoff

__all__ = ["Reconnect"]

_TREMOR = ("interval_ms", "growth_rate", "max_retries", "randomized")
_STREAMKIT = ("enabled", "initial_interval", "max_interval", "multiplier", "max_retries")
_GROWTH = 1.5


@dataclass(frozen=True, kw_only=True)
class Reconnect(Backoff):
    """When a `Dialer` dials again: a `Backoff` that by default never gives up.

    The first wait is random between 0 and `initial` seconds; each further one has `factor` times
    that range, up to `cap`. Without `jitter`, waits have the full length. They start over after a
    connection that lasted 5 seconds, and longer than the wait that was due, so a server that
    accepts and drops connections is not dialed in a tight loop.
    """

    give_up: str = "never"

    @classmethod
    def from_mapping(cls, config: Mapping[str, Any]) -> Reconnect:
        """Reads it from a configuration, in one of three forms.

        - `initial`, `factor`, `cap`, `tries`, `jitter`, `restart`, `give_up`: the fields.
        - `interval_ms`, `growth_rate` (1.5), `max_retries` (without end), `randomized` (true):
          those of Tremor, alone or as `{"retry": {...}}`. There is a cap: 60 s, or the interval.
        - `initial_interval`, `max_interval`, `multiplier`, `max_retries` (10; 0 is without end),
          `enabled`: those of StreamKit. Intervals are text such as `"1s"` or `"1m30s"`, or whole
          nanoseconds. If it is not enabled, the first failed attempt is the last.

        Raises:
            ValueError: a key is unknown, belongs to another form than the others, or has an invalid
            value. The message names it. TypeError: this is not a mapping.
        """
        if not isinstance(config, Mapping):
            raise TypeError(f"reconnect is a mapping, not {type(config).__name__}")
        if set(config) == {"retry"} and isinstance(config["retry"], Mapping):
            config = config["retry"]
        own = tuple(field.name for field in fields(cls))
        keys = set(config)
        for form, read in ((own, _own), (_STREAMKIT, _streamkit), (_TREMOR, _tremor)):
            if keys <= set(form):  # `max_retries` alone is StreamKit's: the others need an interval
                return read(config)
        known = {*own, *_TREMOR, *_STREAMKIT}
        for key in config:
            if key not in known:
                raise ValueError(f"reconnect has no key {key!r}{nearest(str(key), known)}")
        raise ValueError(f"the keys of reconnect are of different forms: {', '.join(sorted(keys))}")


def _own(config: Mapping[str, Any]) -> Reconnect:
    values: dict[str, Any] = {}
    for key, value in config.items():
        if key == "jitter":
            values[key] = _flag(key, value)
        elif key == "tries":
            values[key] = _whole(key, value)
        else:
            values[key] = value if key == "give_up" else _number(key, value)
    return Reconnect(**values)


def _tremor(config: Mapping[str, Any]) -> Reconnect:
    if "interval_ms" not in config:
        raise ValueError("reconnect needs the key 'interval_ms'")
    initial = _number("interval_ms", config["interval_ms"]) / 1000
    return Reconnect(
        initial=initial,
        factor=_number("growth_rate", config.get("growth_rate", _GROWTH)),
        cap=max(Reconnect.cap, initial),
        tries=_whole("max_retries", config.get("max_retries", 0)),
        jitter=_flag("randomized", config.get("randomized", True)),
    )


def _streamkit(config: Mapping[str, Any]) -> Reconnect:
    tries = _whole("max_retries", config.get("max_retries", 10))
    if not _flag("enabled", config.get("enabled", True)):
        tries = 1
    return Reconnect(
        initial=_duration("initial_interval", config.get("initial_interval", "1s")),
        factor=_number("multiplier", config.get("multiplier", 2.0)),
        cap=_duration("max_interval", config.get("max_interval", "60s")),
        tries=tries,
    )


def _number(key: str, value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise ValueError(f"{key} of reconnect is a number, not {value!r}")
    try:
        return float(value)
    except OverflowError:
        raise ValueError(f"{key} of reconnect is too large a number") from None


def _whole(key: str, value: Any) -> int:
    if type(value) is not int or value < 0:
        raise ValueError(f"{key} of reconnect is a whole number from 0 on, not {value!r}")
    return value


def _flag(key: str, value: Any) -> bool:
    if not isinstance(value, bool):
        raise ValueError(f"{key} of reconnect is true or false, not {value!r}")
    return value


def _duration(key: str, value: Any) -> float:
    """Seconds."""
    try:
        return go_duration(value)
    except ValueError:
        raise ValueError(f'{key} of reconnect is a duration such as "1s", not {value!r}') from None
