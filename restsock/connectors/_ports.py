"""Ports: where the messages of an input go to, and those of an output come from.

Their keys are StreamKit's, with a few more; docs/connectors.md says what they mean.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from msgspec import UNSET

from restsock.hub import ConfigError
from restsock.messaging.bridge import SubjectTemplate

from ._tables import InputTables, OutputTables, PortType, SourceTable

__all__ = ["STDIO_SINK", "STDIO_SOURCE", "Sink", "Sinks", "Source", "sinks_of", "sources_of"]

# The port of an input for requests, as StreamKit calls it. All others are for data.
_CONTROL = "ws_control"
_WINDOW = {"nats": 1000, "jetstream": 64}


@dataclass(frozen=True, kw_only=True)
class Sink:
    """Where the messages of an input go.

    Attributes:
        key: where it stands in the file.
        type: `"stdio"`: lines on stdout; `"nats"`: core NATS; `"jetstream"`: a stream.
        subject: of NATS.
        required: whether peers get their acks after this one only.
        ordered: whether the messages of a peer are published one after the other.
    """

    key: str
    type: PortType
    subject: str = ""
    required: bool = True
    ordered: bool = True


@dataclass(frozen=True, kw_only=True)
class Sinks:
    """All that an input has.

    Attributes:
        data: for messages.
        control: a subject of NATS for requests; `None` if they are answered here.
    """

    data: Sequence[Sink]
    control: str | None


@dataclass(frozen=True, kw_only=True)
class Source:
    """Where the messages of an output come from.

    Attributes:
        key: where it stands in the file.
        type: `"stdio"`: lines on stdin; `"nats"`: core NATS; `"jetstream"`: a consumer of a stream.
        subject: of NATS, with wildcards.
        stream: the stream; empty: the one that has the subject.
        consumer: the name of the durable consumer.
        queue: of core NATS: the queue group; empty for none.
        window: how many messages there may be at once that are not handled.
    """

    key: str
    type: PortType
    subject: str = ""
    stream: str = ""
    consumer: str = ""
    queue: str = ""
    window: int = 1


STDIO_SINK = Sink(key="ports", type="stdio")
STDIO_SOURCE = Source(key="ports", type="stdio")


def sinks_of(tables: InputTables) -> Sinks:
    """The ports of an input; lines on stdout where there are none for data.

    Raises:
        ConfigError: one is not valid; it names its key.
    """
    if tables.ports.inputs:
        raise ConfigError("ports.inputs", "messages come from peers: see server, and client")
    data: list[Sink] = []
    control: str | None = None
    for number, port in enumerate(tables.ports.outputs):
        key = f"ports.outputs[{number}]"
        if port.type != "stdio":
            _check_subject(port.subject, f"{key}.subject")
        elif port.subject:
            raise ConfigError(f"{key}.subject", 'a port of the type "stdio" has none')
        if port.name == _CONTROL:
            if control is not None or port.type != "nats":
                raise ConfigError(key, f'there is one port {_CONTROL}, of the type "nats"')
            if not tables.bidirectional.enabled:
                raise ConfigError(key, "bidirectional.enabled = false refuses all requests")
            control = port.subject
            continue
        data.append(
            Sink(
                key=key,
                type=port.type,
                subject=port.subject,
                required=port.required,
                ordered=port.ordered,
            )
        )
    _check_stdio([port.type for port in data], "ports.outputs")
    return Sinks(data=data or [STDIO_SINK], control=control)


def sources_of(tables: OutputTables) -> Sequence[Source]:
    """The ports of an output; lines on stdin where there are none.

    Raises:
        ConfigError: one is not valid; it names its key.
    """
    if tables.ports.outputs:
        raise ConfigError("ports.outputs", "messages go to peers: see server, and client")
    if tables.subjects and tables.ports.inputs:
        raise ConfigError("subjects", "ports.inputs says where messages come from: give one")
    found = [
        Source(key=f"subjects[{number}]", type="nats", subject=subject, window=_WINDOW["nats"])
        for number, subject in enumerate(tables.subjects)
    ]
    for number, port in enumerate(tables.ports.inputs):
        found.append(_source(port, f"ports.inputs[{number}]"))
    _check_stdio([port.type for port in found], "ports.inputs")
    return found or [STDIO_SOURCE]


def _source(port: SourceTable, key: str) -> Source:
    if port.type != "stdio" and not port.subject:
        raise ConfigError(f"{key}.subject", "a subject of NATS is needed")
    where = {
        "subject": ("nats", "jetstream"),
        "queue": ("nats",),
        "stream_name": ("jetstream",),
        "consumer_name": ("jetstream",),
    }
    for name, types in where.items():
        if getattr(port, name) and port.type not in types:
            raise ConfigError(f"{key}.{name}", f"a port of the type {port.type!r} has none")
    if port.window is not UNSET and port.type == "stdio":
        raise ConfigError(f"{key}.window", "a port of the type 'stdio' has none")
    window = _WINDOW.get(port.type, 1) if port.window is UNSET else port.window
    return Source(
        key=key,
        type=port.type,
        subject=port.subject,
        stream=port.stream_name,
        consumer=port.consumer_name or f"restsock-{port.name}",
        queue=port.queue,
        window=window,
    )


def _check_subject(subject: str, key: str) -> None:
    try:
        SubjectTemplate(subject, names=())
    except ValueError as exc:
        raise ConfigError(key, str(exc)) from None


def _check_stdio(types: Sequence[PortType], key: str) -> None:
    if types.count("stdio") > 1:
        raise ConfigError(key, 'there is one port of the type "stdio"')
