"""Each key of `[[channel]]` reaches what it is for. Those of routes have their backends beside."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import trustme

from restsock.gateway import (
    GRIP,
    HTTP,
    JSONRPC,
    NATS,
    Action,
    Balance,
    Breaker,
    Cache,
    Channel,
    Limit,
    Operations,
    Pipe,
    RabbitMQ,
    Rate,
    RedisStreams,
    Retry,
    Timeout,
    Validate,
    WebSocket,
)
from restsock.hub import load
from restsock.hub._access import AccessRules
from restsock.hub._channels import Channels
from restsock.tls import ClientTLS
from tests.covered import note_config
from tests.gateway.stand_in import message

MESSAGE = message("x")
TLS = (
    'ca = "ca.pem"\ncertificate = "gateway.pem"\nkey = "gateway.key"\n'
    'server_hostname = "api.example"\n'
)
DOCUMENT = '{"openapi": "3.1.0", "info": {"title": "x", "version": "1"}, "paths": {}}'


def made(folder: Path, toml: str) -> Channel:
    """The one channel of a file."""
    path = folder / "hub.toml"
    path.write_text(toml)
    config = load(path)
    note_config(config)
    (channel,) = Channels.of(config, AccessRules(config), loopback=True).channels
    return channel


def case(keys: str, toml: str, check: Callable[[Any], object]) -> Any:
    """A part of a file, the keys below `channel.` that it is about, and what has to hold."""
    marks = [pytest.mark.covers(f"channel.{key}") for key in keys.split()]
    return pytest.param(toml, check, marks=marks, id=keys.partition(" ")[0])


@pytest.mark.parametrize(
    ("toml", "check"),
    [
        case("dialect", 'dialect = "jsonrpc"', lambda c: isinstance(c.dialect, JSONRPC)),
        case("field", 'field = "do"', lambda c: isinstance(c.dialect, Action) and c.dialect.field),
        case(
            "origins",
            'origins = "https://a.example"',
            lambda c: c.origins == ("https://a.example",),
        ),
        case("subprotocols", 'subprotocols = "a.v1"', lambda c: c.subprotocols == ("a.v1",)),
        case("browser_token", 'browser_token = "b"', lambda c: c.browser_token == "b"),
        case("headers", 'headers = { X-A = "b" }', lambda c: c.headers == [("X-A", "b")]),
        case("compression", "compression = true", lambda c: c.compression is True),
        case("grace", 'grace = "3s"', lambda c: c.grace == 3),
        case(
            "admit.to admit.path admit.timeout",
            'admit = { to = "peer:a", path = "/in", timeout = "2s" }',
            lambda c: c.on_connect._path == "/in" and c.on_connect.timeout == 2,
        ),
        case("contract", "contract = true", lambda c: c.contract is True),
        case("limits.in_flight", "limits.in_flight = 3", lambda c: c.in_flight == 3),
        case("limits.message", 'limits.message = "1KiB"', lambda c: c.max_message == 1024),
        case("limits.queue", 'limits.queue = "2KiB"', lambda c: c.max_queue == 2048),
        case("limits.sessions", "limits.sessions = 4", lambda c: c.max_sessions == 4),
        case("limits.faults", "limits.faults = 5", lambda c: c.max_faults == 5),
        case("limits.faults", 'limits.faults = "none"', lambda c: c.max_faults is None),
        case("limits.idle", 'limits.idle = "1m"', lambda c: c.idle == 60),
        case("limits.max_age", 'limits.max_age = "1h"', lambda c: c.max_age == 3600),
        case("heartbeat.interval", "heartbeat.interval = 5", lambda c: c.heartbeat.interval == 5),
        case("heartbeat.timeout", "heartbeat.timeout = 6", lambda c: c.heartbeat.timeout == 6),
    ],
)
def test_keys_of_channels(tmp_path: Path, toml: str, check: Callable[[Channel], object]) -> None:
    toml = f'[[channel]]\npath = "/ws"\n{toml}\nroutes = {{ default = {{ peer = "x" }} }}'
    assert check(made(tmp_path, toml))


def has(kind: type, **values: object) -> Callable[[Any], object]:
    """Whether something is of this kind and has these attributes."""

    def check(made: Any) -> bool:
        assert isinstance(made, kind)
        return {name: getattr(made, name) for name in values} == values

    return check


STEPS: list[tuple[str, str, Callable[[Any], object]]] = [
    ("rate.rate rate.burst", "rate = { rate = 21, burst = 41 }", has(Rate, rate=21, burst=41)),
    ("limit.in_flight", "limit = { in_flight = 7 }", has(Limit, in_flight=7)),
    ("limit.queue", "limit = { in_flight = 7, queue = 9 }", has(Limit, queue=9)),
    ("limit.on_full", 'limit = { in_flight = 7, on_full = "refuse" }', has(Limit, queue=0)),
    ("schema", 'schema = "schema.json"', has(Validate)),
    ("cache.ttl", 'cache = { ttl = "2s" }', has(Cache, ttl=2)),
    (
        "cache.stale_if_error",
        'cache = { ttl = 2, stale_if_error = "33s" }',
        has(Cache, stale_if_error=33),
    ),
    ("cache.shared", "cache = { ttl = 2, shared = true }", has(Cache, _shared=True)),
    ("cache.max_entries", "cache = { ttl = 2, max_entries = 17 }", has(Cache, max_entries=17)),
    ("cache.max_bytes", 'cache = { ttl = 2, max_bytes = "1KiB" }', has(Cache, max_bytes=1024)),
    ("retry.attempts", "retry = { attempts = 4 }", has(Retry, attempts=4)),
    ("retry.initial", "retry = { initial = 0.25 }", lambda m: m._backoff.initial == 0.25),
    ("retry.cap", 'retry = { cap = "9s" }', lambda m: m._backoff.cap == 9),
    ("retry.idempotent", 'retry = { idempotent = "a.*" }', has(Retry, _idempotent=("a.*",))),
    ("retry.budget", "retry = { budget = 0.2 }", has(Retry, budget=0.2)),
    ("retry.reserve", "retry = { reserve = 3 }", has(Retry, reserve=3)),
    ("breaker.failures", "breaker = { failures = 6 }", has(Breaker, failures=6)),
    ("breaker.ratio", "breaker = { ratio = 0.6 }", has(Breaker, ratio=0.6)),
    ("breaker.window", 'breaker = { window = "31s" }', has(Breaker, window=31)),
    ("breaker.minimum", "breaker = { minimum = 22 }", has(Breaker, minimum=22)),
    ("breaker.slow", 'breaker = { slow = "11s" }', has(Breaker, slow=11)),
    ("breaker.pause", 'breaker = { pause = "12s" }', has(Breaker, pause=12)),
    ("breaker.probes", "breaker = { probes = 2 }", has(Breaker, probes=2)),
    ("timeout", 'timeout = "500ms"', has(Timeout, seconds=0.5)),
    # What counts together: the key that a message of no channel has is its session.
    ("rate.key", 'rate = { rate = 1, key = "session" }', lambda m: m._key(MESSAGE) == "s1"),
    (
        "limit.scope",
        'limit = { in_flight = 1, scope = "session" }',
        lambda m: m._key(MESSAGE) == "s1",
    ),
    ("breaker.key", 'breaker = { key = "session" }', lambda m: m._key(MESSAGE) == "s1"),
]


def _step_cases(prefix: str) -> list[Any]:
    return [
        case(" ".join(f"{prefix}.{key}" for key in keys.split()), toml, check)
        for keys, toml, check in STEPS
    ]


@pytest.mark.parametrize(("toml", "check"), _step_cases("middleware"))
def test_keys_of_middleware(tmp_path: Path, toml: str, check: Callable[[Any], object]) -> None:
    (tmp_path / "schema.json").write_text('{"type": "object"}')
    toml = f'[[channel]]\npath = "/ws"\nroutes.default.peer = "x"\n[[channel.middleware]]\n{toml}'
    (step,) = made(tmp_path, toml).middleware
    assert check(step)


@pytest.mark.parametrize(("toml", "check"), _step_cases("routes"))
def test_keys_of_middleware_of_routes(
    tmp_path: Path, toml: str, check: Callable[[Any], object]
) -> None:
    (tmp_path / "schema.json").write_text('{"type": "object"}')
    toml = f'[[channel]]\npath = "/ws"\n[channel.routes.default]\npeer = "x"\n{toml}'
    (step,) = pipe_of(made(tmp_path, toml)).middleware
    assert check(step)


def test_a_number_of_attempts_is_enough(tmp_path: Path) -> None:
    toml = '[[channel]]\npath = "/ws"\nroutes.default = { peer = "x", retry = 4, timeout = 5 }'
    retry, timeout = pipe_of(made(tmp_path, toml)).middleware
    assert isinstance(retry, Retry)
    assert isinstance(timeout, Timeout)


def pipe_of(channel: Channel) -> Pipe:
    pipe = channel.router.default  # type: ignore[attr-defined]
    assert isinstance(pipe, Pipe)
    return pipe


def mapped(name: str, value: object) -> Callable[[Any], object]:
    """Whether the mapping of a backend has an attribute."""
    return lambda backend: getattr(backend._mapping, name) == value


def has_tls(made: object) -> bool:
    """Whether TLS is that of all four keys."""
    assert isinstance(made, ClientTLS)
    return made.server_hostname == "api.example" and len(made._watch.paths) == 3


@pytest.mark.parametrize(
    ("toml", "check"),
    [
        case("routes.http", 'http = "http://127.0.0.1:1"', has(HTTP)),
        case("routes.method", 'peer = "x"\nmethod = "PUT"', mapped("method", "PUT")),
        case("routes.query", 'peer = "x"\nquery = { a = "key" }', mapped("query", {"a": "key"})),
        case("routes.tell", 'peer = "x"\ntell = { X-A = "key" }', mapped("tell", {"X-A": "key"})),
        case("routes.max_body", 'peer = "x"\nmax_body = "2KiB"', lambda b: b.max_body == 2048),
        case("routes.wait", 'peer = "x"\nwait = "3s"', lambda b: b.wait == 3),
        case(
            "routes.ca routes.certificate routes.key routes.server_hostname",
            f'http = "https://127.0.0.1:1"\n{TLS}',
            lambda b: has_tls(b._forward.ssl_context),
        ),
        case(
            "routes.websocket",
            f'websocket = "wss://127.0.0.1:1"\n{TLS}',
            lambda b: has_tls(b._connect.keywords["tls"]),
        ),
        case(
            "routes.nats",
            f'nats = "a.{{key}}"\nservers = "tls://127.0.0.1:1"\n{TLS}',
            lambda b: has_tls(b._options.tls),
        ),
        case(
            "routes.rabbitmq",
            f'rabbitmq = "a.{{key}}"\nservers = "amqps://127.0.0.1:1"\n{TLS}',
            lambda b: has_tls(b._tls),
        ),
        case(
            "routes.redis",
            f'redis = "a.{{key}}"\nservers = "rediss://127.0.0.1:1"\n{TLS}',
            lambda b: has_tls(b._tls),
        ),
        case(
            "routes.balance routes.weights",
            'balance = ["peer:a", "http://127.0.0.1:1"]\nweights = [1, 3]',
            lambda b: isinstance(b, Balance) and [m.weight for m in b._members] == [1, 3],
        ),
        case(
            "routes.operations routes.to routes.prefix",
            'operations = "doc.json"\nto = ["peer:a", "peer:b"]\nprefix = "p."',
            lambda b: (
                isinstance(b, Operations) and b._prefix == "p." and isinstance(b._to, Balance)
            ),
        ),
        case(
            "routes.responses",
            'operations = "doc.json"\nto = "peer:a"\nresponses = true',
            lambda b: isinstance(b, Operations) and b._catalog is not None,
        ),
        case(
            "routes.websocket routes.ids",
            'websocket = "ws://127.0.0.1:1"\nids = "jsonrpc"',
            lambda b: isinstance(b, WebSocket) and b._ids is not None and b._ids.key == "method",
        ),
        case("routes.pool", 'websocket = "ws://127.0.0.1:1"\npool = 2', has(WebSocket, pool=2)),
        case(
            "routes.nats routes.servers",
            'nats = "a.{key}"\nservers = ["nats://127.0.0.1:1", "nats://127.0.0.1:2"]',
            lambda b: isinstance(b, NATS) and len(b._servers) == 2,  # type: ignore[arg-type]
        ),
        case(
            "routes.rabbitmq routes.user routes.secret_file",
            'rabbitmq = "calls"\nuser = "me"\nsecret_file = "secret"',
            has(RabbitMQ),
        ),
        case(
            "routes.nats routes.user routes.secret",
            'nats = "calls"\nuser = "me"\nsecret = "${HOME}"',
            lambda b: (
                isinstance(b, NATS)
                and b._options.authentication() == {"user": "me", "password": os.environ["HOME"]}
            ),
        ),
        case("routes.redis", 'redis = "calls"', has(RedisStreams)),
        case(
            "routes.grip",
            'grip = "http://127.0.0.1:1/"\nsecret_file = "secret"',
            has(GRIP, _key=b"hush"),
        ),
    ],
)
def test_keys_of_routes(tmp_path: Path, toml: str, check: Callable[[Any], object]) -> None:
    (tmp_path / "doc.json").write_text(DOCUMENT)
    (tmp_path / "secret").write_text("hush\n")
    ca = trustme.CA()
    ca.cert_pem.write_to_path(tmp_path / "ca.pem")
    leaf = ca.issue_cert("gateway")
    leaf.private_key_pem.write_to_path(tmp_path / "gateway.key")
    leaf.cert_chain_pems[0].write_to_path(tmp_path / "gateway.pem")
    toml = f'[[channel]]\npath = "/ws"\n[channel.routes.default]\n{toml}'
    assert check(pipe_of(made(tmp_path, toml)).backend)
