"""The demo: an API that opens no port is called with `requests`, and calls back.

Run it with ``make demo``. This process is the hub: it listens, and has an API of its own (Flask).
It starts a second process, the pet store (store.py), which dials in through a small proxy, so that
the demo can cut the connection between them.
"""

import itertools
import logging
import signal
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import flask
import requests
import trio

import restsock
from examples.petstore.by_contract import call_by_contract
from examples.petstore.by_operation import call_by_operation
from restsock.testing import FaultyProxy

START = time.perf_counter()
STORE = "http://petstore"
FEED = STORE + "/pets/feed?every=0.1"
TIMEOUT = (5, 10)  # seconds: to get through to the store, and for each wait for its bytes
PATIENCE = 15  # seconds

hub = flask.Flask("hub")


@hub.post("/adoptions")
def adoptions() -> dict[str, str]:
    pet = flask.request.get_json()["pet"]
    say(f"  <- POST http://hub/adoptions: the store asks who adopts {pet}")
    return {"home": "the Peeters family"}


def chapter(title: str) -> None:
    print(f"\n{title}", flush=True)


def say(words: str) -> None:
    print(f"{time.perf_counter() - START:7.3f} s  {words}", flush=True)


class Story:
    """What the hub does with the store, in threads, through an ordinary `requests.Session`."""

    def __init__(self, server: restsock.Server) -> None:
        self.session = requests.Session()
        self.session.mount(STORE, server.adapter("petstore"))

    def call(self, method: str, path: str, body: object = None) -> Any:
        """Sends a request, says how it went and returns the answer's JSON."""
        answer = self.session.request(method, STORE + path, json=body, timeout=TIMEOUT)
        milliseconds = answer.elapsed.total_seconds() * 1000
        say(f"-> {method} {path}: {answer.status_code} in {milliseconds:.1f} ms")
        return answer.json()

    def list_and_create(self) -> None:
        spec = self.call("GET", "/openapi.json")
        say(f"   {spec['info']['title']}, OpenAPI {spec['openapi']}: {', '.join(spec['paths'])}")
        self.list_pets()
        say(f"   {self.call('POST', '/pets', {'name': 'Nemo', 'kind': 'fish'})}")
        self.list_pets()

    def list_pets(self) -> None:
        say(f"   {', '.join(pet['name'] for pet in self.call('GET', '/pets'))}")

    def errors(self) -> None:
        say(f"   {self.call('GET', '/pets/99')['detail']}")
        problem = self.call("POST", "/pets", {"name": "", "kind": "cat"})
        say(f"   {problem['detail']}: {problem['errors'][0]}")

    def stream(self) -> None:
        with self.session.get(FEED, stream=True, timeout=TIMEOUT) as answer:
            say(f"-> GET /pets/feed: {answer.status_code}, the head is here, the body has no end")
            for line in itertools.islice(answer.iter_lines(), 4):
                say(f"   {line.decode()}")
        say("   enough: closing the response stops the store's generator")

    def adopt(self) -> None:
        pet = self.call("POST", "/pets/1/adopt")
        say(f"   {pet['name']} lives with {pet['home']}")

    def stream_until_cut(self, flowing: trio.Event) -> None:
        try:
            with self.session.get(FEED, stream=True, timeout=TIMEOUT) as answer:
                for line in answer.iter_lines():
                    say(f"   {line.decode()}")
                    trio.from_thread.run_sync(flowing.set)
        except requests.RequestException as error:
            say(f"   the stream fails at once, with requests' {type(error).__name__}:")
            say(f"   {beneath(error)}")


def beneath(error: BaseException) -> BaseException:
    """The error of restsock that an exception of `requests` was made from."""
    inner: BaseException | None = error
    while inner is not None and not isinstance(inner, restsock.RestsockError):
        inner = inner.__cause__ or inner.__context__
    return inner or error


async def run_store(
    url: str, database: Path, task_status: trio.TaskStatus[trio.Process] = trio.TASK_STATUS_IGNORED
) -> None:
    """The second process; its end, if the demo fails, is the demo's end."""
    command = [sys.executable, "-m", "examples.petstore.store", url, str(database)]
    await trio.run_process(command, task_status=task_status)


async def main() -> None:
    # The demo itself tells what is logged as a warning here.
    logging.getLogger("restsock").setLevel(logging.ERROR)
    print("restsock: an API that opens no port is called with plain `requests`, and calls back")
    in_thread = trio.to_thread.run_sync
    with tempfile.TemporaryDirectory() as folder:
        async with (
            restsock.listen("127.0.0.1", 0, app=hub) as server,
            FaultyProxy(*server.address) as proxy,
            server.events() as events,
            trio.open_nursery() as nursery,
        ):

            async def next_event() -> None:
                with trio.fail_after(PATIENCE):
                    event = await events.receive()
                more = event.metadata if event.type == "ConnectionReceived" else event.reason
                say(f"event: {event.type} of {event.name!r} {more}".rstrip())

            chapter("Two peers, one WebSocket")
            say(f"the hub listens on {server.url} and has an API of its own")
            url = f"ws://127.0.0.1:{proxy.port}/"
            process = await nursery.start(run_store, url, Path(folder, "pets.db"))
            say(f"process {process.pid} is the pet store: FastAPI over SQLite, and no open port")
            await next_event()

            story = Story(server)
            chapter("The hub calls the store")
            await in_thread(story.list_and_create)
            await in_thread(story.errors)

            chapter("The hub calls the store by its operations")
            await in_thread(call_by_operation, story.session, STORE, say)

            chapter("Both ends hold the contract")
            await in_thread(call_by_contract, server, STORE, say, TIMEOUT)

            chapter("A stream arrives as it is made")
            await in_thread(story.stream)

            chapter("The store calls back, in the middle of a request, over the same WebSocket")
            await in_thread(story.adopt)

            chapter("The network is cut while a stream flows")
            async with trio.open_nursery() as during:
                flowing = trio.Event()
                during.start_soon(in_thread, story.stream_until_cut, flowing)
                with trio.fail_after(PATIENCE):
                    await flowing.wait()
                say("cut!")
                await proxy.cut()
            await next_event()
            await next_event()
            say("the store has dialed again by itself; the same session and adapter go on:")
            await in_thread(story.list_pets)

            chapter("Goodbye")
            process.send_signal(signal.SIGINT)
            await next_event()
    say("done")


if __name__ == "__main__":
    trio.run(main)
