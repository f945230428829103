"""From the access tables of the configuration to authenticators."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from restsock._exceptions import SpecError
from restsock._nearest import nearest
from restsock.auth import (
    JWT,
    Addresses,
    Authenticator,
    BasicUsers,
    BearerTokens,
    CertificateSubject,
    ForwardAuth,
    all_of,
    any_of,
)

from ._errors import ConfigError
from ._tables import AccessTable, JWTTable, Tables

__all__ = ["AccessRules", "opened"]


class AccessRules:
    """The authenticators of all access tables, by their names.

    Args:
        tables: the configuration.
        before: those of the configuration that this one takes the place of. Tables that are the
            same keep the keys of their identity provider, which may be down just now.

    Raises:
        ConfigError: one cannot be made, of a file that cannot be read for example.
    """

    def __init__(self, tables: Tables, before: AccessRules | None = None) -> None:
        self._tables = tables.access
        self._by_name: dict[str, Authenticator] = {}
        for name, table in tables.access.items():
            made = _authenticator(table, f"access.{name}")
            if before is not None and table.jwt is not None and before._tables.get(name) == table:
                made = before._by_name[name]
            self._by_name[name] = made
        self._unused = set(self._by_name)

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
        self._unused.discard(name)
        return self._by_name[name]

    def check_used(self) -> None:
        """Checks that each was asked for: one that keeps nobody out was meant to keep somebody out.

        Raises:
            ConfigError: a table is not used.
        """
        for name in sorted(self._unused):
            raise ConfigError(
                f"access.{name}",
                "nothing uses it: name it as ingress.access, peers.access, or access of a route "
                "or a channel",
            )


@contextmanager
def opened(key: str) -> Iterator[None]:
    """Has what is wrong with a file, or a value, be an error of this key."""
    try:
        yield
    except ConfigError:
        raise
    except FileNotFoundError as exc:
        raise ConfigError(
            key, f"{exc.filename}: no such file" if exc.filename else str(exc)
        ) from exc
    except (ImportError, OSError, ValueError, TypeError, SpecError) as exc:
        raise ConfigError(key, str(exc)) from exc


def _authenticator(table: AccessTable, key: str) -> Authenticator:
    ways: list[Authenticator] = []
    if table.deny and not table.cidr:
        raise ConfigError(f"{key}.deny", "it takes addresses off those of cidr, which is not there")
    for name, value, make in _ways(table):
        if value:
            with opened(f"{key}.{name}"):
                ways.append(make(value))
    if not ways:
        raise ConfigError(key, "it names nothing that tells who is let in")
    if len(ways) == 1:
        return ways[0]
    with opened(key):
        return any_of(*ways) if table.any else all_of(*ways)


def _ways(table: AccessTable) -> Iterator[tuple[str, Any, Callable[[Any], Authenticator]]]:
    """Those that a table may name, in the order in which they are asked."""
    yield "cidr", table.cidr, lambda allow: Addresses(allow, table.deny)
    yield "certificate", table.certificate, lambda field: CertificateSubject(field=field)
    yield "bearer", table.bearer, lambda file: BearerTokens(file=file)
    yield "basic", table.basic, lambda file: BasicUsers(file=file)
    yield "jwt", table.jwt, _jwt
    yield "forward_auth", table.forward_auth, ForwardAuth


def _jwt(table: JWTTable) -> Authenticator:
    return JWT(table.jwks, audience=table.audience, issuer=table.issuer)
