"""Options, TLS, instruments and authentication."""

from __future__ import annotations

import logging
import ssl
from pathlib import Path

from typing_extensions import assert_type

import restsock
import restsock.sync
from restsock.auth import (
    BasicUsers,
    Bearer,
    BearerTokens,
    CertificateSubject,
    Principal,
    Refused,
    Upgrade,
)
from restsock.instruments.opentelemetry import OpenTelemetryInstrument
from restsock.instruments.prometheus import PrometheusInstrument

options = restsock.Options.from_mapping({"limits": {"max_streams": 64}})
assert_type(options, restsock.Options)
assert_type(options.limits, restsock.Limits)
assert_type(options.timeouts.connect, float)
assert_type(options.heartbeat, restsock.Heartbeat)
same = restsock.Options(limits=restsock.Limits(max_streams=64))


async def on_ping(connection: restsock.ConnectionInfo, data: bytes) -> None:
    print(connection.name, data.decode())


restsock.Heartbeat(data=b"site 7", on_ping=on_ping)
restsock.Heartbeat(data=lambda: b"site 7", on_pong=lambda connection, data, seconds: seconds)
log = logging.getLogger("plant")
restsock.connect("ws://hub.example/", logger=log)
restsock.sync.listen("127.0.0.1", 0, logger=logging.LoggerAdapter(log, {"site": 7}))


class Slow(restsock.Instrument):
    def connection_opened(self, connection: restsock.Connection) -> None:
        print(connection.name)

    def connection_closed(self, connection: restsock.Connection, closed: restsock.Closed) -> None:
        assert_type(closed.clean, bool)


async def authenticate(upgrade: Upgrade) -> Principal | None:
    assert_type(upgrade.header("x-key"), str | None)
    if upgrade.path == "/closed":
        raise Refused(403, "closed today")
    return Principal("edge-1", may_call=["hub"])


def authenticate_in_a_thread(upgrade: Upgrade) -> Principal | None:
    return None


def credentials() -> dict[str, str]:
    return {"X-Key": "secret"}


for auth in (
    authenticate,
    authenticate_in_a_thread,
    BearerTokens({"secret": "edge-1"}),
    BasicUsers(file=Path("users.json")),
    CertificateSubject(),
):
    restsock.listen(
        None, 0, auth=auth, options=options, instrument=[Slow(), PrometheusInstrument()]
    )

restsock.connect("ws://hub.example/", auth=credentials, instrument=OpenTelemetryInstrument())
restsock.connect("wss://hub.example/", auth=Bearer("secret"), tls=restsock.tls.client(ca="ca.pem"))
restsock.connect("wss://hub.example/", tls=ssl.create_default_context(), backoff=restsock.Backoff())
restsock.connect("wss://hub.example/", proxy=restsock.Proxy("http://proxy.example:8080"))
