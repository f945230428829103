"""The authenticator for addresses: who calls from where."""

from __future__ import annotations

from collections.abc import Collection

from restsock._addresses import ip_of, networks_of
from restsock._principal import Principal

from ._credential_store import principal_from
from ._upgrade import Refused, Upgrade

__all__ = ["Addresses"]


class Addresses:
    """Accepts callers from certain addresses. An address does not prove who somebody is.

        Ingress(access=Addresses(allow=["10.0.0.0/8"], deny=["10.9.0.0/16"]))
        Ingress(access=all_of(Addresses(allow=["10.0.0.0/8"]), BearerTokens(...)))

    All others are refused with 403, and so are callers over a Unix socket. Behind a reverse proxy
    the address is the proxy's, unless `trusted_proxies` names it.

    Args:
        allow: addresses and networks (CIDR), one or several.
        deny: addresses and networks among them that are refused.
        principal: the principal of all of them; by default the name of each is its address.

    Raises:
        ValueError: something is no address or network, or there is none.
        TypeError: something is no text.
    """

    waits = False

    def __init__(
        self,
        allow: str | Collection[str],
        deny: str | Collection[str] = (),
        *,
        principal: Principal | str | None = None,
    ) -> None:
        self._allow = networks_of(allow, "allow=")
        self._deny = networks_of(deny, "deny=")
        if not self._allow:
            raise ValueError("allow= names no address or network")
        self._principal = None if principal is None else principal_from(principal, "principal")

    def __call__(self, upgrade: Upgrade) -> Principal:
        """The principal of the address."""
        address = ip_of(upgrade.host)
        if (
            address is None
            or not any(address in network for network in self._allow)
            or any(address in network for network in self._deny)
        ):
            raise Refused(403, "You may not do this from where you are.")
        return Principal(str(address)) if self._principal is None else self._principal

    def __repr__(self) -> str:
        return f"Addresses({[str(network) for network in self._allow]})"
