"""Dialects of a gateway: whatever a client sends is a call or is refused, and can be answered.

An input is a byte that says which dialect, and a message of a WebSocket: text where it is UTF-8.
What is asked is answered with its own body, which has to arrive as it was and with its id; with a
failure; and with a part. What HTTP has to say can be sent on as it is.
"""

from __future__ import annotations

import base64
import json
import re
from typing import Any
from urllib.parse import unquote

from restsock._strict_json import read_json
from restsock.gateway import (
    JSONRPC,
    Action,
    CallFailed,
    Dialect,
    EnvelopeDialect,
    HTTPDialect,
    Message,
    RawDialect,
    Reply,
    problem,
)
from restsock.gateway.dialects import BadMessage, Batch, ParsedCall
from restsock.gateway.middleware._cache import _whole_message

MAX_LEN = 512
DICTIONARY = (
    *(b'{"action":"a","id":1}', b'"action":', b'"id":', b'"id":null', b'"id":""', b'"id":1e3'),
    *(b'{"jsonrpc":"2.0","method":"a","id":1}', b'"params":{}', b'"params":[]', b"[{},{}]"),
    *(b'{"type":"request","id":"1","timestamp":1,"payload":{"method":"a","params":1}}',),
    *(b'{"id":1,"method":"GET","path":"/a?b","headers":{"a":"b"},"body":"Yg=="}',),
    *(b'"encoding":"base64"', b'"path":"/', b"/../", b"/%2e%2e/", b"/.;", b"%2F", b"%00", b"%5c"),
    *(b'"headers":{', b"\\r\\n", b"\\u0000", b"\\ud800", b"1e999", b"-0", b"NaN", b"\xff"),
    *(b"[[[[[[[[", b'{"a":' * 8, b"\xe2\x80\xa8", b"99999999999999999999"),
)
DIALECTS: tuple[Dialect, ...] = (
    Action(),
    Action("type", id_field="nr"),
    JSONRPC(max_batch=8),
    EnvelopeDialect(clock=lambda: 1, new_id=lambda: "new"),
    HTTPDialect(),
    RawDialect(),
)
_FAILURE = problem(CallFailed(503, "not today", retry_after=1.5))
_FIELD_NAME = re.compile(r"[!#$%&'*+.^_`|~0-9a-z-]+")


def test_one(data: bytes) -> None:
    dialect = DIALECTS[data[0] % len(DIALECTS)] if data else DIALECTS[0]
    try:
        message: str | bytes = data[1:].decode()
    except UnicodeDecodeError:
        message = data[1:]
    parsed = dialect.parse(message)
    if not isinstance(parsed, Batch):
        _check(dialect, parsed)
        return
    assert 0 < len(parsed.calls) <= 8
    answers = [_check(dialect, call) for call in parsed.calls]
    assert len(read_json(dialect.join(answers))) == len(answers)


def _check(dialect: Dialect, call: ParsedCall | BadMessage) -> str | bytes:
    assert isinstance(call, (ParsedCall, BadMessage)), call
    hash(call.id)
    failed = dialect.reply(call, _FAILURE)
    _check_said(dialect, call, failed)
    if isinstance(call, BadMessage):
        assert 400 <= call.status <= 499
        assert call.detail.isprintable()
        return failed
    assert _key_of(call) == _key_of(call)
    answer = dialect.reply(call, Reply(call.body))
    _check_body(dialect, call.body, _check_said(dialect, call, answer))
    _check_said(dialect, call, dialect.reply(call, Reply(call.body), more=True), part=True)
    dialect.push(call.body)
    if isinstance(dialect, HTTPDialect):
        _check_http(call)
    return answer


def _key_of(call: ParsedCall) -> object:
    """That of a cache: it never fails."""
    session: Any = None
    return _whole_message(
        Message(session, call.key, call.body, headers=call.headers, path=call.path)
    )


def _check_said(
    dialect: Dialect, call: ParsedCall | BadMessage, said: str | bytes, *, part: bool = False
) -> Any:
    if isinstance(said, str):
        said.encode()  # a WebSocket sends it as UTF-8
    if isinstance(dialect, RawDialect):
        return said
    assert isinstance(said, str)
    value = read_json(said)
    field = "nr" if dialect is DIALECTS[1] else "id"
    told = value["params"] if part and isinstance(dialect, JSONRPC) else value
    if call.id is None:
        assert told.get(field) in (None, "")
    else:
        assert json.dumps(told[field]) == json.dumps(call.id)
    return value


def _check_body(dialect: Dialect, body: Any, said: Any) -> None:
    if isinstance(dialect, RawDialect):
        assert said == body or body is None
        return
    if isinstance(dialect, JSONRPC):
        told = said["result"]
    elif isinstance(dialect, EnvelopeDialect):
        told = said["payload"]["result"]
    elif isinstance(body, bytes):
        assert said["encoding"] == "base64"
        told = said["body"]
    else:
        told = said["body"]
    if isinstance(body, bytes):
        told = base64.b64decode(told)
        assert told == body
        return
    assert json.dumps(told) == json.dumps(body)


def _check_http(call: ParsedCall) -> None:
    """What a backend passes on has one meaning, and ends no field early."""
    assert call.method is not None
    assert call.path is not None
    assert re.fullmatch(r"[!#$%&'*+.^_`|~0-9A-Z-]+", call.method)
    assert unquote(call.path.partition("?")[0], "latin-1") == unquote(call.key, "latin-1")
    assert call.path.isascii()
    assert not re.search(r"[\x00-\x20\x7f#\\]", call.path)
    segments = [unquote(segment.partition(";")[0]) for segment in call.key.split("/")]
    assert not {".", ".."} & {*segments}
    assert not any(bad in unquote(each) for each in call.key.split("/") for bad in "/\\\0")
    for name, value in call.headers.items():
        assert _FIELD_NAME.fullmatch(name)
        assert not re.search(r"[\x00-\x08\x0a-\x1f\x7f]", value)
        assert value == value.strip(" \t")
