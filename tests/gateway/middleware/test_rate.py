"""How many messages there may be in a second. The buckets themselves: tests/test_rates.py."""

from __future__ import annotations

from typing import Any

import pytest
import trio

from restsock.gateway import Rate, reply_to_failure
from tests.gateway.middleware.calls import Backend, failure, message, session_of


async def test_so_many_at_once_and_then_as_they_come(autojump_clock: object) -> None:
    backend, rate = Backend(), Rate(2, burst=3)
    for _ in range(3):
        await rate(message(), backend)
    failed = await failure(rate(message(), backend))
    assert (failed.status, failed.may_have_run, failed.retry_after) == (429, False, 0.5)
    await trio.sleep(0.5)
    await rate(message(), backend)
    assert len(backend.calls) == 4


async def test_the_client_is_told_when_to_come_again(autojump_clock: object) -> None:
    rate = Rate("6/m", burst=1)
    await rate(message(), Backend())
    reply = reply_to_failure(message(), await failure(rate(message(), Backend())))
    assert reply.status == 429
    assert reply.body["retry_after"] == 10
    assert reply.headers["retry-after"] == "10"


async def test_a_part_of_a_second_is_a_second_in_the_field_for_it(autojump_clock: object) -> None:
    rate = Rate(0.8)
    await rate(message(), Backend())
    reply = reply_to_failure(message(), await failure(rate(message(), Backend())))
    assert reply.body["retry_after"] == 1.25
    assert reply.headers["retry-after"] == "2"  # 1 would be too soon


async def test_each_key_has_its_own(autojump_clock: object) -> None:
    backend, rate = Backend(), Rate(1)
    await rate(message(session=session_of(principal="eve")), backend)
    await rate(message(session=session_of(principal="joe")), backend)
    again = message(session=session_of("another", principal="eve"))
    assert (await failure(rate(again, backend))).status == 429


async def test_no_key_no_rate(autojump_clock: object) -> None:
    rate = Rate(1, key=lambda m: None if m.key == "ping" else m.session.id)
    for _ in range(5):
        await rate(message("ping"), Backend())
    await rate(message(), Backend())
    assert (await failure(rate(message(), Backend()))).status == 429


async def test_keys_that_are_known_have_a_bound(autojump_clock: object) -> None:
    rate = Rate(0.001, key="session", max_keys=5)
    for number in range(100):
        await rate(message(session=session_of(str(number))), Backend())
    assert len(rate._buckets) == 5


@pytest.mark.parametrize(
    ("rate", "options", "words"),
    [
        (0, {}, "Rate.rate must be"),
        (-1, {}, "Rate.rate must be"),
        (float("nan"), {}, "Rate.rate must be"),
        (None, {}, "Rate.rate must be"),
        ("5/d", {}, "not a rate"),
        (1, {"burst": 0.5}, "Rate.burst must be"),
        (1, {"max_keys": 0}, "Rate.max_keys must be"),
        (1, {"key": "galaxy"}, "a scope is one of"),
    ],
)
def test_what_is_no_rate(rate: Any, options: Any, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        Rate(rate, **options)
