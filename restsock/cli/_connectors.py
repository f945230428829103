"""`restsock input` and `restsock output`: messages of plain WebSockets as lines of JSON."""

from __future__ import annotations

import os
from collections.abc import Awaitable, Callable, Iterator
from contextlib import AsyncExitStack, contextmanager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

import click

from restsock._addresses import url_host

from ._channels import write_line
from ._collector import collect_seldom
from ._failures import Failure
from ._options import ADDRESS, PATH, output_options

if TYPE_CHECKING:
    from restsock.connectors import Carrier, InputConfig, OutputConfig

    from ._output import Output

__all__ = ["input_command", "output_command"]

C = TypeVar("C")

_CHUNK = 65536
_STDIN = 0

_config_option = click.option(
    "-c", "--config", "path", type=PATH, required=True, help="The file, in JSON or TOML."
)
_nats_option = click.option(
    "--nats",
    metavar="URL",
    multiple=True,
    envvar="RESTSOCK_NATS",
    show_envvar=True,
    help="The NATS server, instead of the file's; may be repeated.",
)
_health_option = click.option(
    "--health", type=ADDRESS, help="Answer /health and /metrics here, for monitoring."
)


@click.command("input", short_help="Receive messages from WebSockets as lines.")
@_config_option
@_nats_option
@_health_option
@output_options
def input_command(
    *, output: Output, path: Path, nats: tuple[str, ...], health: tuple[str, int] | None
) -> int:
    """Receive messages from plain WebSockets, and write each as a line of JSON to stdout.

    \b
    restsock input --config input.json | your-program

    With ports of NATS in the file, messages are published there instead. A message is acknowledged
    once its line is written, or NATS has it. SIGTERM and Ctrl-C finish the messages that were read.
    The file is that of StreamKit's WebSocket input; docs/connectors.md has its keys. Beyond
    loopback, set auth (or client_ca) in the file, to say who may connect; a line on stderr warns if
    anybody may.
    """
    from restsock.connectors import load_input

    config = _load(partial(load_input, path, nats=nats), path)
    import trio

    with _says(path):
        collect_seldom()
        return trio.run(_input, config, output, health)


@click.command("output", short_help="Send lines from stdin to WebSockets.")
@_config_option
@_nats_option
@_health_option
@output_options
def output_command(
    *, output: Output, path: Path, nats: tuple[str, ...], health: tuple[str, int] | None
) -> int:
    """Send each line of JSON from stdin to all connected plain WebSockets.

    \b
    your-program | restsock output --config output.json

    With ports of NATS in the file, messages come from there instead. It reads nothing while nobody
    is connected. It ends when the last line is sent, or with delivery_mode at-least-once, when it
    is acknowledged. Exit code 1 means that not all were. The file is that of StreamKit's WebSocket
    output; docs/connectors.md has its keys. Beyond loopback, set auth (or client_ca) in the file,
    to say who may connect; a line on stderr warns if anybody may.
    """
    from restsock.connectors import load_output

    config = _load(partial(load_output, path, nats=nats), path)
    import trio

    with _says(path):
        collect_seldom()
        return trio.run(_output, config, output, health)


def _load(load: Callable[[], C], path: Path) -> C:
    from ._variables import check_variables

    check_variables()
    with _says(path):
        try:
            return load()
        except OSError as exc:
            name = exc.filename or path
            raise Failure(f"cannot read {name}: {exc.strerror or exc}", "check --config") from None


@contextmanager
def _says(path: Path) -> Iterator[None]:
    """Says what is wrong with the file."""
    from restsock.hub import ConfigError

    try:
        yield
    except ConfigError as exc:
        raise Failure(f"{path}: {exc}", "docs/connectors.md has all keys") from None


class _Whole:
    """A carrier and what is around it, such as NATS: closed when all of it has come to its end.

    Entered around that.
    """

    def __init__(self, carrier: Carrier) -> None:
        import trio

        self.carrier = carrier
        self._ended = trio.Event()

    async def __aenter__(self) -> None:
        pass

    async def __aexit__(self, *exc: object) -> None:
        self._ended.set()

    async def aclose(self, *, grace: float | None = None) -> None:
        await self.carrier.aclose(grace=grace)
        await self._ended.wait()


async def _input(config: InputConfig, output: Output, health: tuple[str, int] | None) -> int:
    from restsock.connectors import Carrier, run_input

    from ._peer import Signals

    whole = _Whole(Carrier(config))
    signals = Signals(whole)
    async with signals.drained(), whole:
        run = partial(run_input, whole.carrier, config, write_line)
        await _with_health(whole.carrier, run, output, health, config.channel)
    return 0 if signals.exit_code is None else signals.exit_code


async def _output(config: OutputConfig, output: Output, health: tuple[str, int] | None) -> int:
    from restsock.connectors import Carrier, run_output

    from ._peer import Signals

    whole = _Whole(Carrier(config))
    signals = Signals(whole)
    async with signals.drained(), whole:
        run = partial(run_output, whole.carrier, config, partial(os.read, _STDIN, _CHUNK))
        sent = await _with_health(whole.carrier, run, output, health, config.subject)
    if sent.refused or sent.lost:
        raise Failure(
            f"{sent.messages} messages were sent; {sent.refused} lines were none,"
            f" {sent.lost} messages were lost"
        )
    return 0 if signals.exit_code is None else signals.exit_code


async def _with_health(
    carrier: Carrier,
    run: Callable[..., Awaitable[C]],
    output: Output,
    address: tuple[str, int] | None,
    channel: str,
) -> C:
    """Runs a connector, and beside it what tells of its health."""
    from restsock.connectors import health_server

    def say_where() -> None:
        output.say(f"{carrier.doing} {carrier.url}")
        if carrier.open_to_all:
            output.say("all who reach the port may connect: auth in the file says who may")

    async with AsyncExitStack() as stack:
        if address is not None:
            told = health_server(carrier, *address, channels=[channel])
            server = await stack.enter_async_context(told)
            output.say(f"health at http://{url_host(server.address[0])}:{server.address[1]}/health")
        return await run(on_ready=say_where)
