"""Commands and replies: the hub asks a device, or sends a command that waits for the device."""

import trio

import restsock
from restsock.messaging import (
    AskFailed,
    AskTimeout,
    InvalidMessage,
    Message,
    Messaging,
    Request,
)


def device() -> Messaging:
    messaging = Messaging()
    settings = {"speed": 1}

    @messaging.method("set")
    async def change(request: Request) -> dict[str, int]:
        speed = request.number("speed")
        if speed > 9:
            raise InvalidMessage("the speed is 0 to 9")
        settings["speed"] = speed
        return settings

    @messaging.method("calibrate")
    async def calibrate(request: Request) -> None:
        await trio.sleep(60)

    @messaging.on("commands")
    async def obey(message: Message) -> None:
        await message.reply({"done": message.body, "speed": settings["speed"]}, channel="results")

    return messaging


async def main() -> None:
    hub, robot = Messaging(), device()
    answered = trio.Event()

    @hub.on("results")
    async def note(message: Message) -> None:
        print(f"{message.session.name} has answered:", message.body)
        answered.set()

    async with hub, robot, restsock.listen("127.0.0.1", 0, messaging=hub) as server:
        # Nobody is connected yet, so it waits.
        await hub.channel("commands", delivery="at_least_once", to="robot-7").send("wave")
        async with restsock.connect(server.url, name="robot-7", messaging=robot):
            await answered.wait()

            # A request is for now: it has an answer, or an error that says why not.
            session = hub.sessions.named("robot-7")
            assert session is not None
            print("set:", await session.ask("set", {"speed": 7}, timeout=5))
            try:
                await session.ask("set", {"speed": 10})
            except AskFailed as exc:
                print(f"refused: {exc} ({exc.kind})")
            try:
                await session.ask("calibrate", timeout=0.2)
            except AskTimeout as exc:
                print("too late:", exc)


if __name__ == "__main__":
    trio.run(main)
