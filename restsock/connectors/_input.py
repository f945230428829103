"""`run_input`: from peers to lines, and to NATS."""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable, Mapping
from contextlib import AsyncExitStack
from typing import TYPE_CHECKING, Any

import trio

from restsock._exceptions import RequestTimeout
from restsock.messaging import AskFailed, AskTimeout, MessageStream
from restsock.messaging.bridge import publish_to

from ._carrier import Carrier
from ._lines import line_of
from ._nats import check_streams, publisher_of

if TYPE_CHECKING:
    from restsock.messaging import Request
    from restsock.messaging.nats import Nats

    from ._config import InputConfig

__all__ = ["run_input"]


async def run_input(
    carrier: Carrier,
    config: InputConfig,
    write: Callable[[bytes], object],
    *,
    on_ready: Callable[[], object] | None = None,
) -> None:
    """Receives messages from peers until the carrier is closed, and passes each to all ports.

    For a port on stdout, each is written as a line of JSON. A message is acknowledged when all
    ports that are required have it: `write` has returned, or NATS has confirmed it. If cancelled,
    messages that were not acknowledged are sent again by peers that do that.

    Args:
        carrier: of the configuration; it is entered here.
        config: made by `load_input`.
        write: writes a line, and has it flushed. It is called in a thread, and may block.
        on_ready: is called on the loop, once peers can connect.

    Raises:
        ConfigError: there is no stream of JetStream for a port; it names the key.
        BrokerUnavailable: there is no NATS, or no JetStream.
        OSError: what `write` raises; or the carrier cannot listen.
        WebSocketRefused: as of `Carrier.wait_closed`.
        HandshakeError: likewise.
    """
    failures: list[Exception] = []

    async def write_all(stream: MessageStream) -> None:
        try:
            async for message in stream:
                line = line_of(message)
                await trio.to_thread.run_sync(write, line, abandon_on_cancel=True)
                await message.ack()
        except OSError as exc:
            failures.append(exc)
            await carrier.aclose(grace=0)

    stdio = any(sink.type == "stdio" for sink in config.sinks)
    with carrier.scope:
        async with AsyncExitStack() as stack:
            if config.nats is not None:
                nats = carrier.nats = config.nats.make()
                await stack.enter_async_context(nats)
                streams = await check_streams(nats, config.sinks)
                _add_handlers(carrier, config, nats, streams)
            stream = carrier.messaging.messages(config.channel) if stdio else None
            await stack.enter_async_context(carrier)
            nursery = await stack.enter_async_context(trio.open_nursery())
            if stream is not None:
                nursery.start_soon(write_all, stream)
            if on_ready is not None:
                on_ready()
            try:
                await carrier.wait_closed()
            except Exception as exc:  # noqa: BLE001  # raised below, where no nursery wraps it
                failures.append(exc)
            nursery.cancel_scope.cancel()
    if failures:
        raise failures[0]


def _add_handlers(
    carrier: Carrier, config: InputConfig, nats: Nats, streams: Mapping[str, str]
) -> None:
    messaging = carrier.messaging
    first: dict[str, str] = {}  # the subject of the first port of each stream
    for sink in config.sinks:
        if sink.type != "stdio":
            stream = streams.get(sink.key, "")
            same = not stream or first.setdefault(stream, sink.subject) == sink.subject
            add = messaging.on(config.channel, required=sink.required, ordered=sink.ordered)
            publisher = publisher_of(nats, sink)
            suffix = "" if same else f":{sink.subject}"
            add(publish_to(publisher, sink.subject, id_suffix=suffix))
    if config.control is not None:
        subject = f"{config.control}.request"
        messaging.method("*")(_asks(nats, subject, config.options.ask_timeout))


def _asks(nats: Nats, subject: str, timeout: float) -> Callable[[Request], Awaitable[Any]]:
    """A method that has its requests answered by whoever listens to a subject of NATS."""

    async def ask(request: Request) -> Any:
        asked = {"method": request.method, "params": request.params}
        body = json.dumps(asked).encode()
        try:
            answer = await nats.request(subject, body, timeout=timeout)
        except RequestTimeout as exc:
            raise AskTimeout(f"no answer on {subject!r} within {timeout:g} s") from exc
        if answer is None:
            raise AskFailed(f"nobody answers on {subject!r}")
        try:
            found = json.loads(answer.body)
        except (ValueError, RecursionError):
            raise AskFailed("an answer of NATS that is not JSON") from None
        if not isinstance(found, dict):
            return found
        if {"stream", "seq"} <= found.keys() <= {"stream", "seq", "domain", "duplicate"}:
            raise AskFailed(f"nobody answers on {subject!r}: a stream has it among its subjects")
        if found.get("status") == "error":
            error = found.get("error")
            raise AskFailed(error if isinstance(error, str) else "failed")
        if found.get("status") == "ok" and "result" in found:
            return found["result"]
        return found

    return ask
