"""The inputs that fuzzing starts from: spec/vectors, in the form that each target reads.

They are made when they are wanted, so they can not fall behind the vectors.
"""

from __future__ import annotations

import json
import random
from collections.abc import Callable, Iterable, Iterator
from decimal import Decimal
from typing import Any

from restsock._exceptions import CodecError
from restsock.codecs import codec
from restsock.codecs._compression import ALGORITHMS, compressor
from restsock.protocol._frames import encode_frame
from tests.fuzz import (
    codecs,
    dialects,
    framings,
    gateway_dialects,
    handshake,
    listener,
    messages,
    multiplexer,
    plain_exchange,
    plain_http,
    swaggersocket,
    websocket_events,
    websocket_fast,
    websocket_served,
)
from tests.fuzz.choices import blob
from tests.fuzz.h11_alone import RS
from tests.protocol.vectors import as_bytes, envelope, load
from tests.websockets.conformance import CASES, Frame

__all__ = ["seeds"]


def seeds(target: str, longest: int) -> list[bytes]:
    """All seeds of a target that are at most `longest` bytes, each once, in order."""
    return [seed for seed in dict.fromkeys(_MAKERS[target]()) if len(seed) <= longest]


def _heads() -> Iterator[bytes]:
    document = load("heads.json")
    for kind in ("requests", "responses", "trailers"):
        for case in [*document[kind]["good"], *document[kind]["bad"]]:
            yield as_bytes(case["head"])
    for case in document["requests"]["good"]:
        yield _joined(case["method"], case["target"], case["headers"])
    for case in document["responses"]["good"]:
        yield _joined(str(case["status"]), case["reason"], case["headers"])
    # What the vectors, which are about what comes in, do not have.
    yield b"GET / HTTP/1.1\r\nHost: a\r\nX-A: a \r\n\r\n"
    yield _joined("GET", "/", [("Host", "a"), ("X-A", "1\r\nX-B: 2")])
    yield _joined("GET", "/ HTTP/1.1\r\nX-A: 1", [("Host", "a")])
    yield _joined("200", "OK\r\nX-A: 1", [])
    yield _joined("200", "OK", [("Connection", "close, X-A, Content-Length")] + 2 * [("X-A", "1")])
    yield _joined("200", "OK", [("Connection", "Content-Length"), ("Content-Length", "5")])
    yield _joined("200", "OK", [("X-A: 1\r\nX-B", "2")])
    yield _joined("200", "OK", [("X-A:", "2")])


def _joined(first: str, second: str, headers: Iterable[tuple[str, str]]) -> bytes:
    parts = [first, second, *(part for field in headers for part in field)]
    return RS.join(part.encode("latin-1") for part in parts)


def _frames() -> Iterator[bytes]:
    document = load("frames.json")
    # Bytes that are no UTF-8 make a reason longer, up to where it is cut.
    yield bytes([3, 0, 0, 0, 0, 0, 0, 1, 0, 1]) + b"\xff" * 400
    yield bytes([5, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 3, 233]) + b"a" + b"\xff" * 400
    for case in [*document["good"], *document["bad"]]:
        yield as_bytes(case["message"])


def _websocket_fast() -> Iterator[bytes]:
    for case in load("websocket.json")["cases"]:
        kind = websocket_fast.CLIENT if case["role"] == "dialer" else 0
        wire = as_bytes(case["receive"])
        yield bytes([kind, 0]) + wire
        yield bytes([kind, 2, 0, 1, 0, 5]) + wire
    for step in load("example.json")["steps"]:
        kind = websocket_fast.CLIENT if step["from"] == "listener" else 0
        yield bytes([kind, 0]) + as_bytes(step["wire"])
    for kind in (websocket_fast.CLIENT, 0):
        mask = 3 if kind else 1
        for size in range(14):
            yield bytes([kind | websocket_fast.DESCRIBED, 0, mask, size, 3])
            yield bytes([kind | websocket_fast.WRITTEN, *([1] if kind else []), size]) + b"abc"


def _handshake() -> Iterator[bytes]:
    document = load("handshake.json")
    for case in [*document["envelopes"]["good"], *document["envelopes"]["bad"]]:
        yield b"\0" + case["text"].encode()
    for case in [*document["settings"]["good"], *document["settings"]["bad"]]:
        payload = {"version": 1, "connection_id": "c", "settings": case["json"]}
        for kind in (0, handshake.DIALER):
            yield bytes([kind | handshake.WRAPPED]) + json.dumps(payload).encode()
    for case in document["sequences"]:
        messages = [_message(step) for step in case["steps"] if "do" not in step]
        kind = handshake.DIALER if case["role"] == "dialer" else 0
        yield bytes([kind]) + handshake.RS.join(messages)
    yield bytes([handshake.WRAPPED]) + b'{"version":1}' + RS + b'{"connection_id":"c"}'
    for number in (b"1e999", b"1" + b"0" * 400, b"1e-400", b"0.5", b"NaN", b"-Infinity"):
        settings = b'{"version":1,"settings":{"heartbeat_interval":' + number + b"}}"
        yield bytes([handshake.WRAPPED]) + settings
        yield bytes([handshake.WRAPPED]) + b'{"version":1,"metadata":' + number + b"}"
    for name, text in (
        (b"", b"null"),
        (b"edge", b'{"a":[1,1.5,"\\u00fc"]}'),
        (b"edge", b'"\\ud800"'),
        (b"\xff", b"NaN"),
    ):
        yield bytes([handshake.PAIR]) + name + RS + text


def _message(step: dict[str, Any]) -> bytes:
    if "receive" in step:
        return b"\xff" + as_bytes(step["receive"])
    text: str = step["receive_text"]
    return text.encode("utf-8", "replace")


def _multiplexer() -> Iterator[bytes]:
    for name in ("exchanges", "streams", "credit", "errors"):
        for case in load(f"{name}.json")["cases"]:
            kind = multiplexer.DIALER if case["role"] == "dialer" else 0
            out = bytes([kind, 0, 0, 0, 0])
            for step in case["steps"]:
                acts = step.get("do", [])
                out += b"".join(map(_act, acts if isinstance(acts, list) else [acts]))
                out += b"" if acts else _incoming(step)
                out += bytes([multiplexer.TAKE])
            yield out
    yield bytes([multiplexer.FRESH, 0, 0, 0, 0]) + b"".join(
        bytes([multiplexer.RAW_TEXT]) + blob(text.encode())
        for text in (
            envelope("hello", {"version": 1}),
            envelope("ready", {"connection_id": "c"}),
            envelope("x", {}),
        )
    )
    # More bytes, and more requests and answers, than a peer has credit and limits for.
    opening = encode_frame(1, 0, 1, multiplexer.HEADS[0])
    begin = bytes([0, 0, 0, 0, 0, multiplexer.RAW_FRAME]) + blob(opening)
    yield begin + bytes([multiplexer.FLOOD, 1, 0, 4, 1, 4])
    yield begin + b"".join(bytes([multiplexer.FLOOD, 2, 1, 0, first, 0, 0]) for first in (3, 240))
    for number in range(9):
        schedule = random.Random(number).randbytes(1500)
        yield bytes([multiplexer.PAIR, number % 3]) + schedule


def _incoming(step: dict[str, Any]) -> bytes:
    if "receive_text" in step:
        return bytes([multiplexer.RAW_TEXT]) + blob(step["receive_text"].encode("utf-8", "replace"))
    return bytes([multiplexer.RAW_FRAME]) + blob(as_bytes(step["receive"]))


def _act(do: dict[str, Any]) -> bytes:
    """About what the app does: the same kind of act on the same stream."""
    action, stream = do["action"], do.get("stream", 0) % 16
    if action == "request":
        wishes = any(name.lower() == "upgrade" for name, _ in do["headers"])
        kind = 3 if wishes else {"POST": 1, "HEAD": 2}.get(do["method"], 0)
        return bytes([multiplexer.OPEN, kind, bool(do["end"])])
    if action == "response":
        kind = {101: 4, 304: 2, 103: 3, 404: 5}.get(do["status"], 0)
        out = bytes([multiplexer.HEAD, stream, kind])
        return out + (bytes([multiplexer.END, stream, 0]) if do["end"] else b"")
    if action == "data":
        out = bytes([multiplexer.DATA, stream, 3])
        return out + (bytes([multiplexer.END, stream, 0]) if do["end"] else b"")
    if action == "trailers":
        return bytes([multiplexer.END, stream, 1])
    if action == "reset":
        return bytes([multiplexer.RESET, stream, 1])
    if action == "consume":
        return bytes([multiplexer.CONSUME, stream, 255])
    return bytes([multiplexer.GOAWAY, 1]) if action == "goaway" else b""


def _listener() -> Iterator[bytes]:
    document = load("upgrade.json")
    for kind, cases, member in (
        (0, document["requests"], "request"),
        (listener.DIALER, document["responses"], "response"),
    ):
        for case in cases:
            yield bytes([kind | listener.OCTETS, 0]) + as_bytes(case[member])
            yield bytes([kind, 2, 0, 20, 0, 90]) + as_bytes(case[member])
    right = as_bytes(document["requests"][0]["request"])
    answer = as_bytes(document["responses"][0]["response"])
    for behind in (b"\x82\x01a", b"\r\n"):
        yield b"\0\0" + right + behind
        yield bytes([listener.DIALER, 0]) + answer + behind
    key = b"Sec-WebSocket-Key: "
    yield b"\0\0" + right.replace(key, key + b"QQ==\r\n" + key)
    yield b"\0\0" + right.replace(key, key + b"QQ==")
    yield b"\0\0" + right.replace(b"Host: ", b"Host: b\xfccher.")
    yield b"\0\0" + right.replace(b"GET /", b"GET /\xfc")


def _plain_http() -> Iterator[bytes]:
    document = load("plain_http.json")
    for case in [*document["good"], *document["bad"]]:
        wire = as_bytes(case["receive"])
        yield b"\0\0" + wire
        yield bytes([plain_http.OCTETS | plain_http.CHUNKED, 0]) + wire
        yield bytes([plain_http.EARLY, 2, 0, 20, 0, 50]) + wire + wire


def _swaggersocket() -> Iterator[bytes]:
    for case in load("swaggersocket.json")["exchanges"]:
        requests = [b"\0" + blob(_payload(case["request"]))]
        responses = [b"\5" + blob(_payload(frame)) for frame in case["responses"]]
        responses += [b"\0" + blob(b"")]
        for flags in (0, swaggersocket.OCTETS, swaggersocket.DIALER):
            yield bytes([flags]) + b"".join(requests * 2)
            yield bytes([flags | swaggersocket.ASKS]) + b"".join(responses)
            given_up = flags | swaggersocket.ASKS | swaggersocket.GIVEN_UP
            yield bytes([given_up]) + b"".join(responses + requests)


def _payload(frame: str) -> bytes:
    """What is in a recorded frame, with the id that the target asks with."""
    data = as_bytes(frame)
    at = 4 if data[1] & 0x7F == 126 else 2
    payload = data[at + (4 if data[1] & 0x80 else 0) :]
    for id in (b"c-1", b"c-2", b"s-1"):
        payload = payload.replace(b"-Id: " + id, b"-Id: id-1")
    return payload


def _codecs() -> Iterator[bytes]:
    value: Any = {"a": [1, -2.5, None, True, "é"], "b": {"c": ""}}
    lines = {
        "influx": [b'm,a=b\\,c f=1.5,g=2i,h=t,i="x\\"y\\\\z" 1465839830100400200\n# c\nn f=3u'],
        "statsd": [b"sam:7|c|@0.1\ng:-5|g\nu:abc|s\nx:1.5|ms"],
        "dogstatsd": [
            b"users:1:2|d|@0.5|#a:b,c|c:id|T12",
            b"_e{2,3}:\xc3\xa9|a\\n|d:1|h:h|t:info|#a",
            b"_sc|a b|2|d:1|#a|m:text m\\: more|c:id",
        ],
        "graphite": [b"a.b 7 1620649445\nc 1.5 -1"],
        "syslog": [
            b'<165>1 2003-10-11T22:14:15.003Z host app 77 ID47 [a b="c\\]"][d] \xef\xbb\xbftext',
            b"<34>Oct 11 22:14:15 host su[5]: text",
            b"text",
        ],
        "csv": [b'a,"b ""c""\nd",e\r\n1,2,3'],
        "string": ["é".encode()],
        "yaml": [b"--- !!map {a: &x 1, b: [~, 0x1f, 2026-01-02, 'q']}\n--- |\n  text\n"],
        "json": [b'["\\u00e9",1e5,-0]'],
        "cbor": [
            bytes.fromhex("bf61619f01c24101ff7f61616162ff5f4161ffff"),
            bytes.fromhex("c11a514b67b0"),
        ],
        "msgpack": [
            b"\xde\0\1\xa1a\xd7\xff\0\0\0\0\x6a\0\0\0",
            b"\x93\xc4\1a\xcf\0\0\0\0\0\0\0\1\xca\0\0\0\0",
        ],
    }
    record: Any = {"a": 5, "b": [{"k": b"v"}], "c": 0, "d": b"1"}
    for number, chosen in enumerate(codecs.CASES):
        for each in (value, [], ["a", "b"], "text", b"bytes", 7, {**record, "d": Decimal("1.25")}):
            try:
                yield bytes([number]) + chosen.encode(each)
            except CodecError:
                pass  # it is a value of another one
        for line in lines.get(chosen.name, []):
            yield bytes([number]) + line
    yield bytes([1]) + b"\xdc\x01\x2c" + b"\xc0" * 300  # more values than may be
    for packing in ("deflate", "zstandard", "snappy", "bzip2", "xz"):
        packed = codec("avro", schema="int", compression=packing).encode(7)
        yield bytes([len(codecs.CASES) - 3]) + packed


def _framings() -> Iterator[bytes]:
    streams = {
        0: b"a\nb\n\nc",
        1: b"a\r\nb\r",
        2: b"xaaaya",
        3: bytes(7) + b"\x02ab" + bytes(8),
        4: b"\0\0\0\x02ab\0\0\0\0",
        5: b"2 ab0 11 " + b"x" * 11,
        6: b"YQ==\n\nYg==\n",
        7: b"\0\0\0\x03a\nb",
        8: b"\0\0\0\x0d\x1e\x0f12345678\0\2a\0\0\0\x0d\x1e\x0f12345678\1\2b",
        9: b"10 12345678ab",
    }
    for number, stream in streams.items():
        for places in (b"\0", b"\x02\0\x03\0\x08"):
            yield bytes([framings.STREAM, number]) + places + stream
    names = list(ALGORITHMS)
    for number, name in enumerate(names):
        packed = compressor(name)(b"some text, some text")
        yield bytes([framings.MESSAGE, number, 0]) + packed
        yield bytes([framings.MESSAGE, len(names), 0]) + packed
        yield bytes([framings.MESSAGE, number, 1, 0, 9]) + packed + packed
        yield bytes([framings.MESSAGE, number, 0]) + compressor(name)(bytes(5000))
    gelf = b"\x1e\x0f12345678\0\2a" + b"\x1e\x0f12345678\1\2b"
    yield bytes([framings.MESSAGE, len(names) + 2, 1, 0, 13]) + gelf
    long = b"text, " * 80  # more than may be
    for kind, rows in ((framings.STREAM, framings.STREAMS), (framings.MESSAGE, framings.MESSAGES)):
        for number in range(len(rows)):
            yield bytes([kind, number, 1, 0, 200]) + long + b"\n" + long
    for number in range(len(framings.PAIRS)):
        yield bytes([framings.PAIR, number, 3, 0, 5, 0, 9, 0, 80]) + b"text, " * 30


def _websocket_served() -> Iterator[bytes]:
    for case in CASES:
        wire = b"".join(case.wires(masked=True))
        for flags in (0, websocket_served.DEFLATE, websocket_served.OCTETS):
            yield bytes([flags, 0]) + wire
    hello = b"\xf2\x48\xcd\xc9\xc9\x07\x00"
    for flags in (1, 3, 5, 7):
        for first, last in ((0xC1, 0x80), (0x41, 0x80), (0x41, 0xC0), (0x81, 0x82)):
            frames = Frame(first, hello[:3]), Frame(last, hello[3:]), Frame(0xC1, hello)
            wire = b"".join(frame.bytes(masked=True) for frame in frames)
            yield bytes([flags, 0]) + wire + Frame(0xC1, b"\xf2\x00\x11\x00\x00").bytes(masked=True)
    # Frames as they are described: each first byte with contents plain, compressed, and cut short.
    for first in range(15):
        for form in range(8):
            yield bytes([9 + 2 * (form & 1), first, form, 5, 40, first, 0x80 | form, 6, 50, 0, 9])


def _messages() -> Iterator[bytes]:
    document = load("messages.json")
    types = messages.TYPES
    for case in [*document["payloads"]["good"], *document["payloads"]["bad"]]:
        item = bytes([types.index(case["type"])]) + json.dumps(case["payload"]).encode()
        for kind in (0, messages.FOREIGN, messages.WRAPPED):
            yield bytes([kind]) + item
    acts = [bytes([len(types) + at]) for at in range(6)]
    for case in document["cases"]:
        items = []
        for step in case["steps"]:
            for received in step.get("receive", ()):
                payload = json.dumps(received["payload"]).encode()
                items.append(bytes([types.index(received["type"])]) + payload)
            items += acts[:2] if "do" in step else []
        for kind in (0, messages.DEAF):
            yield bytes([kind]) + messages.RS.join(items)
            yield bytes([kind]) + messages.RS.join([acts[0], *items, *acts, *items])


def _dialects() -> Iterator[bytes]:
    said = [word for word in dialects.DICTIONARY if word.startswith(b"{")]
    for kind in ("ack", "nack", "reply", "request", "slow", "data", "other"):
        for payload in (b"1", b'{"status":"ok","result":1}', b'{"error":"e"}', b'{"method":"m"}'):
            word = b'{"type":"' + kind.encode() + b'","id":"msg-1-1","payload":' + payload + b"}"
            said.append(word)
    more = (b'"encoding":"hex"', b'"encoding":"base64"', b'"reply_to":"a"', b'"subject":7')
    said.extend(b'{"body":"00ff",' + each + b"}" for each in more)
    said += [b"text", b"\xff", b"[1]\n2\n", b'{"body":[0,255]}', b'{"headers":{"a":"b"},"body":""}']
    for number in range(len(dialects.DIALECTS)):
        for word in said:
            yield bytes([number]) + word
        yield bytes([number]) + dialects.RS.join(said[:8])


def _connectors() -> Iterator[bytes]:
    number = ("initial_interval", "max_interval", "multiplier", "max_retries", "enabled")
    words: tuple[Any, ...] = ("1s", 10**400, 2.5, 3, True)
    client = {"url": "ws://a:1/", "reconnect": dict(zip(number, words, strict=True))}
    configs: list[dict[str, Any]] = [
        {"server": {}},
        {"server": {"path": "/ws", "allowed_origins": ["*"]}, "auth": {"type": "none"}},
        {"mode": "client", "client": {**client, "reconnect": {"initial_interval": "1m30s"}}},
        {"mode": "client", "client": client},
        {"server": {}, "backpressure": {"queue_size": 5, "on_full": "block", "enabled": False}},
        {"server": {}, "bidirectional": {"request_timeout": 10**400}},
        {"port": 1, "ack_timeout": "9" * 400 + "h", "delivery_mode": "at-least-once"},
        {"server": {}, "ports": {"inputs": [{"name": "a", "type": "stdio"}]}},
    ]
    for config in configs:
        for form in (0, 2):
            yield bytes([form]) + json.dumps(config).encode()
    for text in (
        b"[server]\n",
        b'mode = "client"\n[client]\nurl = "ws://a/"\n[client.reconnect]\n',
    ):
        for form in (1, 3):
            yield bytes([form]) + text
            yield bytes([form]) + text + b"multiplier = nan\n"
            yield bytes([form]) + text + b"multiplier = inf\ninitial_interval = 1\n"
    for duration in ("1m30s", ".5h", "0s", "9" * 400 + "s", "9" * 400, "1h2", "\u0663s"):
        yield bytes([4]) + duration.encode()
    for mapping in (
        {"interval_ms": 500, "growth_rate": 1.5, "max_retries": 3, "randomized": True},
        {"retry": {"interval_ms": 10**400}},
        {"initial": 1, "factor": 2.0, "cap": 60, "tries": 0, "jitter": False},
        {"initial_interval": "1s", "max_interval": 10**400},
        {"initial": 1, "interval_ms": 2},
    ):
        yield bytes([5]) + json.dumps(mapping).encode()


def _gateway_dialects() -> Iterator[bytes]:
    asked = [word for word in gateway_dialects.DICTIONARY if word.startswith(b"{")]
    asked += [b"[" + b",".join([word] * 3) + b"]" for word in asked]
    asked += [
        b"text",
        b"\xff",
        b"",
        b"[]",
        b"1",
        b'{"action":7}',
        b'{"jsonrpc":"2.0","method":"a"}',
    ]
    paths = (
        b"/",
        b"/a/b?c=d",
        b"/a/../b",
        b"/a/%2e%2E/b",
        b"/..;x",
        b"/a%2Fb",
        b"/a%3bb",
        b"a",
        b"//",
    )
    asked += [b'{"id":"x","path":"' + path + b'"}' for path in paths]
    fields = (b'"A":"b"', b'"a":"b","A":"c"', b'"a":"b\\nc"', b'"a b":""', b'"a":1')
    asked += [b'{"path":"/","headers":{' + each + b"}}" for each in fields]
    asked += [
        b'{"path":"/","body":"' + each + b'","encoding":"base64"}' for each in (b"AA==", b"A")
    ]
    asked.append(b'{"action":"a","x":' + b"[" * 70 + b"]" * 70 + b"}")
    for number in range(len(gateway_dialects.DIALECTS)):
        for word in asked:
            yield bytes([number]) + word


def _websocket_events() -> Iterator[bytes]:
    words = websocket_events.DICTIONARY
    yield from words
    yield b"".join(words)
    for first in words[:8]:
        for second in words[:8]:
            yield first + second
    yield b"TEXT 5\r\nhello\r\n" * 12 + b"CLOSE 2\r\n\x03\xe8\r\n"


def _plain_exchange() -> Iterator[bytes]:
    for line in plain_exchange.STATUS_LINES:
        for fields in plain_exchange.FIELDS:
            for body in plain_exchange.BODIES:
                for how in (b"\x00", b"\x03", b"\x07", b"\x19"):
                    yield how + line + fields + b"\r\n" + body


_MAKERS: dict[str, Callable[[], Iterator[bytes]]] = {
    "heads_fast": _heads,
    "websocket_fast": _websocket_fast,
    "frames": _frames,
    "heads": _heads,
    "handshake": _handshake,
    "messages": _messages,
    "dialects": _dialects,
    "gateway_dialects": _gateway_dialects,
    "websocket_events": _websocket_events,
    "plain_exchange": _plain_exchange,
    "multiplexer": _multiplexer,
    "listener": _listener,
    "swaggersocket": _swaggersocket,
    "plain_http": _plain_http,
    "codecs": _codecs,
    "framings": _framings,
    "connectors": _connectors,
    "websocket_served": _websocket_served,
}
