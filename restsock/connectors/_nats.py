"""NATS, where ports of a connector are there: its address, who this side is, and the streams."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from restsock._go_duration import go_duration
from restsock.hub import ConfigError
from restsock.tls import ClientTLS

from ._keys import at_key
from ._ports import Sink, Source

if TYPE_CHECKING:
    from restsock.messaging.bridge import Publisher, Subscriber
    from restsock.messaging.nats import Nats, NatsOptions

    from ._tables import NatsTable

__all__ = ["NatsConfig", "check_streams", "nats_config", "publisher_of", "subscriber_of"]

_JETSTREAM = "jetstream"


@dataclass(frozen=True, kw_only=True)
class NatsConfig:
    """Where NATS is, and who this side is there.

    Attributes:
        servers: URLs.
        options: as of `restsock.messaging.nats.Nats`.
    """

    servers: Sequence[str]
    options: NatsOptions

    def make(self) -> Nats:
        """One to be entered."""
        from restsock.messaging.nats import Nats

        return Nats(self.servers, options=self.options)


def nats_config(
    table: NatsTable | None,
    given: Sequence[str],
    ports: Sequence[Sink | Source],
    control: str | None,
) -> NatsConfig | None:
    """What a file says of NATS; `None` if no port is there.

    Args:
        table: of the file.
        given: URLs of servers, in the place of those in the file.
        ports: for messages.
        control: the subject for requests.

    Raises:
        ConfigError: something in it is wrong; it says which key.
    """
    first = next((port for port in ports if port.type != "stdio"), None)
    if first is None and control is None:
        if table is not None or given:
            raise ConfigError(
                "nats", "no port is of the type nats or jetstream, so nothing uses it"
            )
        return None
    key = "ports.outputs" if first is None else first.key
    servers = [*given] or ([] if table is None else [*table.servers])
    if not servers:
        raise ConfigError("nats.servers", f"{key} is of NATS: name a server here, or with --nats")
    try:
        from restsock.messaging.nats import Nats
    except ImportError as exc:
        raise ConfigError(key, str(exc)) from None
    options = _options(table)
    with at_key("nats.servers"):
        nats = Nats(servers, options=options)
    for port in ports:
        if isinstance(port, Source) and port.type != "stdio":
            with at_key(port.key):
                subscriber_of(nats, port, port.stream or "any")
    return NatsConfig(servers=servers, options=options)


def _options(table: NatsTable | None) -> NatsOptions:
    from restsock.messaging.nats import NatsOptions

    if table is None:
        return NatsOptions()
    names = ("credentials", "nkey_seed", "user", "password_env", "password_file", "token_env")
    given: dict[str, Any] = {name: getattr(table, name) for name in (*names, "token_file", "name")}
    for name in ("ready_timeout", "ack_timeout"):
        with at_key(f"nats.{name}"):
            given[name] = go_duration(getattr(table, name))
            NatsOptions(**{name: given[name]})
    if table.tls is not None:
        with at_key("nats.tls"):
            given["tls"] = ClientTLS(
                ca=table.tls.ca, certificate=table.tls.certificate, key=table.tls.key
            )
    elif table.tls_first:
        raise ConfigError("nats.tls_first", "there is no table nats.tls")
    with at_key("nats"):
        options = NatsOptions(**given, tls_first=table.tls_first)
        options.authentication()  # for its errors: the secrets are there
    return options


def publisher_of(nats: Nats, sink: Sink) -> Publisher:
    """What publishes to a port."""
    return nats.jetstream() if sink.type == _JETSTREAM else nats.core()


def subscriber_of(nats: Nats, source: Source, stream: str) -> Subscriber:
    """What gives the messages of a port.

    Raises:
        ValueError: a name in it is not valid.
    """
    if source.type == _JETSTREAM:
        return nats.pull(stream, source.consumer, subject=source.subject, window=source.window)
    return nats.subscribe(source.subject, queue=source.queue, window=source.window)


async def check_streams(nats: Nats, ports: Sequence[Sink | Source]) -> dict[str, str]:
    """Finds the stream of each port of JetStream.

    Returns:
        Their names, by the keys of the ports.

    Raises:
        ConfigError: there is none; it names the key.
        BrokerUnavailable: JetStream does not answer.
    """
    found: dict[str, str] = {}
    for port in ports:
        if port.type != _JETSTREAM:
            continue
        stream = port.stream if isinstance(port, Source) else ""
        stream = stream or await nats.stream_of(port.subject) or ""
        if not stream:
            raise ConfigError(
                f"{port.key}.subject", f"no stream of JetStream has the subject {port.subject!r}"
            )
        found[port.key] = stream
    return found
