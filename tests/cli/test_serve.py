"""`restsock serve`: apps as peers, and behind a port; apps that do not import."""

from __future__ import annotations

import json
import re
import signal
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import requests

from .command import Process, Run
from .conftest import TOKEN, Hub

Start = Callable[..., Process]

_APP = """
def app(environ, start_response):
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [b"version 1"]

def make():
    return app

def unclear(*args):
    return app(*args)

async def function(request):
    import restsock
    return restsock.Response(200, [], b"from a function")
"""

# Tells how many requests are served at the same time.
_COUNTING = """
import threading, time
lock, at_once = threading.Lock(), 0

def app(environ, start_response):
    global at_once
    with lock:
        at_once += 1
    time.sleep(0.02)
    told = str(at_once)
    with lock:
        at_once -= 1
    start_response("200 OK", [("Content-Length", str(len(told)))])
    return [told.encode()]
"""

_PETS = """
openapi: 3.1.0
info: {title: Pets, version: "1"}
paths:
  /pets:
    get:
      operationId: listPets
      parameters:
        - {name: limit, in: query, schema: {type: integer}}
      responses: {"200": {description: The pets.}}
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "main.py").write_text(_APP)
    (tmp_path / "broken.py").write_text("def f():\n    return missing_name\n\nf()\n")
    (tmp_path / "pets.yaml").write_text(_PETS)
    return tmp_path


@pytest.fixture
def _apart(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """What a test imports is imported anew by the next one."""
    monkeypatch.setattr(sys, "path", sys.path[:])
    yield
    for name in ("main", "broken"):
        sys.modules.pop(name, None)


@pytest.mark.covers("serve --name")
def test_a_wsgi_app_as_a_peer(start: Start, hub: Hub, folder: Path, run: Run) -> None:
    served = start("serve", "main:app", "--name", "wsgi-1", "--hub", hub.url, cwd=folder)
    port = hub.url.rpartition(":")[2].strip("/")
    assert served.out.next() == f"http://wsgi-1.localhost:{port}/"
    assert run("call", "wsgi-1", "/", "--hub", hub.url).out == "version 1"
    answer = requests.get(hub.url.replace("ws", "http"), headers={"Host": "wsgi-1.localhost"})
    assert answer.text == "version 1"


@pytest.mark.covers("serve --factory", "serve --app-dir", "serve --meta", "serve --json")
def test_settings_of_an_app(start: Start, hub: Hub, folder: Path, run: Run) -> None:
    served = start(
        *("serve", "main:make", "--factory", "--app-dir", str(folder), "--interface", "wsgi"),
        *("--name", "made", "--meta", "site=ulm", "--meta", "x=", "--json"),
        RESTSOCK_HUB=hub.url,
    )
    event = json.loads(served.out.next())
    assert event["event"] == "connected"
    assert event["name"] == "made"
    assert run("call", "made", "/a?token=1", "--hub", hub.url).code == 0
    [peer] = hub.server.connections.by_metadata({"site": "ulm", "x": ""})
    assert peer.name == "made"
    event = json.loads(served.out.next())
    assert event.pop("seconds") >= 0
    assert event == {"event": "request", "method": "GET", "path": "/a", "status": 200}


@pytest.mark.covers("serve --workers")
def test_as_many_at_a_time_as_there_are_workers(start: Start, hub: Hub, folder: Path) -> None:
    (folder / "counting.py").write_text(_COUNTING)
    served = start(
        *("serve", "counting:app", "--workers", "1", "--name", "one", "--hub", hub.url), cwd=folder
    )
    served.out.next()

    def ask(number: int) -> str:
        return requests.get(hub.url.replace("ws", "http"), headers={"Host": "one.localhost"}).text

    with ThreadPoolExecutor(4) as threads:
        assert set(threads.map(ask, range(8))) == {"1"}


def test_a_function_has_a_name_by_default(start: Start, hub: Hub, folder: Path) -> None:
    served = start("serve", "main:function", "--hub", hub.url, "-v", cwd=folder)
    assert re.fullmatch(r"http://[a-z0-9-]+-main\.localhost:\d+/", served.out.next())


@pytest.mark.covers("serve --openapi")
def test_requests_are_held_to_a_document(start: Start, hub: Hub, folder: Path, run: Run) -> None:
    served = start(
        *("serve", "main:app", "--openapi", "pets.yaml", "--name", "checked", "--hub", hub.url),
        cwd=folder,
    )
    served.out.next()
    assert run("call", "checked", "/pets?limit=1", "--hub", hub.url).code == 0
    wrong = run("call", "checked", "/pets?limit=x", "--hub", hub.url)
    assert wrong.code == 1
    assert "limit" in wrong.out


@pytest.mark.covers("serve --listen")
def test_behind_a_port_of_its_own(start: Start, folder: Path, run: Run) -> None:
    served = start("serve", "main:app", "--listen", "0", cwd=folder)
    url = served.out.next()
    assert requests.get(url).text == "version 1"
    port = url.rpartition(":")[2].strip("/")
    taken = run("serve", "restsock.cli.demo:app", "--listen", port)
    assert taken.code == 1
    assert f"cannot listen on 127.0.0.1:{port}: Address already in use; stop" in taken.err


@pytest.mark.covers("serve --reload")
@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 0), (signal.SIGINT, 130)])
def test_it_starts_again_after_a_change(
    start: Start, hub: Hub, folder: Path, run: Run, number: signal.Signals, code: int
) -> None:
    served = start(
        *("serve", "main:app", "--reload", "--name", "changing", "--hub", hub.url), cwd=folder
    )
    served.out.next()
    assert run("call", "changing", "/", "--hub", hub.url).out == "version 1"
    (folder / "main.py").write_text(_APP.replace("version 1", "version two"))
    served.err.until("main.py has changed; starting again")
    served.out.next()
    assert run("call", "changing", "/", "--hub", hub.url).out == "version two"
    served.signal(number)
    assert served.wait() == code


# As the real one, which takes whatever a signal handler raises for a KeyboardInterrupt.
_WATCHFILES = """
import time

class PythonFilter: ...

def watch(folder, watch_filter):
    while True:
        try:
            time.sleep(60)
        except BaseException:
            raise KeyboardInterrupt
        yield {(1, "x.py")}
"""


@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 0), (signal.SIGINT, 130)])
def test_a_signal_ends_it_where_watchfiles_is_installed(
    start: Start, hub: Hub, folder: Path, number: signal.Signals, code: int
) -> None:
    (folder / "watchfiles.py").write_text(_WATCHFILES)
    served = start(
        *("serve", "main:app", "--reload", "--name", "watched", "--hub", hub.url), cwd=folder
    )
    served.out.next()
    served.signal(number)
    assert served.wait() == code
    assert hub.server.connections.by_name("watched") is None


@pytest.mark.parametrize(
    ("app", "code", "words"),
    [
        ("main", 2, "'main' is not MODULE:APP, such as main:app"),
        ("nowhere:app", 1, "there is no module 'nowhere' in"),
        ("main:ap", 1, "'main' has no 'ap'; did you mean 'app'?"),
        ("main:unclear", 1, "cannot tell what kind of app"),
        ("broken:app", 1, "'broken:app' cannot be imported: NameError; the lines above say where"),
    ],
)
@pytest.mark.usefixtures("_apart")
def test_an_app_that_cannot_be_served(
    folder: Path, run: Run, app: str, code: int, words: str
) -> None:
    done = run("serve", app, "--app-dir", str(folder))
    assert (done.code, done.out) == (code, "")
    assert words in done.err.splitlines()[-1]


@pytest.mark.covers("serve --interface")
def test_the_kind_of_an_app_can_be_told(start: Start, hub: Hub, folder: Path, run: Run) -> None:
    served = start(
        *("serve", "main:unclear", "--interface", "wsgi", "--name", "clear", "--hub", hub.url),
        cwd=folder,
    )
    served.out.next()
    assert run("call", "clear", "/", "--hub", hub.url).out == "version 1"


@pytest.mark.usefixtures("_apart")
def test_the_traceback_of_an_app_is_short(folder: Path, run: Run) -> None:
    lines = run("serve", "broken:app", "--app-dir", str(folder)).err
    assert lines.count("File") == 2
    assert f'File "{folder}/broken.py", line 4, in <module>' in lines
    assert "NameError: name 'missing_name' is not defined" in lines


@pytest.mark.covers("--token")
def test_a_token_on_the_command_line_is_warned_of(run: Run, guarded: Hub) -> None:
    done = run("serve", "restsock.cli.demo:app", "--hub", guarded.url, "--token", "x" * 16)
    assert done.code == 4
    assert "other users can see --token" in done.err
    assert "restsock: the hub does not accept this token: " in done.err
    assert "401" in done.err


@pytest.mark.covers("--token-file")
def test_a_token_of_a_file(start: Start, guarded: Hub, token_file: str) -> None:
    served = start(
        *("serve", "restsock.cli.demo:app", "--name", "edge-1"),
        *("--hub", guarded.url, "--token-file", token_file),
    )
    assert "edge-1.localhost" in served.out.next()


def test_a_name_that_the_token_may_not_have(start: Start, guarded: Hub) -> None:
    served = start(
        *("serve", "restsock.cli.demo:app", "--name", "edge-2", "--hub", guarded.url),
        RESTSOCK_TOKEN=TOKEN,
    )
    assert "choose another with --name" in served.err.until("restsock: the hub refuses this peer")
    assert served.wait() == 4


def test_wrong_use_is_told_in_a_line(run: Run, tmp_path: Path) -> None:
    app = "restsock.cli.demo:app"
    assert run("serve", app, "--name", "a b").code == 2
    assert run("serve", app, "--hub", "ftp://x").code == 2
    assert run("serve", app, "--meta", "x").code == 2
    assert run("serve", app, "--listen", "x").code == 2
    assert run("serve", app, "--token", "a", "--token-file", "b").code == 2
    missing = run("serve", app, "--token-file", str(tmp_path / "nothing"))
    assert missing.code == 1
    assert "check --token-file" in missing.err
    wrong = run("serve", app, "--hub", "wss://127.0.0.1:1", "--ca", str(tmp_path / "nothing"))
    assert wrong.code == 1
    assert "check --ca" in wrong.err
