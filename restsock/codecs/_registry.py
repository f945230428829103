"""Codecs and framings by their names: options are checked, and modules loaded at first use."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from importlib import import_module
from types import ModuleType
from typing import Any

from restsock._nearest import nearest

__all__ = ["Registry", "library", "named"]


class Registry:
    """What makes codecs or framings, by the names that configurations have for these.

    Args:
        what: What they are, in the singular, for errors.
        homes: Name -> `"module:maker"`, a class or function in a module of this package.
        aliases: Other names for the same.
    """

    def __init__(self, what: str, homes: Mapping[str, str], aliases: Mapping[str, str]) -> None:
        self.what = what
        self.names = tuple(homes)
        self._homes = homes
        self._aliases = aliases

    def find(self, name: str) -> tuple[str, Callable[..., Any]]:
        """The proper name, and what makes it.

        Raises:
            ValueError: There is none of that name; it says which is the nearest.
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
            name: For errors.
            made_by: What `find` gave; its keyword arguments are the options.
            options: Those that are set.
            given: Arguments that are no options.

        Raises:
            ValueError: There is no such option, one is missing, or a value is not valid.
            ImportError: A library is missing; it says which extra has it.
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
    """A name and options, of how a configuration has them.

    Args:
        config: A name, or `{"name": ..., "config": {...}}`, in which `config` may be missing.
        what: What it is of, for errors.

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
    """Imports what an extra installs.

    Args:
        module: What is imported.
        package: What is installed for it.

    Raises:
        ImportError: It is not installed. The text goes on from the name of what needs it.
    """
    try:
        return import_module(module)
    except ImportError as exc:
        raise ImportError(f"needs {package}: pip install 'restsock[codecs]'") from exc
