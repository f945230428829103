"""The handshake: its order, its JSON, its bounds."""

from __future__ import annotations

import json
from typing import Any

import pytest

from restsock._exceptions import RemoteProtocolError
from restsock._options import Limits
from restsock.protocol import HelloReceived

from .ends import End, frame

META = b'{"Type":"ClientHandshakeMetaData","Meta":{"a":1}}\n'
ACK = b'{"Type":"ClientHandshakeAckFrame"}\n'
ID = b'{"Type":"ServerHandshakeConnectionID","ConnectionID":"some-id"}\n'


def refused(end: End) -> int | None:
    return None if end.problem is None else end.problem.close_code


@pytest.mark.parametrize(
    "messages",
    [
        [ACK],
        [ID],
        [META, META],
        [META, ACK],  # before there is an id
        [b""],
        [b"null"],
        [b"{"],
        [b'{"Type":"ClientHandshakeMetaData","Meta":NaN}'],
        [b'{"Type":"ClientHandshakeMetaData","Type":"ClientHandshakeMetaData","Meta":1}'],
        [b'{"Type":["ClientHandshakeMetaData"],"Meta":1}'],
        [b'{"Type":"ClientHandshakeMetaData","Meta":' + b"[" * 5000 + b"]" * 5000 + b"}"],
        [b'{"Type":"ClientHandshakeMetaData","Meta":"\xff"}'],
        [b'{"Type":"ClientHandshakeMetaData","Meta":"\\ud800"}'],
        [b'{"Type":"ClientHandshakeMetaData","Meta":1e999}'],
    ],
)
def test_a_listener_takes_no_wrong_step(messages: list[bytes]) -> None:
    end = End("listener")
    end.receive(*(frame(message, to=end) for message in messages))
    assert refused(end) == 4000
    assert not end.multiplexer.accepts_streams


@pytest.mark.parametrize(
    "message",
    [
        META,
        ACK,
        b'{"Type":"ServerHandshakeConnectionID"}',
        b'{"Type":"ServerHandshakeConnectionID","ConnectionID":""}',
        b'{"Type":"ServerHandshakeConnectionID","ConnectionID":7}',
        b'{"Type":"ServerHandshakeConnectionID","ConnectionID":"a\\nb"}',
    ],
)
def test_a_dialer_takes_no_wrong_step(message: bytes) -> None:
    end = End("dialer")
    end.multiplexer.send_hello(None, None)
    end.receive(frame(message, to=end))
    assert refused(end) == 4000


def test_a_message_without_end_is_refused_at_its_bound() -> None:
    end = End("listener", limits=Limits(max_metadata=1024))
    end.receive(frame(b'{"Type":"ClientHandshakeMetaData","Meta":"', to=end, fin=False))
    for _ in range(4):
        end.receive(frame(b"x" * 300, to=end, opcode=0, fin=False))
    assert end.problem is not None
    assert (end.problem.close_code, end.problem.limit) == (4000, "max_metadata")


@pytest.mark.parametrize("limit", ["max_metadata_depth", "max_metadata_memory"])
def test_metadata_have_the_bounds_of_any(limit: str) -> None:
    limits = Limits(max_metadata_depth=4, max_metadata_memory=4096)
    metadata: Any = [[[[[[1]]]]]] if limit.endswith("depth") else [{}] * 200
    text = json.dumps({"Type": "ClientHandshakeMetaData", "Meta": metadata}).encode()
    end = End("listener", limits=limits)
    end.receive(frame(text, to=end))
    if limit.endswith("memory"):
        end = End("listener", limits=Limits(max_metadata_memory=1024))
        end.receive(frame(text.replace(b"{}", b'{"a":{}}'), to=end))
    assert end.problem is not None
    assert end.problem.limit == limit


def test_metadata_without_a_value_are_null() -> None:
    end = End("listener")
    end.receive(frame(b'{"Type":"ClientHandshakeMetaData"}', to=end))
    assert end.told() == [HelloReceived(None, None)]


def test_a_name_comes_from_the_metadata() -> None:
    end = End("listener", name_of=lambda metadata: metadata["name"])
    end.receive(frame(b'{"Type":"ClientHandshakeMetaData","Meta":{"name":"go"}}', to=end))
    assert end.told() == [HelloReceived("go", {"name": "go"})]
    end = End("listener", name_of=lambda metadata: "a\nb")
    end.receive(frame(META, to=end))
    assert refused(end) == 4000

    def fail(metadata: Any) -> str:
        raise RemoteProtocolError("no name", close_code=1008)

    end = End("listener", name_of=fail)
    end.receive(frame(META, to=end))
    assert refused(end) == 4000


def test_what_follows_the_last_step_is_http() -> None:
    end = End("listener")
    end.receive(frame(META, to=end))
    end.multiplexer.send_welcome("id")
    end.settle()
    end.receive(frame(ACK, to=end) + frame(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n", to=end))
    assert ("request", b"GET", b"/", [(b"Host", b"a")]) in end.told()
