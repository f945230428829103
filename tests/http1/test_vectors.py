"""spec/vectors/plain_http.json: one meaning for each head and body, or none.

What follows a message that is refused must never run: another reader in front of this one may have
taken it for a part of the body.
"""

from __future__ import annotations

import re

import pytest

from restsock.protocol import DataReceived, EndReceived, RequestReceived
from tests.protocol.vectors import Case, as_bytes, as_headers, load, params

from .front import Answering, Front

VECTORS = load("plain_http.json")
EVIL = b"GET /evil HTTP/1.1\r\nHost: a\r\n\r\n"


class Declining(Answering):
    """Answers an upgrade at once, which its client waits for."""

    def react(self, event: object) -> None:
        if isinstance(event, RequestReceived) and event.head.upgrade is not None:
            self.answer(event.stream_id)
        else:
            super().react(event)  # type: ignore[arg-type]


def fed(data: bytes, *, whole: bool) -> Declining:
    front = Declining()
    front.receive(*([data] if whole else [bytes([byte]) for byte in data]))
    return front


def statuses(front: Front) -> list[int]:
    return [int(status) for status in re.findall(rb"HTTP/1\.1 ([0-9]{3}) ", front.out)]


@pytest.mark.parametrize("whole", [True, False])
@pytest.mark.parametrize("case", params(VECTORS["bad"]))
def test_bad(case: Case, *, whole: bool) -> None:
    front = fed(as_bytes(case["receive"]) + EVIL, whole=whole)
    allowed = case["status"] if isinstance(case["status"], list) else [case["status"]]
    (status,) = statuses(front)
    assert status in allowed
    assert b"\r\nConnection: close\r\n" in front.out
    assert front.layer.over
    assert not any(isinstance(event, EndReceived) for event in front.events)
    heads = [event for event in front.events if isinstance(event, RequestReceived)]
    assert len(heads) == case.get("begins", False)


@pytest.mark.parametrize("whole", [True, False])
@pytest.mark.parametrize("case", params(VECTORS["good"]))
def test_good(case: Case, *, whole: bool) -> None:
    front = fed(as_bytes(case["receive"]), whole=whole)
    found = []
    for event in front.told:
        if isinstance(event, RequestReceived):
            head = event.head
            found.append({"method": head.method, "target": head.target, "headers": head.headers})
        elif isinstance(event, DataReceived):
            found[-1]["body"] = event.data
        else:
            assert isinstance(event, EndReceived)
            if event.trailers:
                found[-1]["trailers"] = event.trailers
    assert len(found) == len(case["requests"])
    for got, want in zip(found, case["requests"], strict=True):
        assert got["method"] == want["method"].encode()
        assert got["target"] == want["target"].encode()
        if "headers" in want:
            assert list(got["headers"]) == as_headers(want["headers"])
        assert got.get("body", b"") == want.get("body", "").encode()
        assert list(got.get("trailers", [])) == as_headers(want.get("trailers", []))
    assert statuses(front) == [200] * len(found)
    assert front.layer.over == case.get("closes", False)
    # And the next request is the next request.
    front.receive(EVIL)
    assert statuses(front) == [200] * (len(found) + (not case.get("closes", False)))
