"""`restsock tail` and `restsock publish`: messages of the channels of a hub or listener."""

from __future__ import annotations

import math
import os
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any, TypeVar

import click

from ._exit_codes import ExitCode
from ._failures import Failure
from ._hub_address import HubAddress
from ._options import hub_options, json_option, output_options, timeout_option

if TYPE_CHECKING:
    from restsock.client import Client
    from restsock.messaging import Messaging, Session

    from ._output import Output

__all__ = ["publish", "tail", "write_line"]

T = TypeVar("T")

_STDOUT = 1


def write_line(line: bytes) -> None:
    """Writes a line to stdout, past the buffers of Python: then it is flushed."""
    while line:
        line = line[os.write(_STDOUT, line) :]


@click.command("tail", short_help="Write the messages of a channel as they are published.")
@click.argument("channel")
@click.option("-n", "--count", type=click.IntRange(1), help="End after this many.")
@timeout_option(10.0, "Seconds to wait for the hub.")
@json_option
@hub_options
@output_options
def tail(
    channel: str, *, hub: HubAddress, output: Output, count: int | None, timeout: float
) -> int:
    """Write the messages of CHANNEL as they are published, each as a line of JSON to stdout.

    \b
    restsock tail readings --count 10 | jq .body

    It dials the hub, or another listener with messages, as a peer without a name. When the
    connection is lost, it reconnects, and gets the missed messages that the hub still has. With
    --json each line has an "event": subscribed, message or missing. A hub needs enabled = true in
    [messaging].
    """
    import trio

    return trio.run(_tail, channel, hub, output, count, timeout)


@click.command("publish", short_help="Publish a message on a channel.")
@click.argument("channel")
@click.argument("body", default="-")
@timeout_option(10.0, "Seconds to wait until the hub has it.")
@json_option
@hub_options
@output_options
def publish(channel: str, body: str, *, hub: HubAddress, output: Output, timeout: float) -> int:
    """Publish BODY on CHANNEL, to all its subscribers.

    \b
    restsock publish readings '{"t": 21.5}'
    sensors | restsock publish readings

    BODY is JSON, or else text; - or nothing reads stdin. It is sent until the hub, or a handler of
    another listener, has it. Exit code 5 means that they may or may not have it. A hub needs
    enabled = true in [messaging].
    """
    import trio

    if body == "-":
        try:
            body = sys.stdin.buffer.read().decode().rstrip("\r\n")
        except UnicodeDecodeError:
            raise Failure("stdin is not UTF-8") from None
    return trio.run(_publish, channel, _value_of(body), hub, output, timeout)


def _value_of(body: str) -> Any:
    from restsock._strict_json import NotJSON, read_json

    try:
        return read_json(body)
    except NotJSON:
        return body


async def _tail(
    channel: str, hub: HubAddress, output: Output, count: int | None, timeout: float
) -> int:
    import trio

    from restsock.connectors import line_of
    from restsock.messaging import Messaging

    from ._peer import Signals

    messaging = Messaging()
    messaging.on_recovery(lambda session, name, missed: _tell_missing(output, name, missed))
    stream = _checked(lambda: messaging.messages(channel))
    client = _client(hub, messaging)
    signals = Signals(client)
    broken: list[OSError] = []
    number = 0

    async def write_all(scope: trio.CancelScope) -> None:
        nonlocal number
        try:
            async for message in stream:
                line = line_of(message)
                if output.as_json:
                    line = b'{"event":"message",' + line[1:]
                await trio.to_thread.run_sync(write_line, line, abandon_on_cancel=True)
                await message.ack()
                number += 1
                if number == count:
                    break
        except OSError as exc:  # whoever has read it is gone
            broken.append(exc)
        scope.cancel()

    async with signals.drained(), _connected(client, messaging, timeout) as session:
        await _asked(session.subscribe(channel, timeout=timeout))
        output.event("subscribed", channel=channel, hub=str(client.address))
        output.say(f"subscribed to {channel} at {client.address}")
        async with trio.open_nursery() as nursery:
            nursery.start_soon(write_all, nursery.cancel_scope)
            await client.wait_closed()
            nursery.cancel_scope.cancel()
    if broken:
        raise broken[0]
    if signals.exit_code is not None:
        return signals.exit_code
    if number == count:
        return ExitCode.OK
    raise Failure("the hub has ended the connection", "'restsock doctor' looks for more")


def _tell_missing(output: Output, channel: str, missed: int | None) -> None:
    output.event("missing", channel=channel, count=missed)
    output.say(f"{'an unknown number of' if missed is None else missed} messages are missing")


async def _publish(channel: str, body: Any, hub: HubAddress, output: Output, timeout: float) -> int:
    import trio

    from restsock.messaging import Messaging

    messaging = Messaging()
    to = _checked(lambda: messaging.channel(channel, delivery="at_least_once"))
    client = _client(hub, messaging)
    async with _connected(client, messaging, timeout):
        id = await _asked(to.send(body))
        with trio.move_on_after(timeout) as scope:
            await to.drain()
        letters = messaging.dead_letters
    if scope.cancelled_caught:
        raise Failure(
            f"the hub has not acknowledged it within {timeout:g} s",
            "it may have it all the same; allow more time with --timeout",
            ExitCode.TIMEOUT,
        )
    if letters:
        raise Failure(f"the hub refuses the message: {letters[0].reason}", "", ExitCode.REFUSED)
    output.event("published", channel=channel, id=id)
    return ExitCode.OK


def _checked(make: Callable[[], T]) -> T:
    try:
        return make()
    except ValueError as exc:
        raise click.UsageError(str(exc)) from None


def _client(hub: HubAddress, messaging: Messaging) -> Client:
    from restsock.client import connect

    try:
        return connect(**hub.connect_arguments(), messaging=messaging)
    except (ValueError, ImportError) as exc:
        raise click.UsageError(str(exc)) from None


@asynccontextmanager
async def _connected(
    client: Client, messaging: Messaging, timeout: float
) -> AsyncIterator[Session]:
    """Runs a client; gives the session of the hub.

    Raises:
        Failure: There is none, for a reason that people have to know.
        RestsockError: The hub refuses the connection, or has closed it.
    """
    import trio

    with trio.CancelScope(deadline=trio.current_time() + timeout) as scope:
        async with messaging, client:
            await client.wait_connected()
            scope.deadline = math.inf
            session = next(iter(messaging.sessions), None)
            if session is None:
                raise Failure(
                    "the hub takes no messages", "set enabled = true in [messaging] of its file"
                )
            yield session
    if scope.cancelled_caught:
        raise Failure(
            f"no connection to {client.address} within {timeout:g} s",
            "is the hub running there? try: restsock doctor",
            ExitCode.TIMEOUT,
        )


async def _asked(call: Awaitable[T]) -> T:
    """What the hub is asked for.

    Raises:
        Failure: It does not give it.
    """
    from restsock.messaging import AskFailed, AskTimeout, MessagingError

    try:
        return await call
    except AskTimeout as exc:
        raise Failure(str(exc), "allow more time with --timeout", ExitCode.TIMEOUT) from None
    except AskFailed as exc:
        if exc.error.startswith("not allowed"):
            hint = "may the principal of this token? see [[messaging.rights]] in the hub's file"
            raise Failure(f"the hub refuses it: {exc}", hint, ExitCode.REFUSED) from None
        raise Failure(str(exc)) from None
    except MessagingError as exc:
        raise Failure(str(exc)) from None
