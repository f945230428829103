"""Who may call which operation: anything else gets a 403, and the app never sees it.

This example trusts the names that peers give themselves. Authenticate the peers if you cannot: a
name alone proves nothing.
"""

import trio

import restsock
from restsock.connection import Request, Response
from restsock.openapi import AccessHandler, APIClient, OperationFailed, allow

SPEC = {
    "openapi": "3.1.0",
    "info": {"title": "Line 3", "version": "1"},
    "paths": {
        "/status": {
            "get": {"operationId": "getStatus", "responses": {"200": {"description": "The status"}}}
        },
        "/belt": {
            "post": {"operationId": "stopBelt", "responses": {"200": {"description": "It stops"}}}
        },
    },
}

RULES = [
    allow("foreman", "line-3", "*"),
    allow("robot-*", "line-3", ["getStatus"]),
]


async def line(request: Request) -> Response:
    print(f"  the app is reached: {request.method} {request.path}")
    return Response(200, body="done\n")


async def call_all(url: str, name: str) -> None:
    async with restsock.connect(url, name=name) as connection:
        api = APIClient(connection, SPEC)
        for operation in (api.getStatus, api.stopBelt):
            try:
                response = await operation()
                print(f"{name}, {operation.id}: {response.status}")
            except OperationFailed as error:
                print(f"{name}, {error}")


async def main() -> None:
    app = AccessHandler(line, SPEC, RULES, peer="line-3")
    async with restsock.listen("127.0.0.1", 0, app=app) as server:
        for name in ("foreman", "robot-7", "stranger"):
            await call_all(server.url, name)


if __name__ == "__main__":
    trio.run(main)
