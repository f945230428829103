"""The FastAPI app that every ASGI server serves; the same paths as `app_flask`."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

from fastapi import FastAPI, Request, Response
from fastapi.responses import StreamingResponse

from tests.bench.workloads import MIB, ONE_MIB, PIECE, SMALL, TEN_KB

app = FastAPI()


@app.get("/pets/{pet}")
async def pet(pet: int) -> dict[str, Any]:
    return {**SMALL, "id": pet}


@app.get("/ten")
async def ten() -> Response:
    return Response(TEN_KB, media_type="application/octet-stream")


@app.get("/mib")
async def mib() -> Response:
    return Response(ONE_MIB, media_type="application/octet-stream")


@app.post("/pets")
async def new_pet(request: Request) -> dict[str, int]:
    return {"id": len(await request.body())}


@app.get("/download/{mib}")
async def download(mib: int) -> Response:
    size = mib * MIB

    async def pieces() -> AsyncIterator[bytes]:
        for _ in range(size // len(PIECE)):
            yield PIECE

    return StreamingResponse(
        pieces(), headers={"Content-Length": str(size)}, media_type="application/octet-stream"
    )


@app.post("/upload")
async def upload(request: Request) -> dict[str, int]:
    received = 0
    async for data in request.stream():
        received += len(data)
    return {"id": received}
