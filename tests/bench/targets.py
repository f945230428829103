"""What restsock shall reach, and whether a run has shown it."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import NamedTuple

from tests.bench.figures import (
    Results,
    Spread,
    bulk_ratio,
    busy_ratio,
    fairness_ratio,
    own_calls,
    rate_ratio,
    spread,
)
from tests.bench.gateway_figures import (
    cell_title,
    gateway_harm,
    gateway_hostile,
    gateway_late,
    gateway_ratio,
    gateway_weight,
)
from tests.bench.gateway_ways import FASTAPI, NGINX, NODE, PUSHPIN
from tests.bench.message_figures import fan_ratio, load_rate, message_rate, message_ratio
from tests.bench.message_ways import (
    ECHO,
    EIGHT_SENDERS,
    FAN,
    IN_MEMORY,
    MANY_SENDERS,
    ONE_SENDER,
    SOCKETIO_PYTHON,
)
from tests.bench.ways import (
    ADAPTER,
    ADAPTER_TLS,
    AIO,
    AIOHTTP,
    BULK_DIALED,
    BULK_DIALED_C,
    BULK_DIALED_TLS,
    BULK_DIALED_TLS_C,
    BULK_LISTENED,
    BULK_LISTENED_TLS,
    GUNICORN_TLS,
    HTTPX,
    INGRESS,
    SESSION,
    SESSION_FASTAPI,
    SESSION_FASTAPI_TLS,
    SESSION_TLS,
    UVICORN_TLS,
)

# The connections at which memory and heartbeats are judged.
MANY = 10_000


class Target(NamedTuple):
    """One line of the headline table, and the section of a run that it is read from."""

    section: str
    title: str
    at_least: bool
    goal: float
    unit: str
    measure: Callable[[Results], Spread | None]

    def verdict(self, found: Spread | None) -> str:
        if found is None:
            return "not measured"
        met = found.median >= self.goal if self.at_least else found.median <= self.goal
        return "met" if met else "MISSED"


def _rates(title: str, way: str, to: str, goals: dict[int, float]) -> list[Target]:
    return [
        Target(
            "rates",
            f"{title}, {threads} thread{'s' if threads > 1 else ''}",
            True,
            goal,
            "x",
            _rate(way, to, "small", threads),
        )
        for threads, goal in goals.items()
    ]


def _asyncio(title: str, way: str, to: str, goal: float) -> list[Target]:
    return [
        Target(
            "asyncio",
            f"{title}, {tasks} task{'s' if tasks > 1 else ''}",
            True,
            goal,
            "x",
            _rate(way, to, "small", tasks, "asyncio"),
        )
        for tasks in (1, 8, 32)
    ]


def _rate(
    way: str, to: str, workload: str, threads: int = 1, section: str = "rates"
) -> Callable[[Results], Spread | None]:
    return lambda results: rate_ratio(results, way, to, workload, threads, section)


def _ssh(way: str) -> list[Target]:
    """From one thread. ssh encrypts, so what it stands in for is wss."""
    goals = {"small": (4, "small GET"), "10k": (10, "GET 10 KB"), "post": (10, "POST 1 KB")}
    return [
        Target("rates", f"{way} to ssh -R, {what}", True, goal, "x", _rate(way, "ssh -R", workload))
        for workload, (goal, what) in goals.items()
    ]


def _bulk(title: str, way: str, to: str, direction: str, goal: float) -> Target:
    return Target(
        "transfers",
        title,
        True,
        goal,
        "x",
        lambda results: bulk_ratio(results, way, to, direction),
    )


def _fairness(title: str, way: str) -> Target:
    return Target(
        "transfers",
        f"p99 beside a download to alone, {title}",
        False,
        3.0,
        "x",
        lambda results: fairness_ratio(results, way),
    )


def _idle(key: str, factor: float = 1) -> Callable[[Results], Spread | None]:
    def measure(results: Results) -> Spread | None:
        rows = results["idle"]["rows"] if "idle" in results else []
        rows = [row for row in rows if row["connections"] == MANY and row[key] is not None]
        return spread([row[key] * factor for row in rows])

    return measure


def _calls(scheme: str) -> Target:
    return Target(
        "calls",
        f"our own Python calls for one restsock.Session GET, {scheme}",
        False,
        200,
        "calls",
        lambda results: own_calls(results, "session", scheme, 0),
    )


def _import(module: str, most: float) -> Target:
    def ratio(results: Results) -> Spread | None:
        found = results.get("import")
        if found is None:
            return None
        pairs = zip(found[module], found["requests"], strict=True)
        return spread([ours / theirs for ours, theirs in pairs])

    return Target("import", f"import {module} to import requests", False, most, "x", ratio)


def _messages(title: str, way: str, goal: float, to: str = ECHO) -> Target:
    return Target(
        "messages",
        f"messages of 100 B {title}",
        True,
        goal,
        "x",
        lambda results: message_ratio(results, way, 100, to),
    )


def _messages_per_second(title: str, way: str, goal: float) -> Target:
    return Target(
        "messages",
        f"messages of 100 B {title}",
        True,
        goal,
        "/s",
        lambda results: message_rate(results, way, 100),
    )


def _stalled(title: str, fan: int) -> Target:
    return Target(
        "messages",
        f"p99 of one to {title} with 1 % stalled to none",
        False,
        1.1,
        "x",
        lambda results: fan_ratio(results, FAN, fan),
    )


# Sessions, and calls of each at a time, at which gateways are judged.
_GATEWAY_CELLS = ((1, 1), (100, 1), (100, 25))


def _gateway(title: str, to: str, goal: float) -> list[Target]:
    return [
        Target(
            "gateway",
            f"{title}, calls/s, {cell_title(*cell)}",
            True,
            goal,
            "x",
            partial(gateway_ratio, to=to, cell=cell),
        )
        for cell in _GATEWAY_CELLS
    ]


def _gateway_late(title: str, to: str) -> list[Target]:
    return [
        Target(
            "gateway",
            f"{title}, p99, {cell_title(*cell)}",
            False,
            1,
            "x",
            partial(gateway_late, to=to, cell=cell),
        )
        for cell in _GATEWAY_CELLS
    ]


TARGETS = [
    *_rates("requests + adapter to waitress", ADAPTER, "waitress", {1: 1.0, 8: 1.5, 32: 1.8}),
    *_rates("restsock.Session to waitress", SESSION, "waitress", {1: 2.0, 8: 3.8, 32: 4.5}),
    *_rates(
        "requests + adapter, wss, to https", ADAPTER_TLS, GUNICORN_TLS, {1: 1.0, 8: 1.5, 32: 1.8}
    ),
    *_rates(
        "restsock.Session, wss, to https", SESSION_TLS, GUNICORN_TLS, {1: 1.8, 8: 3.0, 32: 3.8}
    ),
    *_rates(
        "restsock.Session to uvicorn, FastAPI",
        SESSION_FASTAPI,
        "uvicorn",
        {1: 1.3, 8: 2.6, 32: 2.6},
    ),
    *_rates(
        "restsock.Session, wss, to uvicorn, https, FastAPI",
        SESSION_FASTAPI_TLS,
        UVICORN_TLS,
        {1: 1.3, 8: 2.6, 32: 2.6},
    ),
    *_rates("requests, ingress, to ssh -R", INGRESS, "ssh -R", {1: 1.2, 8: 1.2, 32: 1.2}),
    *_rates("requests, ingress, to nginx", INGRESS, "nginx", {1: 0.7, 8: 0.7, 32: 0.7}),
    *_asyncio("restsock.aio to httpx", AIO, HTTPX, 1.5),
    *_asyncio("restsock.aio to aiohttp", AIO, AIOHTTP, 0.8),
    *_ssh(SESSION),
    *_ssh(SESSION_TLS),
    _bulk("bulk down to waitress", BULK_DIALED, "waitress", "down", 0.8),
    _bulk("bulk down to ssh -R", BULK_DIALED, "ssh -R", "down", 4),
    _bulk("bulk up to ssh -R", BULK_DIALED, "ssh -R", "up", 1),
    _bulk("bulk up to ssh -R, C masking", BULK_DIALED_C, "ssh -R", "up", 3),
    _bulk("bulk down over wss to https", BULK_DIALED_TLS, GUNICORN_TLS, "down", 0.6),
    _bulk("bulk up over wss to https", BULK_DIALED_TLS, GUNICORN_TLS, "up", 0.5),
    _bulk("bulk up over wss to https, C masking", BULK_DIALED_TLS_C, GUNICORN_TLS, "up", 0.5),
    _fairness("caller dials", BULK_DIALED),
    _fairness("app dials", BULK_LISTENED),
    _fairness("caller dials, wss", BULK_DIALED_TLS),
    _fairness("app dials, wss", BULK_LISTENED_TLS),
    Target("idle", "idle connection of 10,000, listener", False, 3, "KiB", _idle("listener_kib")),
    Target("idle", "idle connection of 10,000, dialer", False, 5, "KiB", _idle("dialer_kib")),
    Target(
        "idle", "their heartbeats, listener", False, 2, "% of a core", _idle("listener_core", 100)
    ),
    Target("busy", "busy p99 beside 5,000 idle to alone", False, 1.5, "x", busy_ratio),
    _messages("in memory to an echo of websockets", IN_MEMORY, 0.5),
    _messages("in memory to python-socketio", IN_MEMORY, 2, SOCKETIO_PYTHON),
    _messages("in SQLite, 64 tasks, to an echo of websockets", MANY_SENDERS, 0.15),
    _messages_per_second("in memory", IN_MEMORY, 10_000),
    _messages_per_second("in SQLite, one sender", ONE_SENDER, 3_000),
    _messages_per_second("in SQLite, 8 senders", EIGHT_SENDERS, 3_000),
    _messages_per_second("in SQLite, 64 tasks", MANY_SENDERS, 3_000),
    _stalled("100", 0),
    _stalled("1,000", 1),
    Target("messages", "messages/s to 100 readers, p99 below 100 ms", True, 1_000, "/s", load_rate),
    *_gateway("gateway to FastAPI and httpx", FASTAPI, 2),
    *_gateway_late("gateway to FastAPI and httpx", FASTAPI),
    *_gateway("gateway to pushpin", PUSHPIN, 1),
    *_gateway("gateway to Node.js", NODE, 0.5),
    Target(
        "gateway",
        "gateway that passes on to nginx, one message at a time",
        True,
        0.25,
        "x",
        partial(gateway_ratio, to=NGINX, cell=(1, 1), section="passes"),
    ),
    Target(
        "gateway", "gateway: p99 beside hostile clients to alone", False, 1.2, "x", gateway_hostile
    ),
    Target(
        "gateway",
        "gateway: p99 beside hostile clients to beside harmless ones",
        False,
        1.2,
        "x",
        gateway_harm,
    ),
    Target("gateway", "gateway: a quiet session of 1,000", False, 40, "KiB", gateway_weight),
    _calls("ws"),
    _calls("wss"),
    _import("restsock", 1.2),
    # It loads trio, which alone takes as long as requests.
    _import("restsock.sync", 2.5),
]
