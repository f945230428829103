"""Options, as frozen objects that check themselves.

Each is made once by the user and handed down whole, so that no function repeats seven keyword
arguments. Sizes are bytes, times are seconds.
"""

from __future__ import annotations

import inspect
import ipaddress
import math
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields
from typing import Any

from restsock._nearest import nearest
from restsock._principal import ConnectionInfo

__all__ = ["Backoff", "Heartbeat", "Limits", "Options", "SocketOptions", "Timeouts"]

MAX_PING_DATA = 117
"""Bytes: a ping carries 125 (RFC 6455, section 5.5), of which 8 tell it apart."""

# Of options that are for programs: functions, and bytes.
_NOT_IN_FILES = {"file": False}

# The protocol has no longer message (spec/protocol.md, "Carrier").
_MAX_MESSAGE = 128 * 1024 + 8


@dataclass(frozen=True, kw_only=True)
class Limits:
    """How much this side accepts. Each peer is told the limits that concern it.

    docs/limits.md says what happens to a peer that exceeds one, and what they add up to in memory.
    """

    max_frame: int = 64 * 1024
    """Body bytes of one frame. A peer uses them if only one stream has something to send, and
    otherwise no more than 16 KiB, so that a short answer never waits for long."""

    max_head: int = 64 * 1024
    """Bytes of a request or response head."""

    max_fields: int = 256
    """Fields of a head. A parsed field takes many times its bytes: `a:` takes 130."""

    max_streams: int = 128
    """Requests of the peer that are open at once."""

    initial_window: int = 64 * 1024
    """Body bytes that a stream may hold unread, to begin with."""

    max_window: int = 4 * 1024 * 1024
    """The largest window of a stream that is read quickly and so has grown."""

    receive_budget: int = 16 * 1024 * 1024
    """The growth of the windows of all streams together."""

    send_buffer: int = 64 * 1024
    """Body bytes that a stream may have waiting to be sent before its sender has to wait."""

    max_metadata: int = 64 * 1024
    """Bytes of a handshake message, metadata included."""

    max_metadata_memory: int = 256 * 1024
    """Bytes that the metadata takes once it is parsed: `[{},{}]` takes 200."""

    max_metadata_depth: int = 32
    """Nested arrays and objects in the metadata, since code that logs or copies it recurses."""

    max_handshakes: int = 256
    """New connections of a listener that have not finished their handshake yet. A handshake takes
    milliseconds. Beyond this number, the oldest is dropped, since it had the most time."""

    max_connections: int = 10_000
    """Connections of a listener, at about 4 KiB each while they are idle."""

    max_http_clients: int = 10_000
    """Connections of plain HTTP clients at a time, in addition to those of peers, at about 5 KiB
    each while idle. Above it, the client that has been idle longest is closed; if none is idle, the
    new one gets a 503 with Retry-After. For listeners that answer plain HTTP."""

    max_connections_per_address: int | None = None
    """Connections from one address, or with IPv6 from one /64 network. `None` sets no bound: all
    peers behind a reverse proxy or a NAT share one address. Set it if peers dial in directly."""

    max_message: int = 128 * 1024 + 8
    """Bytes of a WebSocket message, however it is fragmented. The default is what the protocol
    allows. A lower limit saves memory with hostile peers, but closes the connection of a correct
    peer that sends a head which would otherwise get a 431."""

    max_body: int | None = None
    """Bytes of the body of a request of the peer. `None` sets no bound: a body takes only as much
    memory as its window, and the app knows best how much is too much."""

    max_response_body: int | None = None
    """Bytes of the body of a response to this side. `None` sets no bound; set it if your program
    reads whole responses of untrusted peers."""

    max_websocket_message: int = 1024 * 1024
    """Bytes of the largest message that a WebSocket inside a stream receives, at either end: one to
    an app of the peer (`websocket()`), or one of the ASGI app that is served here."""

    buffered_total: int = 256 * 1024 * 1024
    """Unread body bytes on all connections of a client or a server. Above it, windows do not grow,
    and connections that hold more than an even share of it have new requests refused. Connections
    that are read promptly are not affected."""

    def __post_init__(self) -> None:
        between(self, "max_frame", 1024, 64 * 1024)
        between(self, "max_head", 1024, 64 * 1024)
        between(self, "max_fields", 16, 64 * 1024)
        between(self, "max_streams", 0, 2**31 - 1)
        between(self, "initial_window", 16 * 1024, 2**31 - 1)
        between(self, "max_window", self.initial_window, 2**31 - 1)
        between(self, "receive_budget", 0, 2**63)
        between(self, "send_buffer", 1024, 2**63)
        between(self, "max_metadata", 256, 128 * 1024)
        between(self, "max_metadata_memory", 1024, 2**63)
        between(self, "max_metadata_depth", 1, 256)
        between(self, "max_handshakes", 1, 2**31)
        between(self, "max_connections", 1, 2**31)
        between(self, "max_http_clients", 1, 2**31)
        # Room for the largest message that the peer may send, and for a RESET.
        largest = max(self.max_frame, self.max_head, self.max_metadata, 1024 + 6)
        between(self, "max_message", min(largest + 8, _MAX_MESSAGE), _MAX_MESSAGE)
        between(self, "max_websocket_message", 1, 2**63)
        between(self, "buffered_total", 0, 2**63)
        _between_if_set(self, "max_connections_per_address", 1, 2**31)
        _between_if_set(self, "max_body", 0, 2**63)
        _between_if_set(self, "max_response_body", 0, 2**63)


@dataclass(frozen=True, kw_only=True)
class Timeouts:
    """How long each phase may take, in seconds. docs/limits.md says what follows."""

    handshake: float = 10.0
    """From the first byte of a new socket (TLS included) to the last step of the handshake."""

    connect: float = 10.0
    """How long a request waits for a connection and a free stream, unless it has its own
    timeout."""

    close: float = 5.0
    """How long a closing connection waits for the peer's half of the closing handshake."""

    disconnect: float = 1.0
    """How long an ASGI app may go on after `http.disconnect` before it is cancelled, and how long a
    client or server that has ended waits for the threads of its WSGI app."""

    idle: float = 60.0
    """How long a WSGI worker waits for a peer to send or to read; and how long data sent before a
    failure (of an app, of a caller's body) waits to be read."""

    keep_alive: float = 75.0
    """The pause of a plain HTTP client before its next request; the close may come up to half as
    late again. For listeners that answer plain HTTP."""

    grace: float = 30.0
    """How long requests in flight may go on when a client, a server or a connection is closed; 0
    cuts them off. Most deployments kill a process somewhat later than that."""

    request: float | None = None
    """How long a request of the peer may take, from its head to the end of the response, however
    slowly the bytes arrive. It does not apply after a 101. `None` sets no bound: downloads, events
    and long polls take long."""

    connection_idle: float | None = None
    """How long a connection may be without a request in either direction; the close may come up to
    twice as late. `None` sets no bound: a peer that waits to be called is idle."""

    lifetime: float | None = None
    """How long a connection may live before it is drained and the client reconnects: to another
    machine, or with a new token. `None` sets no bound."""

    def __post_init__(self) -> None:
        for name in ("handshake", "connect", "close", "disconnect", "idle", "keep_alive"):
            positive(self, name)
        not_negative(self, "grace")
        for name in ("request", "connection_idle", "lifetime"):
            if getattr(self, name) is not None:
                positive(self, name)


@dataclass(frozen=True, kw_only=True)
class Heartbeat:
    """When to ask the peer for a sign of life.

    A ping is sent `interval` seconds after the last one. A connection without any byte for
    `interval + timeout` seconds is dead.

        Heartbeat(data=b"site 7", on_pong=lambda connection, data, seconds: ...)

    Pings are answered automatically. The functions do not hold up the traffic: a plain one runs in
    a thread, an async one on the loop of its API (with `restsock.sync` that is trio's, on the
    background thread). Calls for one connection run one after the other. If they do not keep up,
    calls are dropped, logged, and counted as `heartbeat_calls` in `limits` of the statistics. An
    exception is logged and has no other effect. When the connection ends, a running call is
    cancelled; nobody waits for a thread.
    """

    interval: float | None = 15.0
    """Seconds between pings; `None` sends none and never gives up on a silent peer."""

    timeout: float = 10.0

    data: bytes | Callable[[], bytes] = field(default=b"", metadata=_NOT_IN_FILES)
    """The data of pings, after the 8 bytes that identify them: at most 117 bytes. Or a plain
    function that returns it for each ping. It runs on the thread of the loop (with `restsock.sync`
    and `restsock.aio` the background thread) and must not wait. If it fails, or returns anything
    else, the ping is sent without data, and that is logged."""

    on_ping: Callable[[ConnectionInfo, bytes], Any] | None = field(
        default=None, metadata=_NOT_IN_FILES
    )
    """Is called, async or not, with each ping of the peer: `(connection, data)`. The data is what
    follows the first 8 bytes; on a plain WebSocket, whose pings have no such form, all of it."""

    on_pong: Callable[[ConnectionInfo, bytes, float], Any] | None = field(
        default=None, metadata=_NOT_IN_FILES
    )
    """Is called, async or not, when the latest ping is answered: `(connection, data, seconds)`,
    with the data of that ping and how long the answer took. Other pongs are ignored: unsolicited
    ones, and answers to an earlier ping or with other bytes."""

    def __post_init__(self) -> None:
        if self.interval is not None:
            positive(self, "interval")
        positive(self, "timeout")
        data: object = self.data
        if isinstance(data, bytes):
            if len(data) > MAX_PING_DATA:
                raise ValueError(f"Heartbeat.data may have {MAX_PING_DATA} bytes, not {len(data)}")
        elif not callable(data) or inspect.iscoroutinefunction(data):
            raise ValueError(f"Heartbeat.data must be bytes or a plain function, not {data!r}")
        for name in ("on_ping", "on_pong"):
            function = getattr(self, name)
            if function is not None and not callable(function):
                raise ValueError(f"Heartbeat.{name} must be a function, not {function!r}")


@dataclass(frozen=True, kw_only=True)
class Backoff:
    """How long to wait between attempts to connect: exponential, with full jitter."""

    initial: float = 1.0
    factor: float = 2.0
    cap: float = 60.0
    tries: int = 0
    """Attempts before giving up; 0 never gives up."""

    jitter: bool = True
    """Whether each wait is random, from zero up to its length, so that peers cut off together do
    not reconnect together."""

    restart: float = 30.0
    """Seconds after a close with 1001 or 1012 (the listener goes away or restarts) during which no
    wait is longer than a second, so that a short restart loses no request. 0 treats all ends of a
    connection alike."""

    give_up: str = "refused"
    """Which of the failures that trying again seems not to help end the client at once:

    - `"refused"`: of the first connect, all of them (a 404, a certificate that is not accepted,
      wrong credentials); once it has been connected, only the word of the listener itself that it
      will not have this client (401, 403, 4005);
    - `"first"`: those of the first connect alone;
    - `"never"`: none."""

    def __post_init__(self) -> None:
        positive(self, "initial")
        positive(self, "cap")
        if not 1 <= self.factor <= sys.float_info.max:
            raise ValueError(f"Backoff.factor must be at least 1, not {self.factor!r}")
        between(self, "tries", 0, 2**31)
        if not 0 <= self.restart <= sys.float_info.max:
            raise ValueError(f"Backoff.restart must be 0 or more seconds, not {self.restart!r}")
        if self.give_up not in ("refused", "first", "never"):
            raise ValueError(
                f'Backoff.give_up must be "refused", "first" or "never", not {self.give_up!r}'
            )

    def delay(self, attempt: int, chance: float, *, bound: float = math.inf) -> float:
        """How long to wait after a failed attempt.

        Args:
            attempt: how many attempts have failed in a row, from 1.
            chance: a random number in [0, 1), handed in so that this stays a function.
            bound: a cap below that of this object.

        Returns:
            Seconds.
        """
        try:
            grown = self.initial * float(self.factor) ** (attempt - 1)
        except OverflowError:  # long before patience ends
            grown = math.inf
        longest = min(bound, self.cap, grown)
        return longest * chance if self.jitter else longest


@dataclass(frozen=True, kw_only=True)
class SocketOptions:
    """Options of each TCP socket, for both ends unless a field says otherwise.

    For a Unix socket only `backlog` and `unix_mode` have a meaning.

    An option that this system does not have is ignored while its field has its default; with any
    other value `connect` or `listen` raises a `ValueError`.
    """

    no_delay: bool = True
    """TCP_NODELAY: a short message is sent at once, without waiting for the next one. Messages that
    can be sent together are joined before they reach the socket."""

    keep_alive: bool = True
    """SO_KEEPALIVE. The heartbeat is faster. This finds a dead peer if the heartbeat is off or the
    program does not run, and keeps NATs from forgetting the connection."""

    keep_alive_idle: int = 60
    """Seconds without a byte before the system asks first (its own default is 2 hours); below
    the few minutes after which a NAT forgets."""

    keep_alive_interval: int = 10
    """Seconds between its questions."""

    keep_alive_count: int = 6
    """Questions without an answer before the socket fails: with the other two, after 2 minutes."""

    user_timeout: float | None = None
    """Seconds that sent bytes may stay without an acknowledgement before the socket fails
    (TCP_USER_TIMEOUT, RFC 5482; Linux). `None` leaves it to the system, which tries for a quarter
    of an hour: the heartbeat is quicker. Set, it takes the place of `keep_alive_count`."""

    send_buffer: int | None = None
    """Bytes that the system may hold unsent and unacknowledged (SO_SNDBUF). `None` lets the system
    fit it to the path, which a long and fast path needs: 64 KiB end at 5 Mbit/s where a round trip
    takes 100 ms. The system may give less than is asked for."""

    receive_buffer: int | None = None
    """Bytes that the system may hold unread (SO_RCVBUF). As `send_buffer`."""

    local_address: str | None = None
    """The IP address of this machine from which a client dials, itself or its proxy; `None` leaves
    it to the routes. `"0.0.0.0"` dials over IPv4 alone, `"::"` over IPv6. For clients."""

    backlog: int | None = None
    """New connections that the kernel holds until they are accepted; `None` is the system's
    maximum. For listeners."""

    reuse_address: bool = True
    """SO_REUSEADDR: a listener that restarts gets its port back at once. Left out on Windows, where
    it means something else and is not needed. For listeners."""

    reuse_port: bool = False
    """SO_REUSEPORT: several processes listen on one port, and the kernel distributes new
    connections. It is off by default, since each process knows only its own peers. For
    listeners."""

    unix_mode: int = 0o600
    """The mode of the file of a Unix socket: users that may write to it may dial. By default that
    is the user of the listener (and root). `0o660` adds the group of the file, which is that of the
    process, or of a folder with the set-group-ID bit. For listeners."""

    def __post_init__(self) -> None:
        between(self, "unix_mode", 0, 0o777)
        for name in ("no_delay", "keep_alive", "reuse_address", "reuse_port"):
            if not isinstance(getattr(self, name), bool):
                raise ValueError(f"SocketOptions.{name} must be True or False")
        # The bounds of Linux, and of the 16 bits and signed numbers of others.
        between(self, "keep_alive_idle", 1, 32767)
        between(self, "keep_alive_interval", 1, 32767)
        between(self, "keep_alive_count", 1, 127)
        if self.user_timeout is not None:
            positive(self, "user_timeout")
            if not 0.001 <= self.user_timeout <= 2_000_000:
                raise ValueError("SocketOptions.user_timeout must be 0.001 to 2000000 seconds")
        _between_if_set(self, "send_buffer", 4096, 2**30)
        _between_if_set(self, "receive_buffer", 4096, 2**30)
        _between_if_set(self, "backlog", 1, 65535)
        if self.local_address is not None:
            try:
                ipaddress.ip_address(self.local_address)
            except ValueError:
                raise ValueError(
                    f"SocketOptions.local_address must be an IP address, not {self.local_address!r}"
                ) from None


@dataclass(frozen=True, kw_only=True)
class Options:
    """All options of a connection, as one object."""

    limits: Limits = field(default_factory=Limits)
    timeouts: Timeouts = field(default_factory=Timeouts)
    heartbeat: Heartbeat = field(default_factory=Heartbeat)
    sockets: SocketOptions = field(default_factory=SocketOptions)

    @classmethod
    def from_mapping(cls, mapping: Mapping[str, Any]) -> Options:
        """Reads options from tables, as `tomllib` gives them.

            with open("restsock.toml", "rb") as file:
                options = Options.from_mapping(tomllib.load(file))

        Args:
            mapping: A table for each field, with those of its options that are not the default:
                `{"limits": {"max_streams": 64}, "heartbeat": {"interval": 30}}`. The text `"none"`
                is `None`, which TOML does not have.

        Raises:
            ValueError: There is no such table or option, or a value is not valid. The message says
                which, and what may be meant.
        """
        kinds: dict[str, Any] = {one.name: one.default_factory for one in fields(cls)}
        parts: dict[str, Any] = {}
        for name, table in mapping.items():
            if name not in kinds:
                raise ValueError(f"there are no options {name!r}{nearest(name, kinds)}")
            if not isinstance(table, Mapping):
                raise ValueError(f"the options {name!r} must be a table, not {table!r}")
            known = file_options(kinds[name])
            for key in table:
                if key not in known:
                    kind = kinds[name].__name__
                    raise ValueError(f"{kind} has no option {key!r}{nearest(key, known)}")
            values = {key: None if value == "none" else value for key, value in table.items()}
            parts[name] = kinds[name](**values)
        return cls(**parts)


def file_options(kind: type) -> list[str]:
    """The names of those options that a file may have: all but functions and bytes."""
    return [one.name for one in fields(kind) if one.metadata.get("file", True)]


def between(options: object, name: str, low: int, high: int) -> None:
    """Raises `ValueError` unless an option is a whole number within these bounds."""
    value = getattr(options, name)
    # bool is an int to Python, not to a reader of options.
    if isinstance(value, bool) or not isinstance(value, int) or not low <= value <= high:
        kind = type(options).__name__
        raise ValueError(f"{kind}.{name} must be a whole number in {low}..{high}, not {value!r}")


def _between_if_set(options: object, name: str, low: int, high: int) -> None:
    if getattr(options, name) is not None:
        between(options, name, low, high)


def number(options: object, name: str, low: float, high: float = math.inf) -> None:
    """Raises `ValueError` unless an option is a number within these bounds, and finite."""
    value = getattr(options, name)
    is_number = isinstance(value, (int, float)) and not isinstance(value, bool)
    if not is_number or not math.isfinite(value) or not low <= value <= high:
        kind = type(options).__name__
        bounds = f"of {low:g} or more" if high == math.inf else f"in {low:g}..{high:g}"
        raise ValueError(f"{kind}.{name} must be a number {bounds}, not {value!r}")


def not_negative(options: object, name: str) -> None:
    """Raises `ValueError` unless an option is 0 or `positive`."""
    if getattr(options, name) != 0 or isinstance(getattr(options, name), bool):
        positive(options, name)


def positive(options: object, name: str) -> None:
    """Raises `ValueError` unless an option is a number of seconds above 0."""
    value = getattr(options, name)
    number = isinstance(value, (int, float)) and not isinstance(value, bool)
    if not number or not 0 < value <= sys.float_info.max:
        kind = type(options).__name__
        raise ValueError(f"{kind}.{name} must be a number of seconds above 0, not {value!r}")
