"""`restsock hub`, and the verbs that use its admin API."""

from __future__ import annotations

import hashlib
import json
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import requests
import trustme

import restsock.sync
from restsock.auth import Bearer
from restsock.cli.demo import app

from .command import Process, Run, environment

Start = Callable[..., Process]


class Running:
    """A hub in a process of its own, with a file and tokens."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.file = folder / "hub.toml"
        self.tokens = folder / "tokens.json"
        self.file.write_text(f'[hub]\nstate = "{folder}/state"\n[peers]\ntokens = "tokens.json"\n')
        self.tokens.write_text(json.dumps({"t" * 32: "demo"}))
        args = ("--listen", "127.0.0.1:0", "--admin", "127.0.0.1:0", "--json")
        self.process = Process("hub", "-c", str(self.file), *args)
        self.used = self.process.used
        told = json.loads(self.process.out.next())
        assert told.pop("event") == "listening"
        self.peers, self.ingress, self.admin = told["peers"], told["ingress"], told["admin"]
        self.admin_token = folder / "state" / "admin-token"


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    found = Running(tmp_path_factory.mktemp("hub"))
    try:
        yield found
    finally:
        found.process.close()


@pytest.fixture
def demo(running: Running) -> Iterator[restsock.sync.Client]:
    with restsock.sync.connect(
        running.peers, app=app, name="demo", auth=Bearer("t" * 32)
    ) as client:
        # Once it is answered here, the hub knows the peer.
        requests.get(running.ingress, headers={"Restsock-Peer": "demo"})
        yield client


@pytest.fixture
def ask(run: Run, running: Running) -> Run:
    """Runs a verb with the admin API of the hub."""

    def ask_it(*args: str) -> Any:
        return run(*args, "--admin", running.admin, "--token-file", str(running.admin_token))

    return ask_it


def objects(ask: Run, *args: str) -> Any:
    done = ask(*args, "--json")
    assert done.code == 0
    return json.loads(done.out)


def objects_of(lines: str) -> list[Any]:
    return [json.loads(line) for line in lines.splitlines()]


# --- the admin API --------------------------------------------------------------------------------


@pytest.mark.covers("ls --json")
def test_ls(ask: Run, demo: object, running: Running) -> None:
    done = ask("ls")
    heading, line = done.out.splitlines()
    assert heading.split()[:4] == ["NAME", "ID", "STATE", "AGE"]
    assert line.startswith("demo  ")
    assert "http://demo.localhost:" in line
    [peer] = objects(ask, "ls", "de*")
    assert peer["principal"] == "demo"
    assert "no peer 'other' is connected\n" in ask("ls", "other").err
    assert objects(ask, "ls", "other") == []


@pytest.mark.covers("ls --filter")
def test_ls_shows_what_a_filter_lets_through(ask: Run, demo: object) -> None:
    [peer] = objects(ask, "ls", "--filter", "state:open name:d*", "--filter", "in_flight:<1")
    assert peer["name"] == "demo"
    assert objects(ask, "ls", "--filter", "!name:demo") == []
    assert "no peer is connected that --filter lets" in ask("ls", "--filter", "age:>9e9").err
    wrong = ask("ls", "--filter", "nam:x")
    assert (wrong.code, "did you mean 'name'?" in wrong.err) == (2, True)


@pytest.mark.covers("ls --watch")
def test_ls_again_and_again(running: Running, demo: object, start: Start) -> None:
    where = ("--admin", running.admin, "--token-file", str(running.admin_token))
    watching = start("ls", "--watch", "--interval", "0.1", "--json", *where)
    for _ in range(2):
        assert [peer["name"] for peer in json.loads(watching.out.next())] == ["demo"]
    watching.signal(signal.SIGINT)
    assert watching.wait() == 130
    in_words = start("ls", "--watch", "--interval", "0.1", *where)
    for _ in range(2):
        in_words.out.until("NAME  ID")
        assert in_words.out.next().startswith("demo  ")


@pytest.mark.covers("top --filter", "top --json")
def test_top(ask: Run, demo: object) -> None:
    [row] = objects(ask, "top", "--interval", "0.1")
    assert (row["name"], row["rate"]) == ("demo", 0.0)
    assert ask("top", "--interval", "0.1").out.startswith("NAME  REQ/S")
    assert objects(ask, "top", "--interval", "0.1", "--filter", "rate:>0") == []


@pytest.mark.parametrize(
    "verb",
    [
        pytest.param(("ls", "--watch"), marks=pytest.mark.covers("ls --interval")),
        pytest.param(("top",), marks=pytest.mark.covers("top --interval")),
    ],
)
def test_how_long_until_the_next_look(
    ask: Run, monkeypatch: pytest.MonkeyPatch, verb: tuple[str, ...]
) -> None:
    def stop(seconds: float) -> None:
        assert seconds == 7.5
        raise KeyboardInterrupt

    monkeypatch.setattr(time, "sleep", stop)
    assert ask(*verb, "--interval", "7.5").code == 130


@pytest.mark.covers("events --follow", "events --filter", "events --json")
def test_events(ask: Run, running: Running, start: Start) -> None:
    following = start(
        *("events", "-f", "--json", "--admin", running.admin),
        *("--token-file", str(running.admin_token)),
    )
    with restsock.sync.connect(running.peers, name="demo", auth=Bearer("t" * 32)):
        while json.loads(line := following.out.next())["type"] != "ConnectionReceived":
            pass
    assert json.loads(line)["name"] == "demo"
    while json.loads(following.out.next())["type"] != "ConnectionClosed":
        pass
    following.signal(signal.SIGINT)
    assert following.wait() == 130
    [lost] = objects_of(ask("events", "--filter", "type:*Closed name:demo", "--json").out)[:1]
    assert lost["type"] == "ConnectionClosed"
    assert ask("events", "--filter", "name:nobody").out == ""
    done = ask("events")
    assert "  connected  demo" in done.out
    assert "  closed     demo  " in done.out


@pytest.mark.covers("kick --reconnect", "kick --json")
def test_kick(ask: Run, demo: restsock.sync.Client) -> None:
    before = demo.connection
    assert before is not None
    assert objects(ask, "kick", "demo", "--reconnect")["ids"] == [before.id]
    before.wait_closed(timeout=10)
    again = demo.wait_connected(timeout=10)
    assert again is not None
    again.request("GET", "/")  # once it is answered, the hub knows the new connection
    assert "1 closed\n" in ask("kick", again.id).err
    closed = demo.wait_closed(timeout=10)
    assert closed is not None
    assert closed.code == 1000
    missing = ask("kick", "nobody")
    assert missing.code == 3
    assert "restsock: there is no peer 'nobody'; 'restsock ls' shows all\n" in missing.err


@pytest.mark.covers("drain --json")
def test_drain(ask: Run, demo: restsock.sync.Client) -> None:
    before = demo.connection
    assert before is not None
    assert objects(ask, "drain", "demo")["ids"] == [before.id]
    before.wait_closed(timeout=10)
    again = demo.wait_connected(timeout=10)
    assert again is not None
    assert again.id != before.id


@pytest.mark.covers("route --request", "route --json")
def test_route(ask: Run, demo: object, running: Running) -> None:
    port = running.ingress.rpartition(":")[2].strip("/")
    done = ask("route", f"http://demo.localhost:{port}/pets?x=1")
    assert done.code == 0
    assert "peer     demo\nby       the domain localhost\ntarget   /pets?x=1\n" in done.out
    found = objects(ask, "route", running.ingress, "Restsock-Peer:demo", "-X", "POST")
    assert found["name"] == "demo"
    nobody = ask("route", "http://www.example/")
    assert (nobody.code, nobody.out.split(":")[0]) == (3, "no peer")
    assert ask("route", "http://x/", "a=1").code == 2


@pytest.mark.covers(
    "token new --kind", "token new --register", "token new --call", "token ls --kind"
)
def test_tokens(ask: Run, running: Running) -> None:
    done = ask("token", "new", "edge-1", "--register", "edge-*", "--call", "demo")
    assert done.code == 0
    token = done.out.strip()
    assert token not in running.tokens.read_text()
    [found] = [one for one in objects(ask, "token", "ls", "--kind", "peer") if one["created"]]
    assert (found["may_register"], found["may_call"]) == (["edge-*"], ["demo"])
    # The hub looks at its file once a second.
    patient = restsock.Backoff(initial=0.05, cap=0.2, give_up="never")
    with restsock.sync.connect(
        running.peers, name="edge-7", auth=Bearer(token), backoff=patient
    ) as client:
        connection = client.connection
        assert connection is not None
        assert ask("token", "revoke", found["id"]).code == 0
        assert connection.wait_closed(timeout=20) is not None
    assert ask("token", "revoke", found["id"]).code == 3
    assert "MAY CALL" in ask("token", "ls").out
    refused = ask("token", "new", "x", "--kind", "admin", "--scope", "read")
    assert refused.code == 1
    assert "the admin API answers 409: There is no file for these tokens" in refused.err


@pytest.mark.covers("hub --config", "hub --json", "reload --json")
def test_reload(ask: Run, running: Running) -> None:
    before = running.file.read_text()
    assert objects(ask, "reload") == {"restart_needed": []}
    running.file.write_text(before.replace("[peers]", 'name = "other"\n[peers]'))
    done = ask("reload")
    assert (done.code, done.out) == (0, "hub.name\n")
    running.file.write_text(before + "[ingres]\n")
    wrong = ask("reload")
    assert wrong.code == 1
    assert "did you mean 'ingress'" in wrong.err
    running.file.write_text(before)
    running.process.signal(signal.SIGHUP)
    running.process.err.until("a new configuration is in use")


@pytest.mark.covers("--admin", "hub --admin")
def test_who_may_ask(run: Run, running: Running, monkeypatch: pytest.MonkeyPatch) -> None:
    wrong = run("ls", "--admin", running.admin, "--token", "x" * 32)
    assert wrong.code == 4
    assert "give the token of an administrator" in wrong.err
    monkeypatch.setenv("XDG_STATE_HOME", str(running.folder / "nowhere"))
    assert run("ls", "--admin", running.admin).code == 4
    monkeypatch.setenv("STATE_DIRECTORY", str(running.folder / "state"))
    monkeypatch.setenv("RESTSOCK_ADMIN", running.admin)
    assert run("ls").code == 0


def test_the_admin_api_is_not_there(run: Run) -> None:
    done = run("ls", "--admin", "http://127.0.0.1:1", "--token", "x" * 32)
    assert done.code == 1
    assert "cannot reach the admin API at http://127.0.0.1:1: Connection refused" in done.err
    assert "is 'restsock hub' running?" in done.err
    assert run("ls", "--admin", "ftp://x").code == 2


def test_ready(run: Run, running: Running) -> None:
    assert run("doctor", "--ready", "--admin", running.admin).code == 0


def test_completion_of_names(running: Running, demo: object) -> None:
    def complete(admin: str) -> str:
        done = subprocess.run(
            [sys.executable, "-m", "restsock"],
            env=environment(
                {
                    "_RESTSOCK_COMPLETE": "bash_complete",
                    "COMP_WORDS": "restsock call de",
                    "COMP_CWORD": "2",
                    "RESTSOCK_ADMIN": admin,
                    "STATE_DIRECTORY": str(running.folder / "state"),
                }
            ),
            capture_output=True,
            text=True,
            check=True,
        )
        return done.stdout

    assert complete(running.admin) == "plain,demo\n"
    assert complete("http://127.0.0.1:1").strip() == ""


# --- files of tokens, without a hub ---------------------------------------------------------------


@pytest.mark.covers(
    "token new --file",
    "token new --json",
    "token new --scope",
    "token ls --file",
    "token ls --json",
    "token revoke --file",
    "token revoke --json",
)
def test_tokens_in_a_file(run: Run, tmp_path: Path) -> None:
    file = str(tmp_path / "tokens.json")
    new = run("token", "new", "edge-1", "--scope", "read", "--file", file, "--json")
    made = json.loads(new.out)
    listed = json.loads(run("token", "ls", "--file", file, "--json").out)
    assert [one["id"] for one in listed] == [made["id"]]
    assert "token" not in listed[0]
    assert listed[0]["scopes"] == ["read"]
    revoked = run("token", "revoke", made["id"], "--file", file, "--json")
    assert json.loads(revoked.out) == {"event": "revoked", "id": made["id"]}
    assert run("token", "revoke", made["id"], "--file", file).code == 3
    (tmp_path / "tokens.json").write_text("nonsense")
    broken = run("token", "ls", "--file", file)
    assert (broken.code, broken.err.endswith("; check --file\n")) == (1, True)


@pytest.mark.covers("token hash --json")
def test_a_token_is_hashed(run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "token"
    path.write_text("from-the-file-1234\n")
    hashed = f"sha256:{hashlib.sha256(b'from-the-file-1234').hexdigest()}"
    assert run("token", "hash", str(path)).out == f"{hashed}\n"
    assert json.loads(run("token", "hash", str(path), "--json").out) == {"hash": hashed}
    tokens = tmp_path / "tokens.json"
    tokens.write_text(json.dumps({hashed: "edge-1"}))
    assert "edge-1" in run("token", "ls", "--file", str(tokens)).out
    for wrong in (hashed, "two words", ""):
        path.write_text(wrong)
        done = run("token", "hash", str(path))
        assert (done.code, done.out) == (1, "")
        assert done.err.startswith("restsock: this is no token: ")
    piped = subprocess.run(
        [sys.executable, "-m", "restsock", "token", "hash"],
        env=environment(),
        input="from-the-file-1234",
        capture_output=True,
        text=True,
        check=True,
    )
    assert piped.stdout == f"{hashed}\n"


# --- configuration --------------------------------------------------------------------------------


@pytest.mark.covers("check-config --json", "check-config --schema")
def test_check_config(run: Run, tmp_path: Path) -> None:
    file = tmp_path / "hub.toml"
    file.write_text('[peers]\nlisten = "127.0.0.1:0"\n')
    assert run("check-config", str(file)).err == f"{file}: a hub can use this\n"
    shown = json.loads(run("check-config", str(file), "--json").out)
    assert shown["peers"]["listen"] == "127.0.0.1:0"
    file.write_text('[peers]\nlissten = "127.0.0.1:0"\n')
    wrong = run("check-config", str(file))
    assert wrong.code == 1
    assert "lissten" in wrong.err
    assert "did you mean 'listen'?" in wrong.err
    missing = run("check-config", str(tmp_path / "nothing"))
    assert (missing.code, "No such file" in missing.err) == (1, True)
    assert "$schema" in json.loads(run("check-config", "--schema").out)
    assert run("check-config").code == 2


def test_a_hub_that_would_not_be_safe(run: Run) -> None:
    done = run("hub", "--listen", "0.0.0.0:0")
    assert done.code == 1
    assert "peers.tokens: everybody could dial in from anywhere" in done.err


@pytest.mark.covers("hub --public")
def test_a_hub_for_everybody(start: Start, tmp_path: Path) -> None:
    hub = start(
        # This machine, in a spelling that is not taken for it.
        *("hub", "--listen", "127.1:0", "--admin", "127.0.0.1:0", "--public", "--json"),
        XDG_STATE_HOME=str(tmp_path),
    )
    assert json.loads(hub.out.next())["peers"].startswith("ws://127.0.0.1:")


@pytest.mark.covers("log.format")
def test_the_log_is_as_the_file_says(start: Start, tmp_path: Path) -> None:
    file = tmp_path / "hub.toml"
    file.write_text('[peers]\nlisten = "127.0.0.1:0"\n[admin]\nlisten = "127.0.0.1:0"\n')
    with file.open("a") as out:
        out.write('[log]\nformat = "json"\n')
    hub = start("hub", "--config", str(file), XDG_STATE_HOME=str(tmp_path))
    assert json.loads(hub.err.until("listening on"))["logger"] == "restsock.server"


def test_a_port_in_use(run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        done = run("hub", "--listen", f"127.0.0.1:{port}", "--admin", "127.0.0.1:0")
    assert done.code == 1
    assert f"cannot listen on 127.0.0.1:{port}: Address already in use; stop the" in done.err


@pytest.mark.covers(
    "hub --listen",
    "hub --ingress",
    "hub --domain",
    "hub --tls-cert",
    "hub --tls-key",
    "hub --tokens",
    "hub --dev",
)
def test_all_options(start: Start, tmp_path: Path, ca: trustme.CA, ca_file: str) -> None:
    certificate = ca.issue_cert("hub.example", "localhost", "127.0.0.1", "::1")
    certificate.cert_chain_pems[0].write_to_path(str(tmp_path / "cert.pem"))
    certificate.private_key_pem.write_to_path(str(tmp_path / "key.pem"))
    (tmp_path / "tokens.json").write_text(json.dumps({"t" * 32: "edge-1"}))
    old = tmp_path / "restsock" / "admin-token"
    old.parent.mkdir(mode=0o700)
    old.write_text("of-the-run-before\n")
    old.chmod(0o600)
    hub = start(
        *("hub", "--listen", "127.0.0.1:0", "--ingress", "localhost:0", "--admin", "127.0.0.1:0"),
        *("--domain", "hub.example", "--tls-cert", "cert.pem", "--tls-key", "key.pem"),
        *("--tokens", "tokens.json", "--dev", "--log-format", "logfmt"),
        cwd=tmp_path,
        XDG_STATE_HOME=str(tmp_path),
    )
    url = hub.out.next()
    assert url.startswith("https://")
    peers = hub.err.until("peers at wss://").partition("peers at ")[2].partition(",")[0]
    assert peers.partition("://")[2] != url.partition("://")[2]
    assert old.read_text() != "of-the-run-before\n"  # --dev makes a new one
    with pytest.raises(restsock.HandshakeError, match="401"):
        restsock.sync.connect(peers, name="edge-1", tls=restsock.tls.client(ca=ca_file))
    with restsock.sync.connect(
        peers,
        app=app,
        name="edge-1",
        auth=Bearer("t" * 32),
        tls=restsock.tls.client(ca=ca_file),
    ):
        host = {"Host": "edge-1.hub.example"}
        assert requests.get(f"{url}pets", headers=host, verify=ca_file).json()
    hub.signal(signal.SIGINT)
    assert hub.wait() == 130
    assert hub.out.rest() == []
