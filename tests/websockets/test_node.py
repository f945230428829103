"""The WebSocket that browsers have, as Node has it: what a page would do, where there is a Node."""

from __future__ import annotations

import base64
import json
import shutil
import subprocess

import pytest
import trio

from restsock.auth import BearerTokens
from restsock.websockets import Endpoint
from tests.websockets.site import PATIENCE, echo, listening, url_of

_NODE = shutil.which("node")
_FLAG = "--experimental-websocket"


def _has_websocket() -> bool:
    if _NODE is None:
        return False
    probe = "process.exit(typeof WebSocket === 'function' ? 0 : 1)"
    done = subprocess.run([_NODE, _FLAG, "-e", probe], capture_output=True, timeout=60, check=False)
    return done.returncode == 0


pytestmark = pytest.mark.skipif(not _has_websocket(), reason="a Node with WebSocket")

_PAGE = """
const [url, protocols] = JSON.parse(process.argv[1]);
const socket = new WebSocket(url, protocols);
socket.binaryType = "arraybuffer";
const seen = [];
const messages = ["hi", "\\u00fc\\ud83d\\ude00", new Uint8Array([0, 255]), "x".repeat(100000)];
const next = () => messages.length ? socket.send(messages.shift()) : socket.close(4001, "bye");
socket.onopen = () => { seen.push(["open", socket.protocol, socket.extensions]); next(); };
socket.onmessage = (event) => {
  const data = event.data;
  seen.push(typeof data === "string" ? ["text", data.length] : ["bytes", data.byteLength]);
  next();
};
socket.onerror = () => seen.push(["error"]);
socket.onclose = (event) => seen.push(["close", event.code, event.wasClean]);
process.on("exit", () => console.log(JSON.stringify(seen)));
"""


async def page(url: str, protocols: list[str]) -> list[list[object]]:
    """What a page sees that opens a WebSocket and has four messages come back."""
    assert _NODE is not None
    command = [_NODE, "--no-warnings", _FLAG, "-e", _PAGE, json.dumps([url, protocols])]
    with trio.fail_after(PATIENCE):
        done = await trio.run_process(command, capture_stdout=True)
    found: list[list[object]] = json.loads(done.stdout)
    return found


@pytest.mark.parametrize("compression", [False, True])
async def test_messages_of_a_page(compression: bool) -> None:
    endpoint = Endpoint(echo, origins="*", subprotocols=["v1"], compression=compression)
    async with listening(endpoint) as server:
        seen = await page(url_of(server), ["v2", "v1"])
    (_, protocol, _), *rest = seen
    assert protocol == "v1"
    assert rest == [["text", 2], ["text", 3], ["bytes", 2], ["text", 100000], ["close", 4001, True]]


async def test_the_token_of_a_page() -> None:
    auth = BearerTokens({"s3cret": "page"})
    token = base64.urlsafe_b64encode(b"s3cret").decode().rstrip("=")
    async with listening(Endpoint(echo, auth=auth, origins="*", browser_token="bearer")) as server:
        seen = await page(url_of(server), ["bearer", f"bearer.{token}"])
        assert seen[0] == ["open", "bearer", ""]
        assert seen[-1] == ["close", 4001, True]
        refused = await page(url_of(server), ["bearer", "bearer.d3Jvbmc"])
        assert refused[0] == ["error"]
