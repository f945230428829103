"""Restart a listener while requests are in flight: it drains, its client reconnects, none fails.

In production a signal ends the listener: use `restsock.drain_on_signal(server)`.
"""

import trio

import restsock


async def slow(request: restsock.Request) -> restsock.Response:
    await trio.sleep(0.3)
    return restsock.Response(200, {}, f"the answer to {request.target}")


async def main() -> None:
    backoff = restsock.Backoff(initial=0.1, cap=0.5)
    first = restsock.listen("127.0.0.1", 0, app=slow)
    async with trio.open_nursery() as nursery:
        async with first:
            port = first.address[1]
            client = restsock.connect(first.url, backoff=backoff)
            await nursery.start(stay, client)
            answers: list[int] = []

            async def ask(number: int) -> None:
                await trio.sleep(number / 20)
                answers.append((await client.request("POST", f"/{number}")).status)

            for number in range(20):
                nursery.start_soon(ask, number)
            await trio.sleep(0.4)
            print("closing after what is in flight, with 1012: a restart")
            await first.aclose(1012)
            print("answered so far:", len(answers))
        async with restsock.listen("127.0.0.1", port, app=slow):
            while len(answers) < 20:  # noqa: ASYNC110  # there is no event for it
                await trio.sleep(0.05)
            print("answered in all:", len(answers), "with status 200:", answers.count(200))
            print("connections:", client.statistics().connections)
            nursery.cancel_scope.cancel()


async def stay(client: restsock.Client, task_status: trio.TaskStatus[None]) -> None:
    async with client:
        task_status.started()
        await trio.sleep_forever()


if __name__ == "__main__":
    trio.run(main)
