"""Server-sent events: each event is sent at once, and closing the response stops the app."""

import json
import time
from collections.abc import AsyncIterator

import requests
import trio

import restsock

stopped = trio.Event()


async def ticks() -> AsyncIterator[bytes]:
    try:
        number = 0
        while True:
            yield f"id: {number}\ndata: {json.dumps({'sent': time.time()})}\n\n".encode()
            number += 1
            await trio.sleep(0.1)
    finally:
        print("the app has noticed that the reader has left")
        stopped.set()


async def app(request: restsock.Request) -> restsock.Response:
    return restsock.Response(headers={"Content-Type": "text/event-stream"}, body=ticks())


def listen_to_five(server: restsock.Server) -> None:
    """Runs in a thread: `server.adapter()` works in any thread except the event loop's."""
    session = requests.Session()
    session.mount("http://edge-1/", server.adapter("edge-1"))
    with session.get("http://edge-1/events", stream=True, timeout=(3, 10)) as answer:
        print(answer.status_code, answer.headers["Content-Type"])
        seen = 0
        for line in answer.iter_lines(decode_unicode=True):
            if line.startswith("data: "):
                late = time.time() - json.loads(line[6:])["sent"]
                print(f"event {seen}, {late * 1000:.1f} ms after it was sent")
                seen += 1
                if seen == 5:
                    break


async def main() -> None:
    async with (
        restsock.listen("127.0.0.1", 0) as server,
        restsock.connect(server.url, app=app, name="edge-1"),
    ):
        await trio.to_thread.run_sync(listen_to_five, server)
        await stopped.wait()


if __name__ == "__main__":
    trio.run(main)
