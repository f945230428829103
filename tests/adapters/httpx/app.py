"""What the httpx tests call: a coroutine function behind a real tunnel."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator

import trio

from restsock import Request, Response, StreamReset


class App:
    """Answers by path.

    Attributes:
        reached: how many requests have begun.
        left: is set when a request was cancelled because its caller has left.
        go_on: what the slow ones wait for.
    """

    def __init__(self) -> None:
        self.reached = 0
        self.left = trio.Event()
        self.go_on = trio.Event()

    async def __call__(self, request: Request) -> Response:
        self.reached += 1
        try:
            return await getattr(self, request.path.strip("/"))(request)  # type: ignore[no-any-return]
        except (trio.Cancelled, StreamReset):
            self.left.set()
            raise

    async def go(self, request: Request) -> Response:
        self.go_on.set()
        return Response(204)

    async def echo(self, request: Request) -> Response:
        body = await request.read()
        seen = {
            "method": request.method,
            "target": request.target,
            "headers": [[k.decode(), v.decode()] for k, v in request.headers],
            "body": body.decode("latin-1"),
        }
        return Response(201, [("X-Many", "1"), ("X-Many", "2")], json.dumps(seen))

    async def size(self, request: Request) -> Response:
        size = 0
        async for piece in request:
            size += len(piece)
        return Response(body=str(size))

    async def redirect(self, request: Request) -> Response:
        return Response(302, {"Location": "/echo", "Set-Cookie": "a=b"})

    async def moved(self, request: Request) -> Response:
        await request.read()
        return Response(307, {"Location": "/echo"})

    async def challenge(self, request: Request) -> Response:
        await request.read()
        return Response(401, {"WWW-Authenticate": 'Digest realm="r", nonce="n", qop="auth"'})

    async def trailers(self, request: Request) -> Response:
        return Response(200, {}, b"body", {"X-Sum": "4"})

    async def status(self, request: Request) -> Response:
        return Response(int(request.query), {}, b"" if request.query in ("204", "304") else b"text")

    async def long(self, request: Request) -> Response:
        return Response(body=b"x" * 3_000_000)

    async def events(self, request: Request) -> Response:
        async def pieces() -> AsyncIterator[bytes]:
            try:
                yield b"one"
                await self.go_on.wait()
                yield b"two"
                await trio.sleep_forever()
            except BaseException:
                self.left.set()
                raise

        return Response(body=pieces())

    async def never(self, request: Request) -> Response:
        await trio.sleep_forever()
        raise AssertionError

    async def broken(self, request: Request) -> Response:
        async def pieces() -> AsyncIterator[bytes]:
            yield b"part"
            await self.go_on.wait()
            raise ZeroDivisionError

        return Response(body=pieces())

    async def early(self, request: Request) -> Response:
        return Response(413, {}, b"too much")

    async def upper(self, request: Request) -> Response:
        async def pieces() -> AsyncIterator[bytes]:
            async for piece in request:
                yield piece.upper()

        return Response(body=pieces())
