"""Several authenticators as one: `any_of`, `all_of`."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Awaitable, Callable, Iterator
from typing import Any

from restsock._principal import Principal

from ._credential_store import CredentialStore
from ._upgrade import Answered, Authenticator, Refused, Upgrade

__all__ = ["Combined", "all_of", "any_of", "stores_of"]

# Asks one of them, in whatever way it wants to be asked.
Ask = Callable[[Authenticator], Awaitable[Any]]


class Combined(ABC):
    """The base of both. Who calls authenticators lets it say which of them to ask: `decide`.

    Attributes:
        members: in the order in which they are asked.
        waits: whether any of them may.
        takes_authorization: whether any of them does.
    """

    def __init__(self, members: tuple[Authenticator, ...]) -> None:
        if len(members) < 2:
            raise ValueError("give two authenticators, or more")
        for member in members:
            if isinstance(member, type) or not callable(member):
                raise TypeError(f"not an authenticator: {member!r}")
        self.members = members
        self.waits = any(getattr(member, "waits", True) for member in members)
        self.takes_authorization = any(
            getattr(member, "takes_authorization", False) for member in members
        )

    @abstractmethod
    async def decide(self, ask: Ask) -> Any:
        """What they say together.

        Raises:
            Refused: nobody is let in.
        """

    @property
    def challenge(self) -> str | None:
        """How to authenticate, for a 401: what each of them says of that."""
        found = [getattr(member, "challenge", None) for member in self.members]
        return ", ".join(filter(None, found)) or None

    def __call__(self, upgrade: Upgrade) -> Principal | None:
        """Is not for calls: each of them is called by who asks."""
        raise TypeError("authenticators that are combined are asked one by one")

    def __repr__(self) -> str:
        return f"{type(self).__name__}{self.members!r}"


class AnyOf(Combined):
    """See `any_of`."""

    async def decide(self, ask: Ask) -> Any:
        """The first that lets in."""
        refused: list[Refused] = []
        asking = False  # one of them, for credentials of which there were none
        for member in self.members:
            try:
                principal = await ask(member)
            except Refused as exc:
                refused.append(exc)
                continue
            if principal is not None:
                return principal
            asking = True
        # One that could not tell might have let in.
        if unclear := [one for one in refused if one.status >= 500]:
            raise unclear[0]
        # Wrong credentials are those of a program; who has shown none may be a person.
        wrong = any(one.status == 401 for one in refused)
        logins = [one for one in refused if isinstance(one, Answered) and one.status < 400]
        if logins and not wrong:
            raise logins[0]
        if wrong or asking:
            raise Refused(401)
        raise refused[0]


class AllOf(Combined):
    """See `all_of`."""

    async def decide(self, ask: Ask) -> Any:
        """The last one's word, after all others have let in."""
        principal = None
        for member in self.members:
            principal = await ask(member)
            if principal is None:
                return None
        return principal


def any_of(*authenticators: Authenticator) -> Combined:
    """Accepts a caller that one of these accepts; that one names it. They are asked in order.

        Ingress(access=any_of(BearerTokens(file="tokens.json"), BasicUsers(file="users.json")))

    If none does, the answer is 503 if one could not decide; otherwise a redirect to a login, if one
    gives it and the caller has shown no credentials; otherwise 401 with all challenges, if one asks
    for credentials; otherwise the answer of the first.

    Raises:
        ValueError: there are fewer than two.
        TypeError: one is no authenticator.
    """
    return AnyOf(authenticators)


def all_of(*authenticators: Authenticator) -> Combined:
    """Accepts a caller that all of these accept; the last one names it. They are asked in order.

        Ingress(access=all_of(Addresses("10.0.0.0/8"), BearerTokens(file="tokens.json")))

    The first that refuses gives the answer. Each request to the ingress is checked by all of them.
    A connection of a peer goes on until the last one withdraws its principal.

    Raises:
        ValueError: there are fewer than two.
        TypeError: one is no authenticator.
    """
    return AllOf(authenticators)


def stores_of(auth: Authenticator | None) -> Iterator[CredentialStore]:
    """The stores of credentials among an authenticator and its members."""
    if isinstance(auth, CredentialStore):
        yield auth
    elif isinstance(auth, Combined):
        for member in auth.members:
            yield from stores_of(member)
