"""How many connections a server has room for, in all and for each address."""

from __future__ import annotations

import ipaddress

from restsock._addresses import ip_of
from restsock._limit_log import LimitLog
from restsock._options import Limits
from restsock.auth import Refused

__all__ = ["RETRY_AFTER", "ConnectionLimiter", "network_of"]

# Seconds that one for whom there is no room is asked to wait. Our clients have a backoff of their
# own.
RETRY_AFTER = "5"


class ConnectionLimiter:
    """Counts the connections of a server, those that are still in their handshake included.

    A slot is acquired right before the upgrade is accepted: after the authentication, so that
    strangers get none, and before the handshake, so that all who got their 101 have one.

    Args:
        limits: `max_connections` and `max_connections_per_address` of them.
        limit_log: Counts who is turned away.

    Attributes:
        limits: May be others from some time on; those who have a slot keep it.
    """

    def __init__(self, limits: Limits, limit_log: LimitLog) -> None:
        self.limits = limits
        self._limit_log = limit_log
        self._taken = 0
        self._by_network: dict[str, int] = {}  # also without a bound: there may be one later

    def __len__(self) -> int:
        """How many are taken."""
        return self._taken

    def acquire(self, host: str) -> Refused | None:
        """Acquires a slot for a peer at this address, or returns what to refuse it with.

        The bound of its address is looked at first: it is what the peer can do something about.
        """
        limits = self.limits
        most = limits.max_connections_per_address
        if most is not None and self._by_network.get(network_of(host), 0) >= most:
            text = f"There are too many connections from this address: it has {most} already."
            return self._refused(429, text, "max_connections_per_address")
        if self._taken >= limits.max_connections:
            text = f"There are too many connections: {self._taken}."
            return self._refused(503, text, "max_connections")
        self._taken += 1
        network = network_of(host)
        self._by_network[network] = self._by_network.get(network, 0) + 1
        return None

    def _refused(self, status: int, text: str, limit: str) -> Refused:
        self._limit_log.count(limit)  # the caller that answers with it logs it
        refused = Refused(status, text, headers={"Retry-After": RETRY_AFTER})
        refused.limit = limit
        return refused

    def release(self, host: str) -> None:
        """Gives the slot of a peer back."""
        self._taken -= 1
        network = network_of(host)
        self._by_network[network] -= 1
        if not self._by_network[network]:
            del self._by_network[network]


def network_of(host: str) -> str:
    """What counts as one address: an IPv4 address, or the /64 network of an IPv6 address.

    A single host may have a whole /64 to choose its addresses from (RFC 8273).
    """
    address = ip_of(host)
    if not isinstance(address, ipaddress.IPv6Address):
        return host if address is None else str(address)
    return str(ipaddress.IPv6Network((int(address) >> 64 << 64, 64)))
