"""Reads spec/vectors/*.json (see the README there); drives a `Multiplexer` through their steps."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from restsock._exceptions import RemoteProtocolError
from restsock._options import Heartbeat, Limits
from restsock.protocol import (
    DataReceived,
    EndReceived,
    EnvelopeReceived,
    EnvelopesSent,
    GoAwayReceived,
    HandshakeCompleted,
    HelloReceived,
    Multiplexer,
    MultiplexerEvent,
    RequestHead,
    RequestReceived,
    ResetCode,
    ResponseHead,
    ResponseReceived,
    StopSending,
    StreamClosed,
    StreamFailed,
    StreamRejected,
)
from restsock.protocol._frames import (
    END,
    FrameType,
    decode_frame,
    decode_goaway,
    decode_reset,
    scheme_in,
)
from restsock.protocol._heads import decode_trailers, split_head
from tests.protocol.heads import decode_request, decode_response

SPEC = Path(__file__).parents[2] / "spec"

CONNECTION_ID = "9b2f7f0e-3c4d-4e5f-8a6b-7c8d9e0f1a20"
DEFAULT_SETTINGS = {
    "max_frame": 16384,
    "max_head": 65536,
    "initial_window": 65536,
    "max_streams": 128,
}

Case = dict[str, Any]


def load(name: str) -> dict[str, Any]:
    document: dict[str, Any] = json.loads((SPEC / "vectors" / name).read_text("ascii"))
    return document


def params(cases: Sequence[Case]) -> list[Any]:
    """The cases as pytest parameters, named; a repeated name would hide one of two."""
    names = [case["name"] for case in cases]
    assert len(set(names)) == len(names)
    return [pytest.param(case, id=case["name"]) for case in cases]


def as_bytes(value: Any) -> bytes:
    if isinstance(value, str):
        return bytes.fromhex(value)
    if isinstance(value, list):
        return b"".join(map(as_bytes, value))
    one = value["text"].encode("latin-1") if "text" in value else bytes.fromhex(value["hex"])
    return bytes(one * value.get("times", 1))


def as_headers(pairs: Sequence[Sequence[str]]) -> list[tuple[bytes, bytes]]:
    return [(name.encode("latin-1"), value.encode("latin-1")) for name, value in pairs]


def envelope(type: str, payload: dict[str, Any]) -> str:
    return json.dumps({"type": type, "id": "i", "timestamp": 1, "payload": payload})


def whole(message: str | tuple[bytes | memoryview, ...]) -> str | bytes:
    """A message of `Multiplexer.next_message` as it goes into the WebSocket."""
    return message if isinstance(message, str) else b"".join(message)


def drain(multiplexer: Multiplexer) -> list[str | bytes]:
    """All that the multiplexer wants to send now."""
    messages = []
    while (message := multiplexer.next_message()) is not None:
        messages.append(whole(message))
    return messages


def events(multiplexer: Multiplexer) -> list[MultiplexerEvent]:
    """All that the multiplexer has to report now."""
    return multiplexer.events.take()


def close_code(act: Callable[[], object]) -> int | None:
    """The close code that answers what a peer did, or `None` if it did right."""
    try:
        act()
    except RemoteProtocolError as exc:
        return exc.close_code
    return None


def make_multiplexer(role: str, limits: Limits | None = None) -> Multiplexer:
    return Multiplexer(
        dialer=role == "dialer",
        limits=limits or Limits(),
        heartbeat=Heartbeat(interval=None),
        new_id=lambda: "6f1d3c52-9a64-4d0b-8f0e-2b7c1a9e5d10",
        unix_ms=lambda: 1700000000000,
    )


def open_multiplexer(
    role: str, limits: Limits | None = None, remote: dict[str, int] | None = None
) -> Multiplexer:
    """A multiplexer after its handshake with a peer that has these settings."""
    multiplexer = make_multiplexer(role, limits)
    settings = {**DEFAULT_SETTINGS, **(remote or {})}
    ids = {"connection_id": CONNECTION_ID}
    if role == "dialer":
        multiplexer.send_hello(None, None)
        multiplexer.receive_message(envelope("welcome", {**ids, "settings": settings}))
    else:
        multiplexer.receive_message(envelope("hello", {"version": 1, "settings": settings}))
        multiplexer.send_welcome(CONNECTION_ID)
        multiplexer.receive_message(envelope("ready", ids))
    drain(multiplexer)
    events(multiplexer)
    return multiplexer


class Runner:
    """Runs the steps of one case."""

    def __init__(self, case: Case) -> None:
        local = case.get("local", {})
        limits = Limits(**{**DEFAULT_SETTINGS, **local, "receive_budget": 0})
        role = case["role"]
        if case.get("handshake", True):
            self.multiplexer = open_multiplexer(role, limits, case.get("remote"))
        else:
            self.multiplexer = make_multiplexer(role, limits)
        self.methods: dict[int, bytes] = {}
        self.final_heads: set[int] = set()

    def run(self, steps: Sequence[Case]) -> None:
        for number, step in enumerate(steps, 1):
            where = f"step {number}: {step}"
            closed = self.act(step)
            assert closed == step.get("close"), where
            if step.get("events") != "any":
                assert_events(events(self.multiplexer), step.get("events", []), where)
            else:
                events(self.multiplexer)
            self.assert_sends(drain(self.multiplexer), step.get("sends", []), where)

    def act(self, step: Case) -> int | None:
        """Does what a step says; returns the close code if that ends the connection."""
        if "do" in step:
            acts = step["do"]
            for act in acts if isinstance(acts, list) else [acts]:
                self.do(act)
            return None
        message = step["receive_text"] if "receive_text" in step else as_bytes(step["receive"])
        return close_code(lambda: self.multiplexer.receive_message(message))

    def do(self, what: Case) -> None:
        multiplexer = self.multiplexer
        action = what["action"]
        stream_id = what.get("stream", 0)
        if action == "hello":
            multiplexer.send_hello(what["name"], what["metadata"])
        elif action == "welcome":
            multiplexer.send_welcome(what["connection_id"], what.get("urls", ()))
        elif action == "request":
            method, target = what["method"].encode(), what["target"].encode()
            head = RequestHead(method, target, as_headers(what["headers"]), what.get("scheme"))
            body = as_bytes(what.get("body", ""))
            self.methods[stream_id] = method
            assert multiplexer.open_stream(head, end=what["end"] and not body) == stream_id
            if body:
                self.send(stream_id, body, what["end"])
        elif action == "response":
            head_out = ResponseHead(
                what["status"], as_headers(what["headers"]), what["reason"].encode()
            )
            multiplexer.send_head(stream_id, head_out)
            self.send(stream_id, as_bytes(what.get("body", "")), what["end"])
        elif action == "data":
            self.send(stream_id, as_bytes(what["bytes"]), what["end"])
        elif action == "trailers":
            multiplexer.send_end(stream_id, as_headers(what["headers"]))
        elif action == "reset":
            multiplexer.reset_stream(stream_id, ResetCode[what["code"]])
        elif action == "consume":
            multiplexer.consume(stream_id, what["bytes"], 0.0)
        elif action == "goaway":
            multiplexer.send_goaway(what["code"], what["reason"])
        else:
            raise AssertionError(action)

    def send(self, stream_id: int, body: bytes, end: bool) -> None:
        self.multiplexer.send_data(stream_id, body)
        if end:
            self.multiplexer.send_end(stream_id)

    def assert_sends(
        self, messages: Sequence[str | bytes], expected: Sequence[Case], where: str
    ) -> None:
        got = [self.decode(message) for message in messages]
        asked = {e["stream"] for e in expected if e.get("frame") == "WINDOW"}
        for stream_id in asked:
            assert any(g.get("frame") == "WINDOW" and g["stream"] == stream_id for g in got), where
        got = [g for g in got if g.get("frame") != "WINDOW"]
        at = 0
        for want in (e for e in expected if e.get("frame") != "WINDOW"):
            assert at < len(got), (where, got)
            run = [got[at]]
            if want.get("more"):
                same = [
                    g["frame"] == want["frame"] and g["stream"] == want["stream"] for g in got[at:]
                ]
                run = got[at : at + [*same, False].index(False)]
                assert run, (where, got)
                if "total" in want:
                    assert sum(len(g["bytes"]) for g in run) == want["total"], where
            at += len(run)
            assert_matches(run, want, where)
        assert got[at:] == [], where

    def decode(self, message: str | bytes) -> Case:
        """A message, in the words of the vectors."""
        if isinstance(message, str):
            value = json.loads(message)
            assert sorted(value) == ["id", "payload", "timestamp", "type"]
            return {"text": value["type"], "payload": value["payload"]}
        type, flags, stream_id, payload = decode_frame(message)
        kind = FrameType(type)
        out: Case = {"frame": kind.name, "stream": stream_id, "size": len(payload)}
        if kind is FrameType.RESET:
            out["code"] = ResetCode(decode_reset(payload)[0]).name
        elif kind is FrameType.GOAWAY:
            out["last"], out["code"], _ = decode_goaway(payload)
        elif kind is FrameType.PONG:
            out["bytes"] = payload
        elif kind is FrameType.DATA:
            out.update(end=bool(flags & END), bytes=payload)
        elif kind is FrameType.HEAD:
            head, body = split_head(payload)
            out.update(end=bool(flags & END), body=body, **self.decode_head(stream_id, head))
            out["scheme"] = scheme_in(flags)
        return out

    def decode_head(self, stream_id: int, head: bytes) -> Case:
        if head.startswith(b"HTTP/1.1 "):
            response = decode_response(head)
            return {"status": response.status, "headers": list(response.headers)}
        if b" HTTP/1.1\r\n" in head:
            request = decode_request(head)
            return {
                "method": request.method.decode(),
                "target": request.target.decode(),
                "headers": list(request.headers),
            }
        return {"trailers": list(decode_trailers(head))}


def assert_matches(run: Sequence[Case], want: Case, where: str) -> None:
    for key, value in want.items():
        if key in ("more", "total"):
            continue
        for number, got in enumerate(run, 1):
            if key == "end" and number < len(run):
                assert not got["end"], where
            elif key == "max_payload":
                assert got["size"] <= value, where
            elif key in ("body", "bytes"):
                assert got[key] == as_bytes(value), where
            elif key in ("headers", "trailers"):
                assert got[key] == as_headers(value), where
            elif key == "payload":
                assert value.items() <= got["payload"].items(), where
            else:
                assert got[key] == value, (where, got)


def assert_events(got: Sequence[MultiplexerEvent], expected: Sequence[Case], where: str) -> None:
    found = list(in_words(got))
    assert len(found) == len(expected), (where, found)
    for have, want in zip(found, expected, strict=True):
        for key, value in want.items():
            if key == "bytes":
                value = as_bytes(value)
            elif key in ("headers", "trailers"):
                value = as_headers(value)
            assert have[key] == value, (where, have)
        if have["event"] == "end" and "trailers" not in want:
            assert have["trailers"] == [], where


def in_words(got: Sequence[MultiplexerEvent]) -> Iterator[Case]:
    """Events in the words of the vectors, consecutive data joined; what is for the log left out."""
    last: Case | None = None
    for event in got:
        if isinstance(event, (StreamClosed, StreamRejected)):
            continue
        words = _words(event)
        if last is not None:
            if last["event"] == words["event"] == "data" and last["stream"] == words["stream"]:
                last["bytes"] += words["bytes"]
                continue
            yield last
        last = words
    if last is not None:
        yield last


def _words(event: MultiplexerEvent) -> Case:
    if isinstance(event, HelloReceived):
        return {"event": "hello", "name": event.name, "metadata": event.metadata}
    if isinstance(event, HandshakeCompleted):
        urls = list(event.urls)
        return {"event": "established", "connection_id": event.connection_id, "urls": urls}
    if isinstance(event, GoAwayReceived):
        return {"event": "goaway", "last": event.last_stream_id, "code": event.code}
    assert not isinstance(event, (EnvelopeReceived, EnvelopesSent))
    out: Case = {"stream": event.stream_id}
    if isinstance(event, RequestReceived):
        head = event.head
        out.update(event="request", method=head.method.decode(), target=head.target.decode())
        out.update(headers=list(head.headers), scheme=head.scheme)
    elif isinstance(event, ResponseReceived):
        out.update(event="response", status=event.head.status, headers=list(event.head.headers))
        out["reason"] = event.head.reason.decode("latin-1")
    elif isinstance(event, DataReceived):
        out.update(event="data", bytes=bytes(event.data))
    elif isinstance(event, EndReceived):
        out.update(event="end", trailers=list(event.trailers))
    elif isinstance(event, StopSending):
        out.update(event="stop_sending")
    elif isinstance(event, StreamFailed):
        known = event.code in ResetCode.__members__.values()
        out.update(event="reset", by_peer=event.by_peer, reason=event.reason)
        out["code"] = ResetCode(event.code).name if known else event.code
    else:
        raise AssertionError(event)
    return out
