"""Serve a FastAPI app with its lifespan, on asyncio as usual, without an ASGI server."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import fastapi
import pydantic
import trio

import restsock


class Pet(pydantic.BaseModel):
    name: str
    age: int


pets: list[Pet] = []


@asynccontextmanager
async def lifespan(app: fastapi.FastAPI) -> AsyncIterator[None]:
    pets.append(Pet(name="Rex", age=3))
    print("the app starts, once, however often the client reconnects")
    yield
    print("the app stops")


app = fastapi.FastAPI(lifespan=lifespan)


@app.get("/pets")
async def list_pets() -> list[Pet]:
    await asyncio.sleep(0.01)  # an `async def` endpoint may use asyncio or anyio
    return pets


@app.post("/pets", status_code=201)
def create_pet(pet: Pet) -> Pet:
    pets.append(pet)  # a `def` endpoint runs in a thread, as under any ASGI server
    return pet


async def main() -> None:
    async with (
        restsock.listen("127.0.0.1", 0) as server,
        restsock.connect(server.url, app=app, name="edge-1"),
    ):
        edge = server.route("edge-1")

        as_json = {"Content-Type": "application/json"}
        for body in ('{"name": "Tom", "age": 5}', '{"name": "Kit"}'):
            response = await edge.request("POST", "/pets", headers=as_json, body=body)
            print("POST /pets", body, "->", response.status)

        response = await edge.request("GET", "/pets")
        print("GET /pets ->", response.status, response.text)


if __name__ == "__main__":
    trio.run(main)
