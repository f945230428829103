"""From the access tables of the configuration to authenticators."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from restsock.auth import Authenticator, BasicUsers, BearerTokens, CertificateSubject

from ._errors import ConfigError, nearest
from ._tables import AccessTable, Tables

__all__ = ["AccessRules", "opened"]


class AccessRules:
    """The authenticators of all access tables, by their names.

    Args:
        tables: the configuration.

    Raises:
        ConfigError: one cannot be made, of a file that cannot be read for example.
    """

    def __init__(self, tables: Tables) -> None:
        self._by_name = {
            name: _authenticator(table, f"access.{name}") for name, table in tables.access.items()
        }

    def named(self, name: str | None, key: str) -> Authenticator | None:
        """The one of this name; `None` for none.

        Args:
            name: as the configuration has it.
            key: where it stands there.

        Raises:
            ConfigError: there is no such table.
        """
        if name is None:
            return None
        if name not in self._by_name:
            raise ConfigError(key, f"there is no [access.{name}]{nearest(name, self._by_name)}")
        return self._by_name[name]


@contextmanager
def opened(key: str) -> Iterator[None]:
    """Has what is wrong with a file, or a value, be an error of this key."""
    try:
        yield
    except ConfigError:
        raise
    except (OSError, ValueError, TypeError) as exc:
        raise ConfigError(key, str(exc)) from exc


def _authenticator(table: AccessTable, key: str) -> Authenticator:
    makers: dict[str, Callable[[], Authenticator]] = {}
    if table.bearer is not None:
        bearer = table.bearer
        makers["bearer"] = lambda: BearerTokens(file=bearer)
    if table.basic is not None:
        basic = table.basic
        makers["basic"] = lambda: BasicUsers(file=basic)
    if table.certificate is not None:
        field = table.certificate
        makers["certificate"] = lambda: CertificateSubject(field=field)
    for name in ("cidr", "jwt", "forward_auth"):
        if getattr(table, name):
            raise ConfigError(f"{key}.{name}", "this version does not have it yet")
    if not makers:
        raise ConfigError(key, "it names nothing that tells who is let in")
    if len(makers) > 1:
        raise ConfigError(f"{key}.any", "this version takes one way for each table")
    ((name, make),) = makers.items()
    with opened(f"{key}.{name}"):
        return make()
