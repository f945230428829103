"""Foreign peers of Node.js, at either end: the package `ws`, and `wscat`, to type at.

npm installs both into a temporary folder; where it cannot, these tests are skipped.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import trio

from restsock import Backoff
from restsock.auth import BearerTokens
from restsock.messaging import Messaging, MessagingOptions, Raw, Semstreams
from tests.messaging.dialects.peers import QUICK, Kept, data, served
from tests.ports import free_port
from tests.waiting import until
from tests.websockets.site import PATIENCE, url_of

_PACKAGES = ("ws@8", "wscat@6")
_INSTALL = ("install", "--ignore-scripts", "--no-package-lock", "--no-audit", "--no-fund")
_PATIENCE = 25  # seconds for npm, which waits for ever where it has no way out

SOON = MessagingOptions(ack_timeout=20, redelivery=Backoff(initial=0.02, cap=0.05))


@pytest.fixture(scope="module")
def modules(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder with the packages."""
    npm = shutil.which("npm")
    if npm is None or shutil.which("node") is None:
        pytest.skip("Node.js and npm are not installed")
    folder = tmp_path_factory.mktemp("npm")
    command = [npm, *_INSTALL, "--prefix", str(folder), *_PACKAGES]
    try:
        subprocess.run(command, check=True, capture_output=True, timeout=_PATIENCE)
    except subprocess.TimeoutExpired:
        pytest.skip(f"npm install took more than {_PATIENCE} s")
    except subprocess.CalledProcessError as error:
        lines = error.stderr.decode(errors="replace").strip().splitlines()
        pytest.skip(f"npm install failed: {lines[0] if lines else error.returncode}")
    return folder / "node_modules"


class Program:
    """A program that runs: what it writes, line by line, and what it reads."""

    def __init__(self, process: trio.Process) -> None:
        self._process = process
        self._read = b""

    async def line(self) -> str:
        """The next line."""
        assert self._process.stdout is not None
        with trio.fail_after(PATIENCE):
            while True:
                line, newline, rest = self._read.partition(b"\n")
                if newline:
                    self._read = rest
                    return line.decode().strip("\r> ")  # a prompt may be before it
                data = await self._process.stdout.receive_some()
                assert data, "it has ended"
                self._read += data

    async def say(self, text: str) -> None:
        assert self._process.stdin is not None
        await self._process.stdin.send_all(text.encode() + b"\n")


@asynccontextmanager
async def running(modules: Path, command: Sequence[str]) -> AsyncIterator[Program]:
    """A program, until the end of the block."""
    run = partial(
        trio.run_process,
        command,
        check=False,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        env={**os.environ, "NODE_PATH": str(modules)},
    )
    async with trio.open_nursery() as nursery:
        process = await nursery.start(run)
        try:
            yield Program(process)
        finally:
            process.kill()


def wscat(modules: Path, *arguments: str) -> list[str]:
    return ["node", str(modules / "wscat" / "bin" / "wscat"), "--no-color", *arguments]


async def test_wscat_sends_to_an_endpoint_and_sees_its_ack(modules: Path) -> None:
    messaging = Messaging()
    kept = Kept(messaging, "data")
    auth = BearerTokens({"s3cret": "wscat"})
    endpoint = messaging.endpoint(Semstreams(), auth=auth)
    async with served(messaging, endpoint) as server:
        shown = ("-H", "Authorization: Bearer s3cret", "-x", json.dumps(data({"t": "grüß"})))
        command = wscat(modules, "-c", url_of(server), *shown, "-w", "-1")
        async with running(modules, command) as program:
            ack = json.loads(await program.line())
            assert await kept.wait(1) == [{"t": "grüß"}]
            assert (ack["type"], ack["id"]) == ("ack", kept.messages[0].id)
            [session] = messaging.sessions
            await session.send("data", {"back": 1})
            assert json.loads(await program.line())["payload"] == {"back": 1}
        await until(lambda: not messaging.sessions)


async def test_wscat_without_the_token_is_told_401(modules: Path) -> None:
    messaging = Messaging()
    endpoint = messaging.endpoint(Raw(), auth=BearerTokens({"s3cret": "wscat"}))
    async with served(messaging, endpoint) as server:
        command = wscat(modules, "-c", url_of(server), "-x", "hi")
        async with running(modules, command) as program:
            assert await program.line() == "error: Unexpected server response: 401"
        assert messaging.statistics().errors == {"auth_failed": 1}


async def test_wscat_listens_and_what_is_typed_there_comes(modules: Path) -> None:
    messaging = Messaging()
    kept = Kept(messaging, "messages")
    port = free_port()
    command = wscat(modules, "--listen", str(port), "--host", "127.0.0.1")
    async with running(modules, command) as program, messaging, trio.open_nursery() as nursery:
        url = f"ws://127.0.0.1:{port}/"
        await nursery.start(partial(messaging.dial, url, Raw(), reconnect=QUICK))
        await messaging.channel("any").send("from here")
        assert await program.line() == "from here"
        await program.say("from there")
        assert await kept.wait(1) == ["from there"]
        nursery.cancel_scope.cancel()


_CLIENT = """
const {WebSocket} = require("ws");
const socket = new WebSocket(process.argv[1], ["v2", "v1"]);
const say = (...words) => console.log(JSON.stringify(words));
socket.on("open", () => {
  say("open", socket.protocol, Object.keys(socket._extensions));
  socket.ping("12345");
});
socket.on("pong", (payload) => {
  say("pong", payload.toString());
  for (let n = 0; n < 20; n++) {
    const payload = {n, pad: "x".repeat(5000)};
    socket.send(JSON.stringify({type: "data", id: "msg-1-" + n, payload}));
  }
});
const acks = [];
socket.on("message", (text, binary) => {
  acks.push(JSON.parse(text));
  if (acks.length === 20) {
    say("acks", binary, acks.map(({type, id}) => [type, id]));
    socket.close(4001, "bye");
  }
});
socket.on("close", (code, reason) => say("close", code, reason.toString()));
"""


async def test_a_client_of_ws_is_acknowledged_also_with_compression(modules: Path) -> None:
    messaging = Messaging(options=MessagingOptions(queue_full="block"))
    kept = Kept(messaging, "data")
    endpoint = messaging.endpoint(Semstreams(), subprotocols=["v1"], compression=True)
    async with served(messaging, endpoint) as server:
        async with running(modules, ["node", "-e", _CLIENT, url_of(server)]) as program:
            assert json.loads(await program.line()) == ["open", "v1", ["permessage-deflate"]]
            assert json.loads(await program.line()) == ["pong", "12345"]
            acks = [["ack", f"msg-1-{number}"] for number in range(20)]
            assert json.loads(await program.line()) == ["acks", False, acks]
            assert json.loads(await program.line()) == ["close", 4001, ""]
    assert [body["n"] for body in kept.bodies] == [*range(20)]


# One connection in two is cut before it has acknowledged what it got.
_SERVER = """
const {WebSocketServer} = require("ws");
const server = new WebSocketServer({host: "127.0.0.1", port: 0, perMessageDeflate: true});
const say = (...words) => console.log(JSON.stringify(words));
let connections = 0, nacks = 0;
server.on("listening", () => say(server.address().port));
server.on("connection", (socket) => {
  const number = ++connections;
  let count = 0;
  socket.on("message", (text) => {
    const {type, id, payload} = JSON.parse(text);
    if (type !== "data") { return; }
    count += 1;
    if (number % 2 && count === 4) { socket.terminate(); return; }
    if (number % 2 === 0 && nacks++ === 0) {
      socket.send(JSON.stringify({type: "nack", id, payload: {reason: "publish_failed"}}));
      return;
    }
    say("handled", id, payload.n, payload.pad.length);
    socket.send(JSON.stringify({type: "ack", id}));
    if (number % 2 === 0 && count === 12) { socket.close(1012); }
  });
});
"""


async def test_a_server_of_ws_gets_all_though_it_cuts_and_refuses(modules: Path) -> None:
    messaging = Messaging(options=SOON)
    channel = messaging.channel("readings", delivery="at_least_once")
    async with running(modules, ["node", "-e", _SERVER]) as program:
        [port] = json.loads(await program.line())
        async with messaging, trio.open_nursery() as nursery:
            url = f"ws://127.0.0.1:{port}/"
            dial = partial(messaging.dial, url, Semstreams(), reconnect=QUICK, compression=True)
            await nursery.start(dial)
            for number in range(40):
                await channel.send({"n": number, "pad": "ü" * 2000})
            with trio.fail_after(PATIENCE):
                await channel.drain()
            statistics = messaging.statistics()
            nursery.cancel_scope.cancel()
        handled: dict[int, set[Any]] = {}
        while handled.keys() != {*range(40)}:
            _, id, number, pad = json.loads(await program.line())
            assert pad == 2000
            handled.setdefault(number, set()).add(id)
    assert all(len(ids) == 1 for ids in handled.values())  # known by its id, however often
    assert messaging.dead_letters == []
    assert statistics.messages_acknowledged == {"readings": 40}
    assert statistics.nacks_received == 1
    assert statistics.reconnect_attempts >= 2
