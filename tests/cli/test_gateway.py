"""`restsock gateway`: channels alone, from a file."""

from __future__ import annotations

import json
import signal
import sys
from pathlib import Path
from typing import Any

import pytest
import websockets.sync.client

from .command import Run

ROUTES = (
    '[[channel]]\npath = "/ws"\n[channel.routes]\ndefault = {{ app = "pets:app", path = "{}" }}\n'
)
APP = """
import restsock

async def app(request):
    return restsock.Response(200, [("Content-Type", "text/plain")], request.target)
"""


def ask(socket: Any) -> Any:
    socket.send('{"action": "x", "id": 1}')
    return json.loads(socket.recv(timeout=20))


@pytest.mark.skipif(sys.platform == "win32", reason="there is no SIGHUP")
@pytest.mark.covers("gateway --config", "gateway --listen", "gateway --json")
def test_it_serves_reloads_and_ends(tmp_path: Path, start: Any) -> None:
    (tmp_path / "pets.py").write_text(APP)
    file = tmp_path / "gateway.toml"
    file.write_text(ROUTES.format("/first"))
    process = start("gateway", "-c", str(file), "--listen", "127.0.0.1:0", "--json")
    told = json.loads(process.out.next())
    assert (told["event"], told["admin"]) == ("listening", "")
    (url,) = told["channels"]
    with websockets.sync.client.connect(url, proxy=None) as socket:
        assert ask(socket)["body"] == "/first"
        file.write_text(ROUTES.format("/second"))
        process.signal(signal.SIGHUP)
        process.err.until("a new configuration is in use")
        assert ask(socket)["body"] == "/second"
        file.write_text("nonsense")
        process.signal(signal.SIGHUP)
        process.err.until("the configuration stays as it is")
        assert ask(socket)["body"] == "/second"
        process.signal(signal.SIGTERM)
        with pytest.raises(websockets.exceptions.ConnectionClosed) as caught:
            socket.recv(timeout=20)
        assert caught.value.rcvd is not None
        assert caught.value.rcvd.code == 1012
    assert process.wait() == 0


def test_the_urls_are_the_lines_on_stdout(tmp_path: Path, start: Any) -> None:
    (tmp_path / "pets.py").write_text(APP)
    file = tmp_path / "gateway.toml"
    file.write_text('[hub]\nlisten = "127.0.0.1:0"\n' + ROUTES.format("/"))
    process = start("gateway", "-c", str(file))
    url = process.out.next().strip()
    assert url.startswith("ws://127.0.0.1:")
    assert url.endswith("/ws")


@pytest.mark.covers("gateway check --json")
def test_check(tmp_path: Path, run: Run) -> None:
    (tmp_path / "pets.py").write_text(APP)
    file = tmp_path / "gateway.toml"
    file.write_text(ROUTES.format("/"))
    done = run("gateway", "check", str(file))
    assert (done.code, done.out) == (0, "")
    assert "a gateway can use this" in done.err
    done = run("gateway", "check", str(file), "--json")
    assert json.loads(done.out)["channel"][0]["path"] == "/ws"
    assert not json.loads(done.out)["peers"]["enabled"]
    file.write_text(ROUTES.format("/").replace("path =", "patth =", 1))
    done = run("gateway", "check", str(file))
    assert done.code == 1
    assert "channel[0].patth: there is no such key; did you mean 'path'" in done.err
    assert "restsock gateway check" in done.err
    assert run("gateway").code == 2
