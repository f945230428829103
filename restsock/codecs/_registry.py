"""Codecs and framings by name: checks options, and loads modules at their first use."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from importlib import import_module
from types import ModuleType
from typing import Any

from restsock._nearest import nearest

__all__ = ["Registry", "library", "named"]


class Registry:
    """Makes codecs or framings by their names in configurations.

    Args:
        what: What it makes, in the singular, for errors.
        homes: Name -> `"module:maker"`, a class or function in a module of this package.
        aliases: Other names for some of them.
    """

    def __init__(self, what: str, homes: Mapping[str, str], aliases: Mapping[str, str]) -> None:
        self.what = what
        self.names = tuple(homes)
        self._homes = homes
        self._aliases = aliases

    def find(self, name: str) -> tuple[str, Callable[..., Any]]:
        """The canonical name, and the function or class that makes it.

        Raises:
            ValueError: There is none of that name; the message suggests the most similar one.
        """
        proper = self._aliases.get(name, name)
        if proper not in self._homes:
            known = [*self._homes, *self._aliases]
            raise ValueError(f"there is no {self.what} {name!r}{nearest(name, known)}")
        module, _, attribute = self._homes[proper].partition(":")
        found: Callable[..., Any] = getattr(import_module(f"{__package__}.{module}"), attribute)
        return proper, found

    def build(
        self, name: str, made_by: Callable[..., Any], options: Mapping[str, Any], **given: Any
    ) -> Any:
        """Makes an object.

        Args:
            name: The name, for errors.
            made_by: The result of `find`; its keyword arguments are the options.
            options: The options that are set.
            given: Arguments that are not options.

        Raises:
            ValueError: There is no such option, one is missing, or a value is not valid.
            ImportError: A library is missing; the message says which extra has it.
        """
        label = f"the {self.what} {name!r}"
        taken = {
            parameter.name: parameter
            for parameter in inspect.signature(made_by).parameters.values()
            if parameter.kind is parameter.KEYWORD_ONLY and parameter.name not in given
        }
        for option in options:
            if option not in taken:
                raise ValueError(f"{label} has no option {option!r}{nearest(option, taken)}")
        for option, parameter in taken.items():
            if parameter.default is parameter.empty and option not in options:
                raise ValueError(f"{label} needs the option {option!r}")
        try:
            return made_by(**options, **given)
        except ValueError as exc:
            raise ValueError(f"{label}: {exc}") from exc
        except ImportError as exc:
            raise ImportError(f"{label} {exc}") from exc


def named(config: object, what: str) -> tuple[str, dict[str, Any]]:
    """Splits a configuration into a name and options.

    Args:
        config: A name, or `{"name": ..., "config": {...}}`, in which `config` may be missing.
        what: What it configures, for errors.

    Raises:
        ValueError: It is neither.
    """
    if isinstance(config, str):
        return config, {}
    if not isinstance(config, Mapping):
        raise ValueError(f"a {what} is a name, or a mapping with name and config, not {config!r}")
    for key in config:
        if key not in ("name", "config"):
            hint = nearest(str(key), ("name", "config"))
            raise ValueError(f"a {what} has name and config, and no {key!r}{hint}")
    name, options = config.get("name"), config.get("config", {})
    if not isinstance(name, str):
        raise ValueError(f"the name of a {what} must be text, not {name!r}")
    if not isinstance(options, Mapping):
        raise ValueError(f"the config of the {what} {name!r} must be a mapping, not {options!r}")
    return name, {str(key).replace("-", "_"): value for key, value in options.items()}


def library(module: str, package: str) -> ModuleType:
    """Imports a module that an extra installs.

    Args:
        module: The module.
        package: The package that contains it.

    Raises:
        ImportError: It is not installed. The message continues the name of what needs it.
    """
    try:
        return import_module(module)
    except ImportError as exc:
        raise ImportError(f"needs {package}: pip install 'restsock[codecs]'") from exc
