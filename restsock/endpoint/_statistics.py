"""The statistics of a client and of a server."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from restsock.connection import Statistics

__all__ = ["ClientStatistics", "ServerStatistics"]


@dataclass(frozen=True, slots=True)
class ClientStatistics:
    """Counters of a client. Works with `dataclasses.asdict` and JSON.

    Attributes:
        connections: How many connections there have been.
        reconnects: How many of them came after the first.
        failures: How many attempts to connect have failed.
        waiting: Requests that wait for a connection now.
        queued: Requests that wait for a thread of the app; `None` if the app has no such queue.
        limits: How often each limit was reached, by name; limits that never were are left out.
        traffic: The sum over all connections, including those that have ended.
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
    """Counters of a server. Works with `dataclasses.asdict` and JSON.

    Attributes:
        connections: Peers that are connected now.
        handshakes: Peers that have connected since the start, including those.
        handshakes_failed: Dialers that did not become peers: refused, malformed or too slow.
        handshaking: Dialers whose handshake is not complete yet.
        waiting: Requests that wait for a peer that is away.
        queued: Requests that wait for a thread of the app; `None` if the app has no such queue.
        limits: How often each limit was reached, by name; limits that never were are left out.
        traffic: The sum over all connections of peers, including those that have ended.
        http_clients: Clients of plain HTTP that are connected now. They are not peers; of the
            numbers above only `limits` includes them.
        http_clients_total: Clients of plain HTTP since the start, including those.
        http_traffic: The sum over all their connections, including those that have ended; their
            requests are in `requests_received` and `received`.
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
