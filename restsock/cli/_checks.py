"""The steps of `restsock doctor`."""

from __future__ import annotations

import socket
import ssl
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from email.utils import parsedate_to_datetime
from typing import Any
from urllib.error import HTTPError
from urllib.request import ProxyHandler, build_opener

import trio

from restsock._exceptions import HandshakeError, RestsockError
from restsock._options import Backoff, Heartbeat, Options, Timeouts
from restsock.client import Proxy, choose_proxy, connect
from restsock.connection import Connection, Instrument

from ._exit_codes import ExitCode
from ._failures import Failure, failure_of
from ._hub_address import HubAddress

__all__ = ["Finding", "check_all", "check_ready"]

_SOON = 14  # days until a certificate expires
_OFF = 30.0  # seconds by which a clock may be off


@dataclass(frozen=True)
class Finding:
    """What a step has found.

    Attributes:
        step: Which one.
        state: `"ok"`, `"warning"`, `"failed"` or `"skipped"`.
        text: What was found.
        hint: What to do about it.
        exit_code: What to exit with after a failure.
    """

    step: str
    state: str
    text: str
    hint: str = ""
    exit_code: ExitCode = ExitCode.FAILURE

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        found = asdict(self)
        del found["exit_code"]
        return found


def check_ready(admin: str, timeout: float) -> int:
    """Asks an admin API whether its hub is ready; says why not on stderr."""
    # Directly: a health check asks this machine, and through no proxy.
    opener = build_opener(ProxyHandler({}))
    try:
        with opener.open(f"{admin.rstrip('/')}/readyz", timeout=timeout):
            return ExitCode.OK
    except HTTPError as exc:
        raise Failure(f"the hub is not ready: {exc.code}") from None
    except (OSError, ValueError) as exc:
        reason = getattr(exc, "reason", exc)
        raise Failure(f"no hub answers at {admin}: {reason}", "is it running?") from None


def check_all(hub: HubAddress, timeout: float) -> list[Finding]:
    """Takes all steps; those after one that failed are skipped where they need it."""
    address = hub.address
    findings: list[Finding] = []
    try:
        proxy = choose_proxy(address, None)
    except (ValueError, ImportError) as exc:
        return [Finding("proxy", "failed", str(exc), "correct HTTPS_PROXY, HTTP_PROXY, ALL_PROXY")]
    findings.append(_check_proxy(proxy))
    if address.socket_path is not None:
        findings.append(Finding("socket", "ok", address.socket_path))
    elif proxy is None:
        for finding in _check_network(hub, timeout):
            findings.append(finding)
            if finding.state == "failed":
                return findings
    findings += trio.run(_check_peer, hub, timeout)
    if findings[-1].state != "failed" and address.socket_path is None:
        findings.append(_check_clock(hub, timeout))
    return findings


def _check_proxy(proxy: Proxy | None) -> Finding:
    if proxy is None:
        return Finding("proxy", "ok", "none")
    hint = "from HTTPS_PROXY, HTTP_PROXY or ALL_PROXY; NO_PROXY makes exceptions"
    return Finding("proxy", "ok", f"dials through {proxy}", hint)


def _check_network(hub: HubAddress, timeout: float) -> Iterator[Finding]:
    """DNS, TCP and TLS, without a proxy. Ends after the first failure."""
    address = hub.address
    try:
        found = socket.getaddrinfo(address.host, address.port, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError) as exc:
        hint = "check the host in --hub, and the name servers of this machine"
        yield Finding("DNS", "failed", f"{address.host}: {exc}", hint)
        return
    hosts = list(dict.fromkeys(str(entry[4][0]) for entry in found))
    yield Finding("DNS", "ok", f"{address.host} is {', '.join(hosts)}")
    begun = time.monotonic()
    try:
        stream = socket.create_connection((address.host, address.port), timeout)
    except OSError as exc:
        hint = "is the hub running there, and does a firewall let this port through?"
        yield Finding("TCP", "failed", f"{address.authority}: {exc.strerror or exc}", hint)
        return
    milliseconds = (time.monotonic() - begun) * 1000
    with stream:
        yield Finding("TCP", "ok", f"port {address.port} is open, {milliseconds:.1f} ms")
        yield _check_tls(hub, stream)


def _check_tls(hub: HubAddress, stream: socket.socket) -> Finding:
    address, files = hub.address, hub.tls
    if files is None:
        return Finding("TLS", "skipped", "not with ws://")
    try:
        with files.context().wrap_socket(stream, server_hostname=address.host) as secure:
            certificate: dict[str, Any] = secure.getpeercert() or {}
            version = secure.version()
    except ssl.SSLCertVerificationError as exc:
        if "expired" in exc.verify_message:
            hint = "renew the certificate of the hub, or set the clock of this machine right"
        elif "self-signed" in exc.verify_message or "issuer" in exc.verify_message:
            hint = "pass the CA of the hub with --ca FILE"
        else:
            hint = "the certificate has to be for the host in --hub"
        return Finding("TLS", "failed", exc.verify_message, hint)
    except OSError as exc:
        hint = "does the hub speak TLS on this port? try --hub ws://..."
        return Finding("TLS", "failed", str(exc), hint)
    ends = ssl.cert_time_to_seconds(certificate["notAfter"])
    days = (ends - time.time()) / 86400
    text = f"{version}, certificate valid for {days:.0f} more days"
    return Finding("TLS", "warning" if days < _SOON else "ok", text)


class _Pong(Instrument):
    """Waits for the first pong."""

    def __init__(self) -> None:
        self.came = trio.Event()

    def round_trip(self, connection: Connection, seconds: float) -> None:
        self.came.set()


async def _check_peer(hub: HubAddress, timeout: float) -> list[Finding]:
    """Upgrade, handshake and heartbeat, as a peer without a name that serves nothing."""
    options = Options(
        timeouts=Timeouts(handshake=timeout), heartbeat=Heartbeat(interval=0.1, timeout=timeout)
    )
    pong = _Pong()
    token = "" if hub.credentials is None else ", and this token"
    client = connect(
        **hub.connect_arguments(), options=options, backoff=Backoff(tries=1), instrument=pong
    )
    try:
        async with client:
            connection = await client.wait_connected()
            findings = [
                Finding("upgrade", "ok", f"the hub takes peers{token}"),
                Finding("handshake", "ok", f"connection {connection.id}"),
            ]
            with trio.move_on_after(timeout):
                await pong.came.wait()
            if connection.round_trip is None:
                text, hint = "no pong in time", "something on the way holds back small messages"
                return [*findings, Finding("heartbeat", "failed", text, hint)]
            text = f"a pong after {connection.round_trip * 1000:.1f} ms"
            return [*findings, Finding("heartbeat", "ok", text)]
    except RestsockError as exc:
        failure = failure_of(exc)
        step = "upgrade"
        if isinstance(exc, HandshakeError) and exc.status is None:
            step = "handshake"
        return [Finding(step, "failed", failure.message, failure.hint, failure.code)]


def _check_clock(hub: HubAddress, timeout: float) -> Finding:
    """Compares this clock with the field Date of an answer."""
    from ._http import new_session

    try:
        begun = time.time()
        with new_session(hub.http_url, hub.authorization, hub.ca) as session:
            answer = session.get(
                f"{hub.http_url}/", timeout=timeout, allow_redirects=False, verify=session.verify
            )
        theirs = parsedate_to_datetime(answer.headers["Date"]).timestamp()
    except (OSError, KeyError, ValueError) as exc:
        return Finding("clock", "skipped", f"the hub does not tell the time: {type(exc).__name__}")
    off = theirs - (begun + time.time()) / 2
    if abs(off) > _OFF:
        hint = "set it by NTP: tokens and certificates go by the time"
        return Finding("clock", "warning", f"this clock is off by {-off:.0f} s", hint)
    return Finding("clock", "ok", "as that of the hub")
