"""Whatever a client sends, and when: each call is answered once, while its socket lives."""

from __future__ import annotations

import json
import logging
import random
from typing import Any

import pytest
import trio

from restsock.gateway import CallFailed, Gateway, Message
from restsock.protocol import CloseReceived, TextMessage
from tests.gateway.site import action, served
from tests.websockets.site import RawClient, raw_client

MESSAGES = 200


async def work(message: Message) -> Any:
    """Takes as long as it is told, and ends as it is told."""
    await trio.sleep(message.body.get("seconds", 0))
    if message.body.get("fail"):
        raise RuntimeError("as it was told")
    if message.body.get("refuse"):
        raise CallFailed(429, "as it was told")
    return message.body.get("n")


def some_message(rng: random.Random, number: int) -> Any:
    """One of all kinds, with an id or without."""
    members: dict[str, Any] = {"action": rng.choice(["work", "work", "work", "other"]), "n": number}
    if rng.random() < 0.7:
        members["id"] = number if rng.random() < 0.5 else f"{number}"
    members["seconds"] = rng.choice([0, 0, 0.001, 0.01])
    members[rng.choice(["fail", "refuse", "x", "y", "z"])] = True
    if rng.random() < 0.05:
        members["action"] = 7
    return members


def expected_status(message: dict[str, Any]) -> int:
    if message["action"] == 7:
        return 400
    if message["action"] == "other":
        return 404
    return 500 if message.get("fail") else 429 if message.get("refuse") else 200


async def all_answers(client: RawClient, count: int | None) -> list[Any]:
    """So many answers; `None` for those until the close."""
    found: list[Any] = []
    while len(found) != count:
        event = await client.next()
        if isinstance(event, CloseReceived):
            assert count is None
            assert event.code == 1012
            return found
        if isinstance(event, TextMessage):
            found.append(json.loads(event.data))
    return found


@pytest.fixture(autouse=True)
def _quiet(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.CRITICAL, "restsock.gateway")


@pytest.mark.parametrize("seed", range(4))
async def test_each_message_is_answered_once_and_those_without_ids_in_order(seed: int) -> None:
    rng = random.Random(seed)
    sent = [some_message(rng, number) for number in range(MESSAGES)]
    in_flight = rng.choice([1, 3, 25])
    gateway = Gateway([action({"work": work}, in_flight=in_flight, max_faults=None)])
    async with served(gateway) as server, raw_client(server) as client:
        async with trio.open_nursery() as nursery:

            async def send() -> None:
                for message in sent:
                    client.websocket.send_text(json.dumps(message))
                    if rng.random() < 0.2:
                        await client.flush()
                await client.flush()

            nursery.start_soon(send)
            answers = await all_answers(client, MESSAGES)
    with_id = {json.dumps(each["id"]): each for each in answers if "id" in each}
    assert len(with_id) == sum("id" in each for each in sent)
    for message in sent:
        if "id" in message:
            answer = with_id[json.dumps(message["id"])]
            assert answer["status"] == expected_status(message)
            if answer["status"] == 200:
                assert answer["body"] == message["n"]
    in_order = [each["status"] for each in answers if "id" not in each]
    assert in_order == [expected_status(each) for each in sent if "id" not in each]
    total = gateway.statistics().total
    assert total.in_flight == 0
    assert sum(total.calls.values()) + sum(total.refused.values()) == MESSAGES


@pytest.mark.parametrize("seed", range(6))
async def test_no_message_that_was_read_goes_without_an_answer_when_it_drains(seed: int) -> None:
    rng = random.Random(seed)
    gateway = Gateway([action({"work": work}, in_flight=rng.choice([1, 3, 25]))])
    async with served(gateway) as server, raw_client(server) as client:
        for number in range(MESSAGES):
            client.websocket.send_text(json.dumps(some_message(rng, number)))
        await client.flush()
        await trio.sleep(rng.choice([0.001, 0.01, 0.05]))
        async with trio.open_nursery() as nursery:
            nursery.start_soon(server.aclose)
            answers = await all_answers(client, None)
            await client.leave()
    total = gateway.statistics().total
    # What it had not read is not lost on the client: its socket was closed, and not 1000.
    assert total.messages_received == len(answers)
    assert "cancelled" not in total.calls
    with_id = [json.dumps(each["id"]) for each in answers if "id" in each]
    assert len(with_id) == len(set(with_id))
