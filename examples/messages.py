"""Readings go from the edge to the cloud, which is away for two seconds: none is lost or repeated.

Messages sent `at_least_once` wait in a file until the cloud has handled them. In production the two
sides are two programs, and each may restart at any time.
"""

import tempfile
import time
from pathlib import Path

import restsock
import restsock.sync
from restsock.messaging import SQLiteStore
from restsock.messaging.sync import Message, Messaging

QUICK = restsock.Backoff(initial=0.1, cap=0.5)


def main(folder: Path) -> None:
    cloud = Messaging(SQLiteStore(folder / "cloud.db"))
    arrived: list[int] = []

    @cloud.on("readings")
    def keep(message: Message) -> None:  # in a thread, so it may block
        arrived.append(message.body["number"])

    with cloud, Messaging(SQLiteStore(folder / "edge.db")) as edge:
        readings = edge.channel("readings", delivery="at_least_once")
        sent = 0

        def measure(seconds: float) -> None:
            nonlocal sent
            end = time.monotonic() + seconds
            while time.monotonic() < end:
                readings.send({"number": sent, "celsius": 21.5})  # returns when the file has it
                sent += 1
                time.sleep(0.02)

        server = restsock.sync.listen("127.0.0.1", 0, messaging=cloud)
        port = server.address[1]
        with restsock.sync.connect(server.url, name="edge-1", messaging=edge, backoff=QUICK):
            measure(0.5)
            server.close(grace=0)
            first = sent
            print("the cloud is away, and the edge goes on")
            measure(2.0)
            there = sum(number >= first for number in arrived)
            print("meanwhile more were sent:", sent > first, "- arrived:", there)
            with restsock.sync.listen("127.0.0.1", port, messaging=cloud):
                print("the cloud is back")
                measure(0.5)
                readings.drain(timeout=30)  # until all are handled
        print("missing:", len(set(range(sent)) - set(arrived)))
        print("twice:", len(arrived) - len(set(arrived)))
        print("in order:", arrived == sorted(arrived))


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as name:
        main(Path(name))
