"""Limits the connections of a server, in total and for each address."""

from __future__ import annotations

import ipaddress

from restsock._addresses import ip_of
from restsock._limit_log import LimitLog
from restsock._options import Limits
from restsock.auth import Refused

__all__ = ["RETRY_AFTER", "ConnectionLimiter", "network_of"]

# Seconds for the Retry-After of a refused dialer. Our clients have their own backoff.
RETRY_AFTER = "5"


class ConnectionLimiter:
    """Counts the connections of a server, including those whose handshake is not complete.

    A slot is acquired right before the upgrade is accepted: after the authentication, so that
    strangers get no slot, and before the handshake, so that every dialer with a 101 has one.

    Args:
        limits: Has `max_connections` and `max_connections_per_address`.
        limit_log: Counts refused dialers.

    Attributes:
        limits: The limits for new connections. They may be replaced; acquired slots are kept.
    """

    def __init__(self, limits: Limits, limit_log: LimitLog) -> None:
        self.limits = limits
        self._limit_log = limit_log
        self._taken = 0
        self._by_network: dict[str, int] = {}  # also without a limit: there may be one later

    def __len__(self) -> int:
        """How many slots are in use."""
        return self._taken

    def acquire(self, host: str) -> Refused | None:
        """Acquires a slot for a peer at this address, or returns the refusal.

        The limit of the address is checked first: that is what the peer can change.
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
        """Releases the slot of a peer."""
        self._taken -= 1
        network = network_of(host)
        self._by_network[network] -= 1
        if not self._by_network[network]:
            del self._by_network[network]


def network_of(host: str) -> str:
    """What counts as one address: an IPv4 address, or the /64 network of an IPv6 address.

    A single host may own a whole /64 (RFC 8273).
    """
    address = ip_of(host)
    if not isinstance(address, ipaddress.IPv6Address):
        return host if address is None else str(address)
    return str(ipaddress.IPv6Network((int(address) >> 64 << 64, 64)))
