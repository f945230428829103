"""On asyncio, behind NAT: a FastAPI app that shares a pool of the database with its program."""

import asyncio
import sqlite3
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import fastapi

import restsock.aio


class Pool:
    """Connections of SQLite, for the tasks of one loop; any pool of asyncio takes its place."""

    def __init__(self, path: str, size: int) -> None:
        self._free: asyncio.Queue[sqlite3.Connection] = asyncio.Queue()
        self._all = [
            sqlite3.connect(path, uri=True, check_same_thread=False, isolation_level=None)
            for _ in range(size)
        ]
        for connection in self._all:
            self._free.put_nowait(connection)

    @asynccontextmanager
    async def connection(self) -> AsyncIterator[sqlite3.Connection]:
        connection = await self._free.get()
        try:
            yield connection
        finally:
            self._free.put_nowait(connection)

    async def execute(self, statement: str, *values: Any) -> list[Any]:
        async with self.connection() as connection:
            rows = await asyncio.to_thread(connection.execute, statement, values)
            return rows.fetchall()

    def close(self) -> None:
        for connection in self._all:
            connection.close()


def make_app(pool: Pool) -> fastapi.FastAPI:
    app = fastapi.FastAPI()

    @app.get("/readings")
    async def readings() -> list[float]:
        # This runs on the loop that the pool belongs to: that of `restsock.aio.connect`.
        return [row[0] for row in await pool.execute("SELECT value FROM readings ORDER BY value")]

    @app.post("/readings", status_code=201)
    async def add(value: float) -> None:
        await pool.execute("INSERT INTO readings VALUES (?)", value)

    return app


async def measure(pool: Pool) -> None:
    for value in (20.5, 21.0, 21.5):
        await pool.execute("INSERT INTO readings VALUES (?)", value)
    print("the program has stored 3 readings")


async def device(url: str, done: asyncio.Event) -> None:
    pool = Pool("file:readings?mode=memory&cache=shared", size=3)
    try:
        await pool.execute("CREATE TABLE readings (value REAL)")
        app = make_app(pool)
        async with restsock.aio.connect(url, app=app, name="edge-1", proxy=False) as client:
            await measure(pool)
            await client.request("POST", "/ready")
            await done.wait()
    finally:
        pool.close()


async def main() -> None:
    ready, done = asyncio.Event(), asyncio.Event()

    async def hub(request: restsock.Request) -> restsock.Response:
        ready.set()
        return restsock.Response(204)

    async with restsock.aio.listen("127.0.0.1", 0, app=hub) as server:
        running = asyncio.create_task(device(server.url, done))
        await ready.wait()
        edge = server.route("edge-1")
        print("GET /readings ->", (await edge.request("GET", "/readings", timeout=10)).json())
        response = await edge.request("POST", "/readings?value=19.25", timeout=10)
        print("POST /readings ->", response.status)
        many = [edge.request("GET", "/readings", timeout=10) for _ in range(20)]
        lengths = {len(each.json()) for each in await asyncio.gather(*many)}
        print("20 calls at once share 3 connections of the database; readings:", *lengths)
        done.set()
        await running


if __name__ == "__main__":
    asyncio.run(main())
