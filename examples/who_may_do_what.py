"""Authenticate peers: tokens from a file, allowed names and requests, a token that is withdrawn."""

import json
import tempfile

import trio

import restsock
from restsock.auth import Bearer, BearerTokens


async def hub(request: restsock.Request) -> restsock.Response:
    principal = request.connection.principal
    assert principal is not None
    return restsock.Response(body=f"hello {principal.name} of {principal.claims['city']}")


async def main(tokens: trio.Path) -> None:
    robot = {"name": "robot", "may_register": ["robot-*"], "claims": {"city": "Ulm"}}
    sensor = {"name": "sensor", "may_call": [], "claims": {"city": "Ulm"}}
    await tokens.write_text(json.dumps({"r0b0t": robot, "s3ns0r": sensor}))
    auth = BearerTokens(file=tokens)
    async with restsock.listen("127.0.0.1", 0, app=hub, auth=auth, name="hub") as server:

        async def dial(name: str, token: str) -> None:
            try:
                async with restsock.connect(server.url, name=name, auth=Bearer(token)) as client:
                    response = await client.request("GET", "/")
                    print(f"{name}: {response.status} {response.text.strip()}")
            except restsock.HandshakeError as error:
                print(f"{name}: {error}")

        await dial("robot-7", "r0b0t")
        await dial("sensor", "s3ns0r")  # it may be called, but may not call
        await dial("robot-8", "s3ns0r")  # a name that is not its own
        await dial("robot-9", "guess")

        async with restsock.connect(server.url, name="robot-7", auth=Bearer("r0b0t")) as client:
            await tokens.write_text("{}")  # noticed within two seconds; then the client gets a 401
            closed = await client.wait_closed()
            print(f"robot-7: {closed.reason}")


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as folder:
        trio.run(main, trio.Path(folder) / "tokens.json")
