"""`restsock call` and `restsock expose`: requests through the ingress of a hub."""

from __future__ import annotations

import json
import socket
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click
import pytest
import requests

import restsock.sync
from restsock.apps import make_handler
from restsock.cli._doors import null_app
from restsock.cli._expose import Exposed
from restsock.cli._items import read_items
from restsock.cli._messages import _file_name

from .command import Process, Run
from .conftest import TOKEN, Hub

Start = Callable[..., Process]

_DOCUMENT = """
openapi: 3.1.0
info: {title: Echo, version: "1"}
paths:
  /echo:
    get:
      operationId: look
      parameters:
        - {name: limit, in: query, schema: {type: integer}}
      responses: {"200": {description: What was sent.}}
    post:
      operationId: send
      requestBody:
        content: {application/json: {schema: {type: object}}}
      responses: {"200": {description: What was sent.}}
"""


def echoed(run: Run, hub: Hub, demo: str, *args: str) -> dict[str, Any]:
    done = run("call", demo, *args, "--hub", hub.url)
    assert (done.code, done.err) == (0, "")
    found: dict[str, Any] = json.loads(done.out)
    return found


def test_get(run: Run, hub: Hub, demo: str) -> None:
    echo = echoed(run, hub, demo, "/echo?a=1", "b==2 3", "X-Mine: yes")
    assert (echo["method"], echo["path"], echo["query"]) == ("GET", "/echo", "a=1&b=2+3")
    assert echo["fields"]["X_MINE"] == "yes"
    assert echo["body"] == ""
    assert "RESTSOCK_PEER" not in echo["fields"]


def test_a_field_is_sent_as_utf_8(run: Run, hub: Hub, demo: str) -> None:
    echo = echoed(run, hub, demo, "/echo", "X-Mine: Zoë ☃", "X-Mine: two")
    assert echo["fields"]["X_MINE"].encode("latin-1").decode() == "Zoë ☃, two"


@pytest.mark.parametrize("wrong", [("-X", "G T"), ("-X", "É"), ("X-É:1",), ("X Y:1",)])
def test_what_no_request_can_have(run: Run, hub: Hub, demo: str, wrong: tuple[str, ...]) -> None:
    done = run("call", demo, "/echo", *wrong, "--hub", hub.url)
    assert (done.code, done.out) == (2, "")
    assert "of HTTP" in done.err


def test_json_body(run: Run, hub: Hub, demo: str) -> None:
    echo = echoed(run, hub, demo, "echo", "name=Rex", "age:=3")
    assert echo["method"] == "POST"
    assert json.loads(echo["body"]) == {"name": "Rex", "age": 3}


@pytest.mark.covers("call --request", "call --data")
def test_body_from_file(run: Run, hub: Hub, demo: str, tmp_path: Path) -> None:
    path = tmp_path / "body"
    path.write_text("from a file")
    assert echoed(run, hub, demo, "/echo", f"@{path}")["body"] == "from a file"
    assert echoed(run, hub, demo, "/echo", "-d", f"@{path}", "-X", "put")["method"] == "PUT"
    assert echoed(run, hub, demo, "/echo", "-d", "text")["body"] == "text"


@pytest.mark.covers("call --include")
def test_head_of_the_response(run: Run, hub: Hub, demo: str) -> None:
    done = run("call", demo, "/pets", "-i", "--hub", hub.url)
    assert done.out.startswith("HTTP/1.1 200 OK\nContent-Type: application/json\n")
    assert done.out.endswith('\n\n["Rex", "Tom"]\n')


@pytest.mark.covers("call --json")
def test_as_json(run: Run, hub: Hub, demo: str) -> None:
    answer = json.loads(run("call", demo, "/nothing", "--json", "--hub", hub.url).out)
    assert (answer["status"], answer["body"]) == (404, "There is nothing here.\n")


@pytest.mark.covers("call --output-file")
def test_into_a_file(run: Run, hub: Hub, demo: str, tmp_path: Path) -> None:
    path = tmp_path / "pets.json"
    done = run("call", demo, "/pets", "-o", str(path), "--hub", hub.url)
    assert (done.code, done.out) == (0, "")
    assert path.read_text() == '["Rex", "Tom"]\n'
    assert done.err == f"15 bytes in {path}\n"


@pytest.mark.covers("call --download")
def test_download_overwrites_nothing(
    run: Run, hub: Hub, demo: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    for _ in range(2):
        assert run("call", demo, "/pets", "--download", "--hub", hub.url).code == 0
    assert {path.name for path in tmp_path.iterdir()} == {"pets", "pets-1"}


@pytest.mark.parametrize(
    ("disposition", "name"),
    [
        ('attachment; filename="report.pdf"', "report.pdf"),
        ('attachment; filename="../../etc/passwd"', "passwd"),
        ("attachment; filename=..\\..\\x.dll", "x.dll"),
        ('attachment; filename=".bashrc"', "bashrc"),
        ('attachment; filename=".."', "download"),
        ('attachment; filename="C:x.dll"', "x.dll"),
        ('attachment; filename="\x80\x81"', "download"),
        ("", "pets"),
    ],
)
def test_a_peer_does_not_choose_the_folder(
    disposition: str, name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    response = requests.Response()
    response.headers["Content-Disposition"] = disposition
    assert _file_name(response, "http://hub/pets?a=/b") == Path(name)


@pytest.mark.covers("call --stream")
def test_stream(run: Run, hub: Hub) -> None:
    def app(environ: Any, start_response: Any) -> Any:
        start_response("200 OK", [("Content-Type", "text/event-stream")])
        yield b"data: 1\n\n"
        yield b"data: 2\n\n"

    with restsock.sync.connect(hub.url, app=app, name="events"):
        done = run("call", "events", "/", "--stream", "--hub", hub.url)
        assert done.out == "data: 1\n\ndata: 2\n\n"


@pytest.mark.covers("call --repeat")
def test_repeat(run: Run, hub: Hub, demo: str) -> None:
    done = run("call", demo, "/pets", "--repeat", "3", "--hub", hub.url)
    assert done.out.startswith("3 requests, 0 failed  min ")
    done = run("call", demo, "/nothing", "--repeat", "2", "--json", "--hub", hub.url)
    assert done.code == 1
    assert json.loads(done.out)["failed"] == 2


@pytest.mark.covers("call --curl")
def test_curl(run: Run, hub: Hub, token_file: str) -> None:
    done = run(
        *(
            "call",
            "edge-1",
            "/a b",
            "x=1",
            "--curl",
            "--hub",
            "wss://hub.example",
            "--ca",
            "ca.pem",
        ),
        *("--token-file", token_file),
    )
    assert done.out == (
        "curl -X POST 'https://hub.example/a b' -H 'Restsock-Peer: edge-1'"
        " -H 'Content-Type: application/json' -H 'Accept: application/json, */*'"
        """ --data-binary '{"x": "1"}' --cacert ca.pem"""
        f' -H "Authorization: Bearer $(cat {token_file})"\n'
    )
    assert TOKEN not in done.out


@pytest.mark.covers("call --openapi")
def test_operations(run: Run, hub: Hub, demo: str, tmp_path: Path) -> None:
    path = tmp_path / "echo.yaml"
    path.write_text(_DOCUMENT)
    document = ("--openapi", str(path))
    assert echoed(run, hub, demo, "look", "limit=10", *document)["query"] == "limit=10"
    assert echoed(run, hub, demo, "send", "a=b", *document)["body"] == '{"a":"b"}'
    wrong = run("call", demo, "lok", "--openapi", str(path))
    assert wrong.code == 2
    assert "look" in wrong.err
    assert run("call", demo, "look", "limt=1", "--openapi", str(path)).code == 2
    assert run("call", demo, "look", "-X", "GET", "--openapi", str(path)).code == 2


# --- what goes wrong ------------------------------------------------------------------------------


def test_no_such_peer(run: Run, hub: Hub) -> None:
    done = run("call", "nobody", "/", "--hub", hub.url)
    assert (done.code, done.out) == (3, "")
    assert done.err.startswith("restsock: there is no peer 'nobody'; 'restsock ls' shows")


def test_a_peer_that_is_away(run: Run, hub: Hub) -> None:
    with restsock.sync.connect(hub.url, app=_fields, name="away"):
        assert run("call", "away", "/", "--hub", hub.url).code == 0
    assert run("call", "away", "/", "--hub", hub.url).code == 3


def test_a_404_of_the_peer_is_its_own(run: Run, hub: Hub, demo: str) -> None:
    done = run("call", demo, "/nothing", "--hub", hub.url)
    assert (done.code, done.out) == (1, "There is nothing here.\n")


def test_a_peer_that_is_named_by_its_field(run: Run, hub: Hub) -> None:
    assert run("call", "demo", "/", "restsock-peer:gone", "--hub", hub.url).code == 3


def test_tokens(run: Run, guarded: Hub, token_file: str, monkeypatch: pytest.MonkeyPatch) -> None:
    assert run("call", "edge-1", "/", "--hub", guarded.url).code == 4
    wrong = run("call", "edge-1", "/", "--hub", guarded.url, "--token", "y" * 16)
    assert wrong.code == 4
    assert "check --token-file or RESTSOCK_TOKEN" in wrong.err
    known = run("call", "edge-1", "/", "--hub", guarded.url, "--token-file", token_file)
    assert known.code == 3
    monkeypatch.setenv("RESTSOCK_TOKEN", TOKEN)
    assert run("call", "edge-1", "/", "--hub", guarded.url).code == 3


@pytest.mark.covers("call --timeout")
def test_no_answer_in_time(run: Run) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        port = silent.getsockname()[1]
        done = run("call", "x", "/", "--hub", f"ws://127.0.0.1:{port}", "--timeout", "0.05")
    assert done.code == 5
    assert f"the hub at http://127.0.0.1:{port} does not answer in time" in done.err


def test_no_hub(run: Run) -> None:
    done = run("call", "x", "/", "--hub", "ws://127.0.0.1:1")
    assert done.code == 1
    assert done.err == (
        "restsock: cannot reach the hub at http://127.0.0.1:1: Connection refused;"
        " is it running? try: restsock doctor\n"
    )


@pytest.mark.covers("--ca")
def test_tls(run: Run, secure: Hub, ca_file: str) -> None:
    done = run("call", "x", "/", "--hub", secure.url)
    assert done.code == 1
    assert "TLS with the hub" in done.err
    assert run("call", "x", "/", "--hub", secure.url, "--ca", ca_file).code == 3


@pytest.mark.parametrize(
    "args",
    [
        ("/", "nonsense"),
        ("/", "a:=nonsense"),
        ("/", "@/no/such/file"),
        ("/", "a=1", "-d", "x"),
        ("/", "--timeout", "0"),
        ("/", "--hub", "ws+unix:///run/x.sock"),
    ],
)
def test_wrong_use(run: Run, args: tuple[str, ...]) -> None:
    assert run("call", "x", *args).code == 2


def test_items() -> None:
    items = read_items(["a=b=c", "q==x=y", "H:v:w", "n:=[1]", "u=http://x", "X:", "e="])
    assert items.data == {"a": "b=c", "n": [1], "u": "http://x", "e": ""}
    assert items.query == [("q", "x=y")]
    assert items.headers == [("H", "v:w"), ("X", "")]
    with pytest.raises(click.UsageError):
        read_items(["=x"])


# --- expose ---------------------------------------------------------------------------------------


def test_a_local_port_reaches_a_peer(start: Start, hub: Hub, demo: str) -> None:
    exposed = start("expose", demo, "0", "--hub", hub.url)
    url = exposed.out.next()
    echo = requests.post(f"{url}echo", data=b"body", headers={"Restsock-Peer": "other"}).json()
    assert echo["body"] == "body"
    assert echo["fields"]["HOST"] == url.removeprefix("http://").strip("/")
    assert "RESTSOCK_PEER" not in echo["fields"]


@pytest.mark.covers("expose --host", "expose --json")
def test_a_local_port_shows_the_token(start: Start, guarded: Hub, token_file: str) -> None:
    with restsock.sync.connect(
        guarded.url,
        app=_fields,
        name="edge-1",
        auth=restsock.auth.Bearer(TOKEN),
    ):
        exposed = start(
            *("expose", "edge-1", "--hub", guarded.url, "--token-file", token_file),
            *("--host", "upstream", "--json"),
        )
        url = json.loads(exposed.out.next())["url"]
        answer = requests.get(url, headers={"Authorization": "Bearer of-the-caller"})
        assert answer.text == guarded.url.removeprefix("ws://").strip("/")


def _fields(environ: dict[str, Any], start_response: Callable[..., Any]) -> list[bytes]:
    assert "HTTP_AUTHORIZATION" not in environ
    start_response("200 OK", [])
    return [environ["HTTP_HOST"].encode()]


@pytest.mark.parametrize(
    ("fields", "status"),
    [
        ({}, 200),
        ({"Host": "localhost:1"}, 200),
        ({"Host": "[::1]"}, 200),
        ({"Host": "evil.example"}, 403),
        ({"Host": "127.0.0.1.evil.example:80"}, 403),
        ({"Origin": "http://localhost:3000"}, 200),
        ({"Origin": "https://evil.example"}, 403),
        ({"Origin": "null"}, 403),
    ],
)
def test_pages_of_the_web_are_no_callers(fields: dict[str, str], status: int) -> None:
    assert answered(fields, loopback=True) == status
    assert answered(fields, loopback=False) == 200


def answered(fields: dict[str, str], *, loopback: bool) -> int:
    """What `expose` answers to a request with these fields."""
    handler = Exposed(make_handler(null_app), [(b"X", b"1")], loopback=loopback)
    with restsock.sync.listen("127.0.0.1", 0, endpoints={"/": handler}) as server:
        return requests.get(server.url.replace("ws", "http"), headers=fields).status_code


def test_expose_wrong_use(run: Run) -> None:
    assert run("expose", "x", "nonsense").code == 2
    assert run("expose", "x", "0", "--host", "a b").code == 2


def test_the_ingress_marks_its_own_answers(hub: Hub) -> None:
    answer = requests.get(hub.url.replace("ws", "http"))
    assert (answer.status_code, answer.headers["Restsock-May-Have-Run"]) == (404, "?0")
