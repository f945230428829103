"""What has failed is answered, in words that may be others."""

from __future__ import annotations

from typing import Any

import pytest
import trio

from restsock import PeerUnavailable
from restsock.gateway import CallFailed, Errors, Reply
from tests.gateway.middleware.calls import Backend, hang, message, not_run


@pytest.mark.parametrize(
    ("error", "status"), [(not_run(404), 404), (PeerUnavailable("x"), 503), (KeyError("x"), 500)]
)
async def test_every_error_is_a_problem(error: Exception, status: int) -> None:
    reply = await Errors()(message(), Backend(error))
    assert reply.status == reply.body["status"] == status
    assert reply.headers["content-type"] == "application/problem+json"


async def test_a_fault_is_logged_and_not_shown(caplog: pytest.LogCaptureFixture) -> None:
    reply = await Errors()(message(body="secret"), Backend(KeyError("inside")))
    assert "inside" not in str(reply.body)
    assert "KeyError: 'inside'" in caplog.text
    assert "secret" not in caplog.text


async def test_each_failure_is_seen_and_may_be_put_otherwise() -> None:
    seen: list[Any] = []

    async def see(asked: Any, reply: Reply, error: Exception | None) -> Reply | None:
        seen.append((asked.key, reply.status, type(error)))
        return reply.replace(body="sorry") if reply.status == 404 else None

    errors = Errors(see)
    assert (await errors(message(), Backend(not_run(404)))).body == "sorry"
    assert (await errors(message(), Backend(Reply("as it came", 418)))).body == "as it came"
    assert (await errors(message(), Backend("fine"))).body == "fine"
    assert seen == [("quotes.get", 404, CallFailed), ("quotes.get", 418, type(None))]


async def test_a_plain_function_sees_them_too() -> None:
    errors = Errors(lambda asked, reply, error: Reply("plain", reply.status))
    assert (await errors(message(), Backend(not_run(404)))).body == "plain"


async def test_one_that_fails_itself_changes_nothing(caplog: pytest.LogCaptureFixture) -> None:
    def broken(*_: object) -> None:
        raise ZeroDivisionError

    assert (await Errors(broken)(message(), Backend(not_run(404)))).status == 404
    assert "on_failure of Errors has failed" in caplog.text


async def test_whoever_leaves_is_no_error(autojump_clock: object) -> None:
    with trio.move_on_after(1) as scope:
        await Errors()(message(), hang)
    assert scope.cancelled_caught


def test_it_has_to_be_a_function() -> None:
    with pytest.raises(TypeError, match="on_failure must be a function, not int"):
        Errors(7)  # type: ignore[arg-type]
