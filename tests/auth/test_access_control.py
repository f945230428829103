"""What a newcomer gets to hear before the upgrade, at its name, and at each of its requests."""

from __future__ import annotations

import functools
import logging
import threading
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest
import trio
import trio.lowlevel
import trio.testing
from hypothesis import given
from hypothesis import strategies as st

import restsock.sync
from restsock import (
    HandshakeError,
    Options,
    Principal,
    RemoteProtocolError,
    StreamRefused,
    Timeouts,
    listen,
)
from restsock.auth import (
    Answered,
    Basic,
    Bearer,
    BearerTokens,
    CertificateSubject,
    Refused,
    Upgrade,
)
from restsock.connection import AccessControl, Connection, Peer, open_accepted, open_dialed
from restsock.protocol import ClientUpgrade, Headers
from tests.memory_network import Echo

PEER = Peer("203.0.113.7", 4711)
SECRET = "s3cr3t-and-long"
BEARER = [(b"Authorization", b"Bearer " + SECRET.encode())]


class Answer:
    """What a listener says to a request for an upgrade."""

    def __init__(self, data: bytes) -> None:
        head, _, self.body = data.partition(b"\r\n\r\n")
        status, *fields = head.decode("latin-1").split("\r\n")
        self.status = int(status.split()[1])
        self.fields = {
            name.lower(): value for name, _, value in (field.partition(": ") for field in fields)
        }


async def ask(
    access_control: AccessControl,
    headers: Headers = (),
    *,
    host: str = "hub",
    options: Options | None = None,
) -> Answer:
    """Asks for the upgrade; nothing more."""
    here, there = trio.testing.memory_stream_pair()
    data = b""
    async with trio.open_nursery() as nursery:

        async def listen() -> None:
            with pytest.raises(HandshakeError):
                await open_accepted(
                    there, peer=PEER, options=options or Options(), access_control=access_control
                )

        nursery.start_soon(listen)
        upgrade = ClientUpgrade(host=host, target="/t?q=1", headers=headers, key=bytes(16))
        await here.send_all(upgrade.request)
        while b"\r\n\r\n" not in data:
            data += await here.receive_some()
        if b" 101 " not in data.split(b"\r\n")[0]:
            while piece := await here.receive_some():
                data += piece
        await here.aclose()
    return Answer(data)


async def test_an_authenticator_may_answer_by_itself() -> None:
    def answer(upgrade: Upgrade) -> Principal | None:
        raise Answered(302, [(b"Location", b"/login"), (b"Connection", b"keep-alive")], b"go")

    found = await ask(AccessControl(auth=answer))
    assert (found.status, found.fields["location"]) == (302, "/login")
    assert found.fields["connection"] == "close"


class NotMetError(Exception):
    """Carries the errors of both ends."""


@asynccontextmanager
async def met(
    access_control: AccessControl,
    *,
    name: str | None = "edge-1",
    headers: Headers = (),
    app: Any = None,
) -> AsyncIterator[tuple[Connection, Connection]]:
    """Dialer and listener, both running; the listener serves `app`."""
    here, there = trio.testing.memory_stream_pair()
    ends: dict[str, Connection] = {}
    app = Echo("hub") if app is None else app

    failures: list[HandshakeError] = []

    async def listen() -> None:
        try:
            ends["listener"] = await open_accepted(
                there, peer=PEER, options=Options(), access_control=access_control
            )
        except HandshakeError as exc:
            failures.append(exc)

    async def dial() -> None:
        try:
            ends["dialer"] = await open_dialed(
                here, host="hub", name=name, headers=headers, peer=PEER, options=Options()
            )
        except HandshakeError as exc:
            failures.append(exc)

    async with trio.open_nursery() as opening:
        opening.start_soon(listen)
        opening.start_soon(dial)
    if failures:
        raise NotMetError(*failures)
    edge = Echo("edge")
    async with app.running(), edge.running(), trio.open_nursery() as nursery:
        nursery.start_soon(ends["dialer"].run, edge)
        nursery.start_soon(ends["listener"].run, app)
        yield ends["dialer"], ends["listener"]
        nursery.cancel_scope.cancel()


# --- who ----------------------------------------------------------------------------------


async def test_without_authentication_everybody_is_nobody() -> None:
    access_control = AccessControl()
    assert (await ask(access_control)).status == 101
    async with met(access_control) as (dialer, listener):
        assert listener.principal is None
        assert dialer.principal is None
        assert listener.admit is None
        assert (await dialer.request("GET", "/")).text == "hub: GET /"


async def test_an_authenticator_sees_the_request() -> None:
    seen: list[Upgrade] = []

    async def authenticate(upgrade: Upgrade) -> Principal | None:
        seen.append(upgrade)
        return None

    await ask(AccessControl(auth=authenticate), [(b"X-Tenant", b"blue")])
    (upgrade,) = seen
    assert upgrade.target == "/t?q=1"
    assert upgrade.path == "/t"
    assert upgrade.header("x-tenant") == "blue"
    assert upgrade.header("Host") == "hub"
    assert (upgrade.host, upgrade.port) == (PEER.host, PEER.port)
    assert upgrade.certificate is None


def known(upgrade: Upgrade) -> Principal | None:
    return Principal("edge-1") if upgrade.authorization is not None else None


async def async_known(upgrade: Upgrade) -> Principal | None:
    await trio.lowlevel.checkpoint()
    return known(upgrade)


class Asked:
    async def __call__(self, upgrade: Upgrade) -> Principal | None:
        return await async_known(upgrade)


@pytest.mark.parametrize(
    "authenticate",
    [
        known,
        async_known,
        Asked(),
        functools.partial(async_known),
        lambda upgrade: async_known(upgrade),  # noqa: PLW0108  # not async itself
        functools.partial(known),
        BearerTokens({SECRET: "edge-1"}),
    ],
)
async def test_any_callable_authenticates(authenticate: Any) -> None:
    access_control = AccessControl(auth=authenticate)
    answer = await ask(access_control)
    assert answer.status == 401
    assert answer.fields["www-authenticate"] == 'Bearer realm="restsock"'
    assert answer.fields["connection"] == "close"
    assert "upgrade" not in answer.fields
    async with met(access_control, headers=BEARER) as (dialer, listener):
        assert listener.principal == Principal("edge-1")
        assert dialer.principal is None
        assert (await dialer.request("GET", "/")).text == "hub: GET /"
        assert (await listener.request("GET", "/")).text == "edge: GET /"


async def test_where_authenticators_run() -> None:
    """What may wait has a thread of its own; what says that it does not runs on the loop."""
    threads: list[int] = []

    def authenticate(upgrade: Upgrade) -> Principal | None:
        threads.append(threading.get_ident())
        return None

    class Quick:
        waits = False

        def __call__(self, upgrade: Upgrade) -> Principal | None:
            return authenticate(upgrade)

    await ask(AccessControl(auth=authenticate))
    await ask(AccessControl(auth=Quick()))
    assert threads[0] != threading.get_ident()
    assert threads[1] == threading.get_ident()


@pytest.mark.parametrize(
    ("refused", "status", "challenge", "text"),
    [
        (Refused(401), 401, 'Bearer realm="restsock"', "who you are"),
        (Refused(401, challenge='Basic realm="x"'), 401, 'Basic realm="x"', "who"),
        (Refused(401, headers={"www-authenticate": "Custom"}), 401, "Custom", "who"),
        (Refused(403), 403, None, "may not"),
        (Refused(403, "The account is locked."), 403, None, "The account is locked.\n"),
        (Refused(429, headers={"Retry-After": "7"}), 429, None, "Refused"),
        (Refused(503), 503, None, "Refused"),
    ],
)
async def test_refusals(refused: Refused, status: int, challenge: str | None, text: str) -> None:
    async def authenticate(upgrade: Upgrade) -> Principal | None:
        raise refused

    answer = await ask(AccessControl(auth=authenticate))
    assert answer.status == status
    assert answer.fields.get("www-authenticate") == challenge
    assert text in answer.body.decode()
    if status == 429:
        assert answer.fields["retry-after"] == "7"


async def test_a_challenge_of_the_authenticator() -> None:
    tokens = BearerTokens({SECRET: "edge-1"}, realm="hub")
    answer = await ask(AccessControl(auth=tokens))
    assert answer.fields["www-authenticate"] == 'Bearer realm="hub"'
    answer = await ask(AccessControl(auth=tokens), [(b"Authorization", b"Bearer wrong")])
    assert answer.status == 401
    assert answer.fields["www-authenticate"] == 'Bearer realm="hub", error="invalid_token"'
    answer = await ask(AccessControl(auth=tokens), [(b"Authorization", b"Bearer")])
    assert answer.status == 400


@pytest.mark.parametrize(
    "make",
    [
        lambda: Refused(200),
        lambda: Refused(600),
        lambda: Refused(True),
        lambda: Refused(401, challenge="a\r\nX: 1"),
        lambda: Refused(403, headers={"X Y": "1"}),
        lambda: Refused(403, headers={"X": "ü"}),
    ],
)
def test_what_is_no_refusal(make: Callable[[], Refused]) -> None:
    with pytest.raises(ValueError):  # noqa: PT011  # whichever
        make()


class Odd:
    """An authenticator with a fault."""

    def __init__(self, result: Any) -> None:
        self.result = result

    async def __call__(self, upgrade: Upgrade) -> Any:
        if isinstance(self.result, Exception):
            raise self.result
        return self.result


@pytest.mark.parametrize(
    "result",
    [
        RuntimeError(f"cannot reach db?password={SECRET}"),
        KeyError(SECRET),
        OSError(SECRET),
        trio.TooSlowError(),
        True,
        "edge-1",
        SECRET,
        object(),
    ],
)
async def test_a_faulty_authenticator_admits_no_client(
    result: Any, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    answer = await ask(AccessControl(auth=Odd(result)), BEARER)
    assert answer.status == 500
    assert SECRET not in caplog.text
    assert SECRET.encode() not in answer.body
    (record,) = [r for r in caplog.records if r.levelno == logging.ERROR]
    if isinstance(result, Exception):
        # What, and where, is said all the same.
        assert type(result).__name__ in record.getMessage()
        assert "test_access_control.py" in record.getMessage()


async def test_a_slow_authenticator_is_given_up(
    autojump_clock: trio.testing.MockClock,
) -> None:
    cancelled = []

    async def authenticate(upgrade: Upgrade) -> Principal | None:
        try:
            await trio.sleep_forever()
        except trio.Cancelled:
            cancelled.append(trio.current_time())
            raise

    answer = await ask(
        AccessControl(auth=authenticate), options=Options(timeouts=Timeouts(handshake=3))
    )
    assert answer.status == 503
    assert cancelled == [3]


async def test_a_blocked_authenticator_is_given_up() -> None:
    """A thread cannot be stopped. What it says in the end counts for nothing."""
    release = threading.Event()
    done = threading.Event()

    def authenticate(upgrade: Upgrade) -> Principal | None:
        release.wait(30)
        done.set()
        return Principal("edge-1")

    try:
        answer = await ask(
            AccessControl(auth=authenticate), options=Options(timeouts=Timeouts(handshake=0.05))
        )
        assert answer.status == 503
    finally:
        release.set()
    assert await trio.to_thread.run_sync(done.wait, 10)


# --- origins ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("origins", "origin", "host", "allowed"),
    [
        (None, None, "hub", True),
        (None, "http://hub", "hub", True),
        (None, "https://hub", "hub", True),
        (None, "http://HUB", "hub", True),
        (None, "http://hub:80", "hub", True),
        (None, "https://hub", "hub:443", True),
        (None, "http://hub", "hub:443", False),
        (None, "http://hub:8000", "hub:8000", True),
        (None, "http://hub:8000", "hub", False),
        (None, "http://hub", "hub:8000", False),
        (None, "http://[::1]:8000", "[::1]:8000", True),
        (None, "http://[::1]", "[::2]", False),
        (None, "http://evil.example", "hub", False),
        (None, "http://hub.evil.example", "hub", False),
        (None, "http://hub@evil", "hub", False),
        (None, "http://evil#hub", "hub", False),
        (None, "http://hub/", "hub", False),
        (None, "ftp://hub", "hub", False),
        (None, "hub", "hub", False),
        (None, "null", "null", False),
        (None, "", "hub", False),
        ("*", "http://evil.example", "hub", True),
        ("*", "null", "hub", True),
        ((), "http://hub", "hub", False),
        ((), None, "hub", True),
        (["https://ui.example"], "https://ui.example", "hub", True),
        (["https://UI.example"], "https://ui.EXAMPLE", "hub", True),
        ("https://ui.example", "https://ui.example", "hub", True),
        (["https://ui.example"], "http://ui.example", "hub", False),
        (["https://ui.example"], "https://ui.example:444", "hub", False),
        (["https://ui.example"], "https://hub", "hub", False),
        (["null"], "null", "hub", True),
    ],
)
async def test_origins(
    origins: Any,
    origin: str | None,
    host: str,
    allowed: bool,
    autojump_clock: trio.testing.MockClock,
) -> None:
    headers = [] if origin is None else [(b"Origin", origin.encode())]
    answer = await ask(AccessControl(origins=origins), headers, host=host)
    assert answer.status == (101 if allowed else 403)


async def test_several_origins(autojump_clock: trio.testing.MockClock) -> None:
    headers = [(b"Origin", b"http://hub"), (b"Origin", b"http://hub")]
    assert (await ask(AccessControl(), headers)).status == 403


async def test_an_origin_is_refused_before_credentials_are_looked_at(
    autojump_clock: trio.testing.MockClock,
) -> None:
    async def authenticate(upgrade: Upgrade) -> Principal | None:
        raise AssertionError("asked")

    answer = await ask(AccessControl(auth=authenticate), [(b"Origin", b"http://evil"), *BEARER])
    assert answer.status == 403


@given(st.text(st.characters(min_codepoint=0x21, max_codepoint=0x7E)), st.sampled_from(["", ":8"]))
def test_the_same_origin_is_no_wider_than_it_should_be(text: str, port: str) -> None:
    from restsock.connection._access_control import _is_same

    origin = f"http://{text}"
    if _is_same(origin, f"hub{port}"):
        assert text.lower() in ({"hub", "hub:", "hub:80"} if not port else {"hub:8"})


@pytest.mark.parametrize(
    ("origins", "error"),
    [
        ("ui.example", ValueError),
        (["https://ui.example/"], ValueError),
        (["https://ui.example", 1], TypeError),
        (["https://"], ValueError),
    ],
)
def test_what_is_no_origin(origins: Any, error: type[Exception]) -> None:
    with pytest.raises(error):
        AccessControl(origins=origins)


@pytest.mark.parametrize(
    ("auth", "what"),
    [
        ({SECRET: "edge-1"}, "not dict"),
        ("Bearer", "not str"),
        (BearerTokens, "not the class BearerTokens"),
        (Bearer(SECRET), r"not Bearer; that is what a dialer shows: connect\(auth=...\)"),
        (Basic("edge-1", SECRET), "not Basic; that is what a dialer shows"),
    ],
)
@pytest.mark.parametrize("listens", [listen, restsock.sync.listen])
def test_what_is_no_authenticator(auth: Any, what: str, listens: Any) -> None:
    words = r"^auth= takes BearerTokens\(\{\.\.\.\}\), .* a function that gets an Upgrade, "
    with pytest.raises(TypeError, match=words + what) as caught:
        listens("127.0.0.1", 0, auth=auth)
    assert SECRET not in str(caught.value)


# --- names --------------------------------------------------------------------------------


def as_principal(principal: Principal) -> AccessControl:
    async def authenticate(upgrade: Upgrade) -> Principal | None:
        return principal

    return AccessControl(auth=authenticate, name="hub")


@pytest.mark.parametrize(
    ("principal", "name", "allowed"),
    [
        (Principal("edge-1"), "edge-1", True),
        (Principal("edge-1"), None, True),
        (Principal("edge-1"), "edge-2", False),
        (Principal("site", may_register=["ulm-*"]), "ulm-7", True),
        (Principal("site", may_register=["ulm-*"]), "site", False),
        (Principal("caller", may_register=()), "caller", False),
        (Principal("caller", may_register=()), None, True),
    ],
)
async def test_names(
    principal: Principal, name: str | None, allowed: bool, autojump_clock: trio.testing.MockClock
) -> None:
    access_control = as_principal(principal)
    if allowed:
        async with met(access_control, name=name) as (_, listener):
            assert listener.name == name
            assert listener.principal is principal
        return
    with pytest.raises(NotMetError) as caught:
        async with met(access_control, name=name):
            pytest.fail("met")
    errors = caught.value.args
    assert [error.retryable for error in errors] == [False, False]
    assert sum("4005" in str(error) for error in errors) == 1


def test_without_a_principal_any_name_will_do() -> None:
    AccessControl().check_name("anything", None)
    with pytest.raises(RemoteProtocolError) as caught:
        AccessControl().check_name("edge-2", Principal("edge-1"))
    assert caught.value.close_code == 4005


# --- each request -------------------------------------------------------------------------


async def test_a_request_that_is_not_allowed_never_reaches_the_app(
    autojump_clock: trio.testing.MockClock, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    app = Echo("hub")
    access_control = as_principal(Principal("edge-1", may_call=["other-*"]))
    async with met(access_control, app=app) as (dialer, listener):
        for body in (b"", b"x" * 1_000_000):
            response = await dialer.request("POST", "/pets?token=s3cr3t", body=body)
            assert response.status == 403
            assert response.text == "edge-1 may not call hub.\n"
        head = await dialer.request("HEAD", "/")
        assert (head.status, head.content) == (403, b"")
        assert app.seen == []
        # The other direction is not the listener's to check, and goes on.
        assert (await listener.request("GET", "/")).text == "edge: GET /"
    assert "may not call 'hub'" in caplog.text
    assert "s3cr3t" not in caplog.text


@pytest.mark.parametrize("may_call", [["hub"], ["h*"], ["*"]])
async def test_a_request_that_is_allowed(
    may_call: list[str], autojump_clock: trio.testing.MockClock
) -> None:
    access_control = as_principal(Principal("edge-1", may_call=may_call))
    async with met(access_control) as (dialer, _):
        assert (await dialer.request("GET", "/")).status == 200


async def test_a_request_with_credentials_that_were_withdrawn(
    autojump_clock: trio.testing.MockClock,
) -> None:
    app = Echo("hub")
    tokens = BearerTokens({SECRET: "edge-1"})
    async with met(AccessControl(auth=tokens), headers=BEARER, app=app) as (dialer, listener):
        assert (await dialer.request("GET", "/1")).status == 200
        tokens._fill(iter(()))
        with pytest.raises(StreamRefused):  # so it may be repeated
            await dialer.request("GET", "/2")
        closed = await dialer.wait_closed()
        assert (closed.code, closed.by_peer, closed.clean) == (4005, True, False)
        await listener.wait_closed()
    assert app.seen == ["/1"]


# --- certificates -------------------------------------------------------------------------


def certified(*common_names: str, san: tuple[tuple[str, str], ...] = ()) -> Upgrade:
    subject = tuple((("commonName", name),) for name in common_names)
    certificate = {"subject": ((("countryName", "DE"),), *subject), "subjectAltName": san}
    return Upgrade("/", (), "127.0.0.1", 1, certificate, b"der")


def test_a_subject_is_a_principal() -> None:
    found = CertificateSubject()(certified("edge-1"))
    assert found.name == "edge-1"
    assert found.registers("edge-1")
    assert not found.registers("edge-2")
    assert len(found.claims["certificate_sha256"]) == 64


def test_subjects_that_are_listed() -> None:
    authenticate = CertificateSubject(
        {"edge-1.example": Principal("edge-1", may_call=()), "ops@example": "ops"}
    )
    found = authenticate(certified("edge-1.example"))
    assert (found.name, found.may_call) == ("edge-1", ())
    assert authenticate(certified("ops@example")).name == "ops"
    with pytest.raises(Refused) as caught:
        authenticate(certified("edge-2.example"))
    assert caught.value.status == 403


@pytest.mark.parametrize(
    ("field", "value"), [("DNS", "edge-1.example"), ("URI", "spiffe://x/edge"), ("email", "a@b")]
)
def test_alternative_names(field: str, value: str) -> None:
    upgrade = certified("somebody", san=((field, value), ("IP Address", "10.0.0.1")))
    assert CertificateSubject(field=field)(upgrade).name == value


@pytest.mark.parametrize(
    "upgrade",
    [
        Upgrade("/", BEARER, "127.0.0.1", 1),
        certified(),
        certified("a", "b"),
        certified("a\nb"),
        certified(""),
        certified("a", "x\ny"),
    ],
)
def test_certificates_that_are_nobodys(upgrade: Upgrade) -> None:
    with pytest.raises(Refused) as caught:
        CertificateSubject()(upgrade)
    assert caught.value.status == 403
