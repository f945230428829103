"""What servers read differently is refused, whoever checks: the app's end, the caller's, the rules.

Of each kind there are the harmless neighbours too, which have to pass.
"""

from __future__ import annotations

import codecs
from typing import Any

import pytest
import trio

import restsock
from restsock.connection import Request, Response
from restsock.openapi import AccessHandler, Contract, OpenAPIHandler, allow, bind_contract, load
from restsock.protocol import RequestHead
from tests.apps.serving import served
from tests.openapi.documents import VERSIONS, document, operation, parameter

NUMBER = {"type": "integer"}
TEXT = {"type": "string"}
TEXTS = {"type": "array", "items": TEXT}
SHAPE = {"type": "object", "properties": {"a": NUMBER, "b": TEXTS}}


def _body(media_type: str, schema: Any, **more: Any) -> dict[str, Any]:
    return {"required": True, "content": {media_type: {"schema": schema, **more}}}


FORM = "application/x-www-form-urlencoded"

PATHS: dict[str, Any] = {
    "/q": {
        "get": operation(
            parameters=[
                parameter("query", "n", NUMBER),
                parameter("query", "t", TEXT),
                parameter("query", "list", TEXTS),
                parameter("query", "short", TEXTS, explode=False),
                parameter("query", "deep", SHAPE, style="deepObject"),
                parameter("query", "wide", {"type": "object", "properties": {"x": NUMBER}}),
                parameter("query", "Case", TEXT),
                parameter("query", "case", TEXT),
                parameter("header", "X-Number", NUMBER),
                parameter("header", "X-List", TEXTS),
                parameter("cookie", "c", TEXT),
            ]
        )
    },
    # A media type in place of a style.
    "/other": {
        "get": operation(
            parameters=[
                parameter("query", "n", NUMBER),
                {"in": "query", "name": "x", "content": {"text/plain": {"schema": TEXT}}},
            ]
        )
    },
    "/json": {"post": operation(requestBody=_body("application/json", SHAPE))},
    "/form": {"post": operation(requestBody=_body(FORM, SHAPE))},
    "/text": {"post": operation(requestBody=_body("text/plain", {**TEXT, "maxLength": 9}))},
    "/pets/feed": {"get": operation(operationId="feed")},
    "/pets/{id}": {"get": operation(operationId="pet", parameters=[parameter("path", "id", TEXT)])},
    "/files/{name}": {"get": operation(parameters=[parameter("path", "name", TEXT)])},
    "/files/{name}/raw": {"get": operation(parameters=[parameter("path", "name", TEXT)])},
    "/at/{id}": {"get": operation(parameters=[parameter("path", "id", TEXT, style="matrix")])},
}

Case = tuple[str, str, list[tuple[str, str]], bytes]


def get(target: str, *headers: tuple[str, str]) -> Case:
    return "GET", target, list(headers), b""


def post(target: str, content_type: str, body: bytes, *headers: tuple[str, str]) -> Case:
    return "POST", target, [("Content-Type", content_type), *headers], body


DIFFERENT: list[Case] = [
    # given twice
    get("/q?n=1&n=x"),
    get("/q?n=1&n=1"),
    get("/q?t=a&t=b"),
    get("/q?n=1&%6e=2"),
    get("/q?short=a&short=b"),
    get("/q?deep[a]=1&deep[a]=x"),
    get("/q?x=1&x=z"),
    get("/other?n=1&n=x"),
    # in a spelling that some take for the same
    get("/q?n=1&N=x"),
    get("/q?n=1&n[]=x"),
    get("/q?n[]=x"),
    get("/q?n=1&n%5B0%5D=x"),
    get("/q?z=1;n=x"),
    get("/q?list=a&list[]=b"),
    # not encoded as it has to be
    get("/q?t=%ff"),
    get("/q?t=%zz"),
    get("/q?t=a%"),
    get("/q?t=%c0%af"),
    # fields
    get("/q", ("X-Number", "1"), ("X-Number", "x")),
    get("/q", ("X-Number", "1"), ("x-number", "1")),
    get("/q", ("X-Number", "1"), ("X_Number", "x")),
    get("/q", ("X_Number", "x")),
    # cookies
    get("/q", ("Cookie", "c=1; c=2")),
    get("/q", ("Cookie", "c=1"), ("Cookie", "c=2")),
    get("/q", ("Cookie", 'c="a\\073b"')),
    get("/q", ("Cookie", 'c=a"b')),
    # numbers
    get("/q?n=%201"),
    get("/q?n=1_0"),
    get("/q?n=%D9%A1"),
    # paths
    get("/pets/feed;x"),
    get("/pets/feed%3Bx"),
    get("/pets/feed;x=1"),
    get("/pets//feed"),
    get("/pets/x%2F..%2Ffeed"),
    get("/pets/x%252F..%252Ffeed"),
    get("/pets/%2Ffeed"),
    get("/pets/%5Cfeed"),
    get("/pets/%ff"),
    get("/pets/a%2F..%2F..%2Ffiles%2Fx"),
    get("/files/a%2Fraw"),
    get("/at/;id=a/../../pets/feed"),
    # JSON
    post("/json", "application/json", b'{"a": 1, "a": "x"}'),
    post("/json", "application/json", b'{"a": 1, "\\u0061": "x"}'),
    post("/json", "application/json", codecs.BOM_UTF8 + b'{"a": 1}'),
    post("/json", "application/json", '{"a": 1}'.encode("utf-16")),
    post("/json", "application/json; charset=utf-16", '{"a": 1}'.encode("utf-16")),
    post("/json", "application/json", '{"a": 1}'.encode("utf-32")),
    post("/json", "application/json; charset=utf-7", b'{"a": 1}'),
    post("/json", "application/json; Charset=UTF-16LE", b'{"a": 1}'),
    post("/json", 'application/json; charset=utf-8; charset="utf-16"', b'{"a": 1}'),
    post("/json", "application/json", b'{"a": NaN}'),
    post("/json", "application/json", b'{"z": 1e400}'),
    post("/json", "application/json", b'{"a": 1}', ("Content-Type", "text/plain")),
    # forms
    post("/form", FORM, b"a=1&a=x"),
    post("/form", FORM, b"a=1;a=x"),
    post("/form", FORM, b"a=1&A=x"),
    post("/form", FORM, b"a=1&a[]=x"),
    post("/form", FORM, b"z=%ff"),
    post("/form", FORM + "; charset=utf-16", b"a=1"),
    # text
    post("/text", "text/plain; charset=utf-7", b"a"),
    post("/text", "text/plain; charset=utf-16", b"a"),
]

SAME: list[Case] = [
    get("/q?n=1&t=a+b%20c&z=1&z=2"),
    get("/q?list=a&list=b&short=a,b"),
    get("/q?deep[a]=1&deep[b]=x&deep[b]=y"),
    get("/q?x=1"),
    get("/q?Case=a&case=b"),
    get("/q?t=a%3Bn%3Dx"),
    get("/q?t=%C3%A4"),
    get("/q", ("X-Number", "1"), ("X-List", "a"), ("X-List", "b"), ("X-Other", "1")),
    get("/q", ("Cookie", 'c="a"; d=1'), ("Cookie", "e=1; d=2")),
    get("/other?n=1&x=a"),
    get("/pets/feed"),
    get("/pets/7"),
    get("/pets/%66eed"),
    get("/pets/a%20b%C3%A4"),
    get("/pets/a+b"),
    get("/files/a.b"),
    get("/at/;id=a"),
    post("/json", "application/json", b'{"a": 1, "b": ["x"]}'),
    post("/json", "application/json; charset=UTF-8", b'{"a": 1}'),
    post("/json", 'application/json; charset="utf-8"', '{"z": "ä"}'.encode()),
    post("/form", FORM, b"a=1&b=x&b=y&z=%C3%A4+z"),
    post("/form", FORM + ";charset=UTF-8", b"a=1"),
    post("/text", "text/plain; charset=ISO-8859-1", "ä".encode("latin-1")),
    post("/text", "text/plain", "ä".encode()),
]


async def _served(cases: list[Case], version: str) -> list[int]:
    async def app(request: Request) -> Response:
        await request.read()
        return Response(200, [], b"")

    found = []
    async with served(OpenAPIHandler(app, document(PATHS, version))) as peer:
        for method, target, headers, body in cases:
            response = await peer.request(method, target, headers=headers, body=body)
            found.append(response.status)
    return found


@pytest.mark.parametrize("version", VERSIONS)
async def test_at_the_serving_end(version: str) -> None:
    statuses = await _served(DIFFERENT, version)
    passed = [
        case for case, status in zip(DIFFERENT, statuses, strict=True) if status not in (400, 415)
    ]
    # Of these there is no operation in the first place.
    assert [target for _, target, _, _ in passed] == ["/pets//feed", "/at/;id=a/../../pets/feed"]
    statuses = await _served(SAME, version)
    assert [case for case, status in zip(SAME, statuses, strict=True) if status != 200] == []


def _call(contract: Any, case: Case) -> None:
    method, target, headers, body = case
    fields = [(name.encode(), value.encode("latin-1")) for name, value in headers]
    contract.check_request(RequestHead(method.encode(), target.encode(), fields), body)


@pytest.mark.parametrize("version", VERSIONS)
def test_at_the_calling_end(version: str) -> None:
    contract: Any = bind_contract(None, Contract(document(PATHS, version)))  # type: ignore[arg-type]
    for case in DIFFERENT:
        with pytest.raises(restsock.RequestValidationError):
            _call(contract, case)
            pytest.fail(f"{case} passes")
    for case in SAME:
        _call(contract, case)


@pytest.mark.parametrize("path", ["/pets%2Ffeed", "/x/..%2Fpets/feed", "/x;y/../pets/feed"])
async def test_what_passes_as_unknown_is_no_operation_in_disguise(path: str) -> None:
    async def app(request: Request) -> Response:
        return Response(200, [], b"")

    handler = OpenAPIHandler(app, document(PATHS), unknown_paths="pass")
    async with served(handler) as peer:
        assert (await peer.request("GET", path)).status == 400
        assert (await peer.request("GET", "/x%20y")).status == 200


PATHS_OF_RULES = [
    "/pets/feed;x",
    "/pets/feed;x=1",
    "/pets/feed%3Bx",
    "/pets/7;x",
    "/pets/feed%00",
    "/pets/feed%0A",
    "/pets/a%2Fb",
    "/pets/a%252Fb",
    "/pets/a%5Cb",
    "/pets/a\\b",
    "/pets/%2e%2e",
    "/pets/..;x",
    "/pets/%252e%252e",
    "/pets/%ff",
    "/pets/%c0%af",
    "/at/;id=a;b/..",
    "/at/7",
]


async def test_rules() -> None:
    async def app(request: Request) -> Response:
        return Response(200, [], b"")

    rules = [allow("*", "edge", ["pet", "GET /at/{id}"])]
    async with served(AccessHandler(app, document(PATHS), rules, peer="edge")) as peer:
        for path in PATHS_OF_RULES[:-1]:
            assert (await peer.request("GET", path)).status == 403, path
        for path in ("/pets/7", "/pets/a%20b", "/pets/a+b", "/at/;id=7"):
            assert (await peer.request("GET", path)).status == 200, path
        assert (await peer.request("GET", "/pets/feed")).status == 403


async def test_a_compressed_request_is_not_looked_into() -> None:
    (status,) = await _served(
        [post("/json", "application/json", b'{"a": 1}', ("Content-Encoding", "gzip"))], "3.1.0"
    )
    assert status == 415


@pytest.mark.parametrize(
    ("headers", "body", "right"),
    [
        ([], b'{"a": 1}', True),
        ([], b'{"a": 1, "a": 2}', False),
        ([], codecs.BOM_UTF8 + b"{}", False),
        ([("X-Total", "1")], b"{}", True),
        ([("X-Total", "1"), ("X-Total", "1")], b"{}", False),
        ([("X_Total", "1")], b"{}", False),
        ([("Set-Cookie", "a=1"), ("Set-Cookie", "b=2")], b"{}", True),
    ],
)
async def test_responses(headers: list[tuple[str, str]], body: bytes, right: bool) -> None:
    async def app(request: Request) -> Response:
        fields = [("Content-Type", "application/json"), *headers]
        return Response(200, [(name.encode(), value.encode()) for name, value in fields], body)

    fields = {"X-Total": {"schema": NUMBER}, "Set-Cookie": {"schema": TEXT}}
    content = {"application/json": {"schema": SHAPE}}
    response = {"description": "", "headers": fields, "content": content}
    spec = load(document({"/a": {"get": {"responses": {"200": response}}}}))
    async with served(OpenAPIHandler(app, spec, responses=True)) as peer:
        assert (await peer.request("GET", "/a")).status == (200 if right else 500)
    contract: Any = bind_contract(None, Contract(spec))  # type: ignore[arg-type]
    call = contract.check_request(RequestHead(b"GET", b"/a", []), b"")
    sent = [(name.encode(), value.encode()) for name, value in headers]
    sent.append((b"Content-Type", b"application/json"))
    try:
        await trio.to_thread.run_sync(contract.check_response, call, 200, sent, body)
    except restsock.ResponseValidationError:
        assert not right
    else:
        assert right
