"""A gateway as one writes it by hand: FastAPI, uvicorn (uvloop, httptools) and httpx.

python -m tests.bench.gateway_fastapi BACKEND      prints its port; it ends with its stdin

It does what that of restsock does, as a careful program would: an id is repeated in the answer, at
most 25 calls of a session run at a time, one that is used twice is refused, a call has 10 seconds,
and whatever goes wrong is an answer with the id.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import socket
import sys
from collections.abc import AsyncIterator
from http import HTTPStatus
from typing import Any

import httpx
import uvicorn
from fastapi import FastAPI, WebSocket, WebSocketDisconnect

from tests.bench.gateway_wire import raise_file_limit

_SLOTS = 25
_TIMEOUT = 10.0
_CONNECTIONS = 128
_MAX_MESSAGE = 32 * 1024


def _dump(value: Any) -> str:
    return json.dumps(value, separators=(",", ":"))


def _problem(id: Any, status: int, detail: str) -> str:
    title = HTTPStatus(status).phrase
    problem = {"title": title, "status": status, "detail": detail}
    said: dict[str, Any] = {} if id is None else {"id": id}
    return _dump({**said, "status": status, "error": problem})


class Gateway:
    """All sessions, and the client of the backend."""

    def __init__(self, backend: str) -> None:
        self._backend = backend
        limits = httpx.Limits(
            max_connections=_CONNECTIONS, max_keepalive_connections=_CONNECTIONS, keepalive_expiry=5
        )
        self.client = httpx.AsyncClient(limits=limits, timeout=_TIMEOUT, trust_env=False)
        self.sessions: set[WebSocket] = set()

    async def serve(self, websocket: WebSocket) -> None:
        """A session."""
        await websocket.accept()
        self.sessions.add(websocket)
        slots = asyncio.Semaphore(_SLOTS)
        calls: set[asyncio.Task[None]] = set()
        ids: set[Any] = set()
        try:
            while True:
                text = await websocket.receive_text()
                try:
                    message = json.loads(text)
                except ValueError:
                    await websocket.send_text(_problem(None, 400, "this is no JSON"))
                    continue
                id = message.pop("id", None) if isinstance(message, dict) else None
                action = message.pop("action", "") if isinstance(message, dict) else ""
                if id is not None and id in ids:
                    await websocket.send_text(_problem(id, 409, "this id is in use"))
                elif action == "push":
                    said = _dump({"push": message["text"]})
                    await asyncio.gather(*(one.send_text(said) for one in self.sessions))
                elif action != "echo":
                    await websocket.send_text(_problem(id, 404, "no such action"))
                else:
                    await slots.acquire()
                    ids.add(id)
                    task = asyncio.create_task(self._answer(websocket, id, message, slots, ids))
                    calls.add(task)
                    task.add_done_callback(calls.discard)
        except WebSocketDisconnect:
            pass
        finally:
            self.sessions.discard(websocket)
            for task in calls:
                task.cancel()

    async def _answer(
        self,
        websocket: WebSocket,
        id: Any,
        message: Any,
        slots: asyncio.Semaphore,
        ids: set[Any],
    ) -> None:
        try:
            said = await self._call(id, message)
            with contextlib.suppress(RuntimeError, WebSocketDisconnect):  # it has left
                await websocket.send_text(said)
        finally:
            ids.discard(id)
            slots.release()

    async def _call(self, id: Any, message: Any) -> str:
        try:
            response = await asyncio.wait_for(
                self.client.post(self._backend, json=message), _TIMEOUT
            )
            if response.status_code >= 400:
                return _problem(id, response.status_code, "the backend has failed")
            return _dump({"id": id, "status": response.status_code, "body": response.json()})
        except (asyncio.TimeoutError, httpx.TimeoutException):
            return _problem(id, 504, "no answer in time")
        except (httpx.HTTPError, ValueError):
            return _problem(id, 502, "no answer that can be read")


def app_for(backend: str) -> FastAPI:
    gateway = Gateway(backend)

    @contextlib.asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        async with gateway.client:
            yield

    app = FastAPI(lifespan=lifespan)
    app.websocket("/ws")(gateway.serve)
    return app


def main() -> None:
    raise_file_limit()
    sock = socket.create_server(("127.0.0.1", 0), backlog=2048)
    config = uvicorn.Config(
        app_for(sys.argv[1]),
        loop="uvloop",
        http="httptools",
        access_log=False,
        log_level="error",
        backlog=2048,
        ws_max_size=_MAX_MESSAGE,
        ws_per_message_deflate=False,  # as the others
    )
    print(json.dumps({"port": sock.getsockname()[1]}), flush=True)
    uvicorn.Server(config).run(sockets=[sock])


if __name__ == "__main__":
    main()
