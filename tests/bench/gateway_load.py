"""The clients of a gateway: many sessions in one process, which does little for each message.

python -m tests.bench.gateway_load URL [PUBLISH]

PUBLISH is where something is pushed by HTTP; without one, a message to the gateway asks for that.
Orders, one a line, each answered by a line:

    {"open": n}                                        so many sessions in all, all at once open
    {"calls": seconds, "sessions": n, "in_flight": n}  calls: each answer is followed by the next
    {"echo": seconds, "sessions": n, "in_flight": n}   the same, where what comes back has no id
                                                       "watch": {name: pids}: and their CPU time
    {"fan": count}                                     pushes to all sessions, one after the other

A spell is `stuck` if its calls are not answered soon after its end; so are its sessions, then.
Messages are made once and have a key of zeros, and of an answer only the id is looked at.
"""

from __future__ import annotations

import asyncio
import json
import sys
import time
from collections import deque
from typing import Any, cast
from urllib.parse import urlsplit

from tests.bench.gateway_wire import event_loop, frames, masked, raise_file_limit
from tests.bench.processes import cpu_seconds
from tests.bench.spells import percentiles

SIZE = 100
_PATIENCE = 30.0
_AT_ONCE = 64  # handshakes
_RAMP = 1.5  # seconds at most until as many calls are answered as run at a time
_LAST = 0.5  # seconds for what is under way at the end of a spell

Order = dict[str, Any]


def message(id: int | None, action: str = "echo") -> bytes:
    """A message of 100 B."""
    said: dict[str, Any] = {"action": action, "id": id, "text": ""}
    said["text"] = "x" * (SIZE - len(json.dumps(said, separators=(",", ":"))))
    return json.dumps(said, separators=(",", ":")).encode()


class Client(asyncio.Protocol):
    """A session."""

    def __init__(self, load: Load, number: int, opened: asyncio.Future[None]) -> None:
        self._load = load
        self._number = number
        self._buffer = b""
        self._opened = opened
        self.transport: asyncio.Transport
        self.sent: dict[int, float] = {}  # when, by id
        self.queue: deque[float] = deque()  # when, where there is no id

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.Transport, transport)
        self.transport.write(self._load.handshake)

    def connection_lost(self, exc: Exception | None) -> None:
        self._load.lost += 1
        if not self._opened.done():
            self._opened.set_exception(exc or ConnectionError("closed"))

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        if not self._opened.done():
            end = self._buffer.find(b"\r\n\r\n")
            if end < 0:
                return
            if b" 101 " not in self._buffer[:16]:
                self._opened.set_exception(ConnectionError(self._buffer[:end].decode("latin-1")))
                return
            self._buffer = self._buffer[end + 4 :]
            self._opened.set_result(None)
        found, self._buffer = frames(self._buffer)
        load, out = self._load, []
        now = time.perf_counter()
        for op, body in found:
            if op == 9:
                out.append(masked(10, body))
            elif b'"push"' in body:
                load.pushed.append(now)
            elif op in (1, 2):
                self._answered(body, now, out)
        if out:
            self.transport.write(b"".join(out))

    def _answered(self, body: bytes, now: float, out: list[bytes]) -> None:
        load = self._load
        id = 0
        if load.with_ids:
            at = body.find(b'"id":') + 5
            end = at
            while body[end : end + 1].isdigit():
                end += 1
            id = int(body[at:end] or b"-1")
            begun = self.sent.pop(id, None)
            if begun is None:
                load.strange += 1
                return
            if b'"error"' in body:
                load.errors += 1
        elif self.queue:
            begun = self.queue.popleft()
        else:
            return
        load.latencies.append(now - begun)
        if now < load.until:
            self._note(id, now)
            out.append(load.messages[id])

    def ask(self, count: int, now: float) -> None:
        """So many at once."""
        load = self._load
        for id in range(count):
            self._note(id, now)
        self.transport.write(b"".join(load.messages[:count]))

    def _note(self, id: int, now: float) -> None:
        if self._load.with_ids:
            self.sent[id] = now
        else:
            self.queue.append(now)


class Load:
    """All sessions."""

    def __init__(self, url: str, publish: str | None) -> None:
        parts = urlsplit(url)
        self._address = parts.hostname or "", parts.port or 80
        self._publish = publish
        self.handshake = (
            f"GET {parts.path or '/'} HTTP/1.1\r\nHost: {parts.netloc}\r\nUpgrade: websocket\r\n"
            "Connection: Upgrade\r\nSec-WebSocket-Version: 13\r\n"
            "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
        ).encode()
        self.messages = [masked(1, message(id)) for id in range(64)]
        self.clients: list[Client] = []
        self.latencies: list[float] = []
        self.pushed: list[float] = []
        self.until = 0.0
        self.with_ids = True
        self.lost = self.strange = self.errors = 0

    async def obey(self, order: Order) -> Order:
        if "open" in order:
            return await self._open(order["open"])
        if "fan" in order:
            return await self._fan(order["fan"])
        self.with_ids = "calls" in order
        seconds = order["calls" if self.with_ids else "echo"]
        watched = order.get("watch", {})
        return await self._spell(seconds, order["sessions"], order["in_flight"], watched)

    async def _open(self, count: int) -> Order:
        begin = time.perf_counter()
        gate = asyncio.Semaphore(_AT_ONCE)

        async def one(number: int) -> None:
            loop = asyncio.get_running_loop()
            async with gate:
                opened: asyncio.Future[None] = loop.create_future()
                made = lambda: Client(self, number, opened)  # noqa: E731  # it is called once
                _, client = await loop.create_connection(made, *self._address)
                await asyncio.wait_for(opened, _PATIENCE)
                self.clients.append(client)

        await asyncio.gather(*(one(number) for number in range(len(self.clients), count)))
        return {"seconds": time.perf_counter() - begin, "lost": self.lost}

    async def _spell(
        self, seconds: float, sessions: int, in_flight: int, watched: dict[str, list[int]]
    ) -> Order:
        """Calls; those that are not answered at the end count with the time that they had."""
        clients = self.clients[:sessions]
        self.latencies, self.errors, self.strange = [], 0, 0
        begin = time.perf_counter()
        self.until = begin + _RAMP + seconds
        for client in clients:
            client.ask(in_flight, time.perf_counter())
        # The first ones come all at once, and are no measure of what follows.
        await self._ramp(sessions * in_flight)
        self.latencies, self.errors = [], 0
        used = {name: cpu_seconds(pids) for name, pids in watched.items()}
        cpu, begin = time.process_time(), time.perf_counter()
        self.until = begin + seconds
        await asyncio.sleep(seconds)
        end = time.perf_counter()
        found = list(self.latencies)
        waiting = [now for one in clients for now in (*one.sent.values(), *one.queue)]
        figures: Order = {
            "messages": len(found),
            "seconds": end - begin,
            "load_cpu": time.process_time() - cpu,
            "errors": self.errors,
            "unanswered": len(waiting),
        }
        for name, before in used.items():
            after = cpu_seconds(watched[name])
            figures[name] = None if before is None or after is None else after - before
        late = [end - now for now in waiting] if len(waiting) > sessions * in_flight // 2 else []
        if found or late:
            figures |= percentiles(found + late)
        patience = time.perf_counter() + max(_LAST, seconds)
        while any(one.sent or one.queue for one in clients):
            if time.perf_counter() > patience:
                return {**figures, "stuck": True, "strange": self.strange, "lost": self.lost}
            await asyncio.sleep(0.01)
        return {**figures, "stuck": False, "strange": self.strange, "lost": self.lost}

    async def _ramp(self, count: int) -> None:
        end = time.perf_counter() + _RAMP
        while len(self.latencies) < count:
            if time.perf_counter() > end:
                return
            await asyncio.sleep(0.01)

    async def _fan(self, count: int) -> Order:
        """From when one is asked for until each session has it, one after the other."""
        delays: list[float] = []
        whole: list[float] = []
        for _ in range(count):
            self.pushed = []
            begin = time.perf_counter()
            if self._publish is None:
                self.clients[0].transport.write(masked(1, message(None, "push")))
            else:
                await self._post(self._publish)
            while len(self.pushed) < len(self.clients):
                if time.perf_counter() > begin + _PATIENCE / 3:
                    break
                await asyncio.sleep(0.001)
            delays += [now - begin for now in self.pushed]
            whole.append(max(self.pushed, default=begin) - begin)
        found = {"messages": len(delays), "expected": count * len(self.clients)}
        return {**found, "seconds": sum(whole), **percentiles(delays or [0.0])}

    async def _post(self, url: str) -> None:
        parts = urlsplit(url)
        text = json.dumps({"push": "x" * (SIZE - 12)})
        item = {"channel": "all", "formats": {"ws-message": {"content": text}}}
        body = json.dumps({"items": [item]}).encode()
        reader, writer = await asyncio.open_connection(parts.hostname, parts.port)
        writer.write(
            b"POST %s HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: %d\r\n\r\n%s"
            % (parts.path.encode(), len(body), body)
        )
        await reader.readline()
        writer.close()


async def _run(url: str, publish: str | None) -> None:
    load = Load(url, publish)
    print("{}", flush=True)
    while line := await asyncio.to_thread(sys.stdin.readline):
        print(json.dumps(await load.obey(json.loads(line))), flush=True)


def main() -> None:
    raise_file_limit()
    url, *publish = sys.argv[1:]
    event_loop().run_until_complete(_run(url, publish[0] if publish else None))


if __name__ == "__main__":
    main()
