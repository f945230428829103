"""The numbers of a client, and of a server."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from restsock.connection import Statistics

__all__ = ["ClientStatistics", "ServerStatistics"]


@dataclass(frozen=True, slots=True)
class ClientStatistics:
    """What a client has been through. Ready for `dataclasses.asdict` and JSON.

    Attributes:
        connections: How often it was connected.
        reconnects: How often it connected again after the first time.
        failures: How many attempts to connect have failed in all.
        waiting: Requests that wait for a connection now.
        queued: Requests that wait for a thread of the app; `None` where it has no such queue.
        limits: How often each limit was in the way, by its name: those that were, at all.
        traffic: The sum over all connections, with those that have ended.
    """

    connections: int
    reconnects: int
    failures: int
    waiting: int
    queued: int | None
    limits: Mapping[str, int]
    traffic: Statistics


@dataclass(frozen=True, slots=True)
class ServerStatistics:
    """What a server has been through. Ready for `dataclasses.asdict` and JSON.

    Attributes:
        connections: Peers that are connected now.
        handshakes: How many there have been, with those.
        handshakes_failed: Newcomers that did not become one: refused, malformed, too slow.
        handshaking: Newcomers in the middle of their handshake.
        waiting: Requests that wait for a peer who is away.
        queued: Requests that wait for a thread of the app; `None` where it has no such queue.
        limits: How often each limit was in the way, by its name: those that were, at all.
        traffic: The sum over all connections of peers, with those that have ended.
        http_clients: Clients of plain HTTP that are connected now. They are no peers, and in none
            of the numbers above but `limits`.
        http_clients_total: How many there have been, with those.
        http_traffic: The sum over all their connections, with those that have ended; their requests
            are `requests_received` and `received`.
    """

    connections: int
    handshakes: int
    handshakes_failed: int
    handshaking: int
    waiting: int
    queued: int | None
    limits: Mapping[str, int]
    traffic: Statistics
    http_clients: int
    http_clients_total: int
    http_traffic: Statistics
