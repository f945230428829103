"""Operations: what a call is made into, what it refuses, what Python shows of it.

Nothing is sent here; see test_operations_e2e.py.
"""

from __future__ import annotations

import copy
import dataclasses
import datetime
import inspect
import io
import pydoc
import re
from collections.abc import Iterator
from typing import Any, Literal
from urllib.parse import parse_qsl

import pytest
import requests
from hypothesis import given
from hypothesis import strategies as st
from python_multipart import FormParser

from restsock import RequestValidationError, RestsockError, SpecError, ValidationError
from restsock.openapi import (
    APIClient,
    ArgumentError,
    BadBody,
    BadParameter,
    BlockingOperation,
    MissingParameter,
    UnknownOperation,
    UnknownParameter,
    load,
)
from restsock.openapi.client._operations import PreparedCall, identifier

BASE = "http://edge-1/"


def parameter(name: str, location: str = "query", **more: Any) -> dict[str, Any]:
    required = {"required": True} if location == "path" else {}
    return {"name": name, "in": location, "schema": {"type": "string"}, **required, **more}


def document(paths: dict[str, Any], **more: Any) -> dict[str, Any]:
    for item in paths.values():
        for name, operation in item.items():
            if name != "parameters":
                operation.setdefault("responses", {"200": {"description": "fine"}})
    return {"openapi": "3.1.0", "info": {"title": "Pets", "version": "1"}, "paths": paths, **more}


PETS = document(
    {
        "/pets": {
            "get": {
                "operationId": "listPets",
                "summary": "List pets",
                "description": "All of them, page\nby page.",
                "parameters": [
                    parameter(
                        "limit",
                        schema={"type": "integer", "minimum": 1, "maximum": 100, "default": 20},
                        description="How many at most.",
                    ),
                    parameter("kind", schema={"enum": ["cat", "dog"]}, required=True),
                    parameter("tags", schema={"type": "array", "items": {"type": "string"}}),
                    {"$ref": "#/components/parameters/Trace"},
                    parameter("session", "cookie"),
                    parameter("Authorization", "header"),
                ],
                "responses": {
                    "200": {
                        "description": "Pets",
                        "content": {"application/json": {}, "text/csv": {}},
                    },
                    "default": {"description": "An error"},
                },
            },
            "post": {
                "operationId": "addPet",
                "requestBody": {
                    "required": True,
                    "description": "The new pet.",
                    "content": {
                        "application/json": {"schema": {"$ref": "#/components/schemas/Pet"}},
                        "application/x-www-form-urlencoded": {},
                        "image/png": {},
                    },
                },
            },
        },
        "/pets/{id}": {
            "parameters": [parameter("id", "path")],
            "get": {"operationId": "getPet", "deprecated": True},
            "patch": {"operationId": "update-pet", "parameters": [parameter("id", "query")]},
            "delete": {},
        },
        "/pets/feed": {"get": {"operationId": "operation"}},
    },
    components={
        "parameters": {
            "Trace": {
                "name": "X-Trace-Id",
                "in": "header",
                "schema": {"type": ["string", "null"]},
                "deprecated": True,
            }
        },
        "schemas": {
            "Pet": {
                "type": "object",
                "required": ["name"],
                "properties": {
                    "name": {"type": "string", "description": "Its name.", "maxLength": 20},
                    "born": {"type": "string", "format": "date"},
                    "mother": {"$ref": "#/components/schemas/Pet"},
                },
            }
        },
    },
)
SPEC = load(PETS)


class Session(requests.Session):
    """One that must not be used."""

    def request(self, *args: Any, **options: Any) -> Any:
        raise AssertionError("nothing is to be sent")


def client(spec: Any = SPEC, **options: Any) -> APIClient[BlockingOperation]:
    return APIClient(Session(), spec, **{"base_url": BASE, **options})


def one(*parameters: dict[str, Any], path: str = "/it", **operation: Any) -> BlockingOperation:
    """The only operation of a document."""
    spec = document({path: {"post": {"operationId": "it", **operation}}})
    spec["paths"][path]["post"]["parameters"] = list(parameters)
    return client(spec).operation("it")


def body(content: dict[str, Any], required: bool = False) -> dict[str, Any]:
    return {"requestBody": {"required": required, "content": content}}


# --- finding operations ---------------------------------------------------------------------------


def test_operations_by_their_names() -> None:
    api = client()
    assert api.operations == (
        "listPets",
        "addPet",
        "getPet",
        "update-pet",
        "DELETE /pets/{id}",
        "operation",
    )
    assert api.listPets is api.operation("listPets")
    assert api.operation("update-pet").method == "PATCH"
    assert api.operation("DELETE /pets/{id}").id is None
    assert api.operation("get /pets/{id}").id == "getPet"
    # One that clashes with a method of the client.
    assert api.operation("operation").path == "/pets/feed"
    assert inspect.ismethod(api.operation)
    assert {"listPets", "addPet", "getPet", "operation", "operations"} <= set(dir(api))
    assert "update-pet" not in dir(api)
    assert repr(api) == "<APIClient of 'Pets', 6 operations, blocking>"
    assert repr(api.listPets) == "<operation listPets: GET /pets>"
    assert api.document is SPEC


@pytest.mark.parametrize(
    ("name", "hint"),
    [
        ("listPet", "; did you mean 'listPets' or 'getPet'?"),
        ("LISTPETS", "; did you mean 'listPets'?"),
        ("update_pet", "; did you mean 'update-pet'?"),
        ("xyz", ""),
        ("PUT /pets", ""),
    ],
)
def test_an_operation_that_is_not_there(name: str, hint: str) -> None:
    api = client()
    with pytest.raises(UnknownOperation) as caught:
        api.operation(name)
    assert str(caught.value).startswith(f"Pets has no operation {name!r}")
    assert str(caught.value).endswith(hint or f"{name!r}")
    assert caught.value.may_have_run is False
    assert not hasattr(api, name)


def test_a_copy_is_as_good() -> None:
    api = copy.copy(client())
    assert api.listPets.prepare(kind="cat").target == "/pets?kind=cat"
    with pytest.raises(AttributeError):
        _ = api.__wrapped__  # what `inspect` and mocks look for


@pytest.mark.parametrize(
    ("transport", "spec", "options", "error", "match"),
    [
        (object(), SPEC, {}, TypeError, "requests.Session or a restsock Requester"),
        (Session(), SPEC, {}, ValueError, "give base_url"),
        (Session(), SPEC, {"base_url": "edge-1"}, ValueError, "base_url has to be like"),
        (Session(), SPEC, {"base_url": "http://a/?b"}, ValueError, "base_url has to be like"),
        (Session(), True, {}, ValueError, "needs base_url"),
        (Session(), {"openapi": "1.0"}, {"base_url": BASE}, SpecError, "OpenAPI 3.0"),
    ],
)
def test_a_client_that_cannot_be(
    transport: Any, spec: Any, options: dict[str, Any], error: type[Exception], match: str
) -> None:
    with pytest.raises(error, match=match):
        APIClient(transport, spec, **options)


# --- where the request goes -----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("servers", "base_url", "where", "target"),
    [
        (None, "http://edge-1", "http://edge-1", "/it"),
        (None, "http://edge-1/", "http://edge-1", "/it"),
        (None, "http://edge-1/v2/", "http://edge-1", "/v2/it"),
        ("/v1", "http://edge-1/", "http://edge-1", "/v1/it"),
        ("/v1/", "http://edge-1/v2", "http://edge-1", "/v2/it"),
        ("https://pets.example/v1", None, "https://pets.example", "/v1/it"),
        ("https://pets.example/v1", "http://edge-1/", "http://edge-1", "/v1/it"),
        ("https://{host}.example:8443/{version}", None, "https://api.example:8443", "/v3/it"),
    ],
)
def test_the_base_of_a_url(
    servers: str | None, base_url: str | None, where: str, target: str
) -> None:
    spec = document({"/it": {"get": {"operationId": "it"}}})
    if servers is not None:
        variables = {"host": {"default": "api"}, "version": {"default": "v3", "enum": ["v3"]}}
        spec["servers"] = [{"url": servers, **({"variables": variables} if "{" in servers else {})}]
    it = client(spec, base_url=base_url).it
    assert it._options.base_url == where
    assert it.prepare().target == target


# --- arguments ------------------------------------------------------------------------------------


def test_arguments_go_where_the_contract_puts_them() -> None:
    call = client().listPets.prepare(
        limit=5, kind="cat", tags=["a b", "c"], x_trace_id="t-1", session="s"
    )
    assert call == PreparedCall(
        "GET",
        "",
        "/pets?limit=5&kind=cat&tags=a%20b&tags=c",
        {"Accept": "application/json, text/csv, */*;q=0.1", "X-Trace-Id": "t-1"},
        [("session", "s")],
        None,
    )
    assert call.fields()[-1] == ("Cookie", "session=s")
    assert "t-1" not in repr(call)  # headers, cookies and bodies may be secrets


def test_what_is_none_is_left_out() -> None:
    call = client().listPets.prepare(limit=None, kind="dog", session=None)
    assert (call.target, call.cookies) == ("/pets?kind=dog", [])


def test_names_as_they_are_on_the_wire() -> None:
    call = client().listPets.prepare(kind="dog", **{"X-Trace-Id": "7"})
    assert call.headers["X-Trace-Id"] == "7"
    with pytest.raises(UnknownParameter, match="given twice"):
        client().listPets.prepare(kind="dog", x_trace_id="7", **{"X-Trace-Id": "7"})


def test_parameters_of_one_name() -> None:
    update = client().operation("update-pet")
    assert list(update.__signature__.parameters) == ["path_id", "query_id"]
    assert update.prepare(path_id="7", query_id="8").target == "/pets/7?id=8"
    with pytest.raises(UnknownParameter, match="say path_id or query_id"):
        update.prepare(id="7")


@pytest.mark.parametrize(
    ("names", "expected"),
    [
        (["a-b", "a_b"], ["query_a_b", "query_a_b_"]),
        (["from", "page[size]", "2x", "$"], ["from_", "page_size", "_2x", "_"]),
        (["body"], ["query_body"]),
        (["self", "args", "arguments", "timeout", "headers"], None),
        (["x", "query_x", "X"], None),
    ],
)
def test_names_that_python_does_not_have(names: list[str], expected: list[str] | None) -> None:
    it = one(*(parameter(name) for name in names), **body({"application/json": {}}))
    assert list(it.__signature__.parameters) == [*(expected or names), "body"]
    given = dict(zip(expected or names, "123456", strict=False))
    call = it.prepare(**given)
    assert parse_qsl(call.target.partition("?")[2]) == list(zip(names, "123456", strict=False))


def test_a_name_that_another_one_would_take() -> None:
    it = one(parameter("id", "path"), parameter("id"), parameter("path_id"), path="/it/{id}")
    assert list(it.__signature__.parameters) == ["path_id_", "query_id", "path_id"]
    assert it.prepare(path_id_="1", query_id="2", path_id="3").target == "/it/1?id=2&path_id=3"


@given(st.lists(st.text("ab_-1.", min_size=1, max_size=3), min_size=1, max_size=6, unique=True))
def test_every_parameter_can_be_given(names: list[str]) -> None:
    it = one(*(parameter(name) for name in names), parameter("a", "cookie"))
    shown = [name for name in it.__signature__.parameters if not name.startswith("cookie_")]
    assert all(name.isidentifier() for name in shown)
    values = {name: str(number) for number, name in enumerate(it.__signature__.parameters)}
    call = it.prepare(**values)
    sent = dict(parse_qsl(call.target.partition("?")[2]))
    assert set(sent) == set(names)
    assert len(set(sent.values()) | {value for _, value in call.cookies}) == len(names) + 1


@given(st.text(max_size=10))
def test_an_identifier_is_one(name: str) -> None:
    made = identifier(name)
    assert made.isidentifier()
    compile(f"f({made}=1)", "it", "eval")


@pytest.mark.parametrize(
    ("name", "arguments", "error", "message"),
    [
        ("listPets", {}, MissingParameter, "the query parameter 'kind' is missing: give kind="),
        ("listPets", {"kind": None}, MissingParameter, "is missing"),
        ("getPet", {}, MissingParameter, "the path parameter 'id' is missing: give id="),
        (
            "listPets",
            {"kind": "cat", "limits": 3},
            UnknownParameter,
            "it has no parameter 'limits'; did you mean 'limit'?; it has kind, limit, tags,",
        ),
        ("operation", {"q": 1}, UnknownParameter, "it has no parameter 'q'"),
        (
            "listPets",
            {"kind": "cat", "limit": {"a": {}}},
            BadParameter,
            "the query parameter 'limit' cannot be sent: a list or an object within another one",
        ),
        ("listPets", {"kind": "cat", "x_trace_id": "a\nb"}, BadParameter, "cannot contain that"),
        ("getPet", {"id": ""}, BadParameter, "it would be empty"),
        ("getPet", {"id": ".."}, BadParameter, "'{id}' would become '..'"),
        ("getPet", {"id": "feed"}, BadParameter, "the path is that of operation"),
        ("getPet", {"id": 7, "body": {}}, BadBody, "it takes no body"),
        ("addPet", {}, BadBody, "the body is missing: give body="),
        ("addPet", {"body": object()}, BadBody, "the body cannot be sent"),
    ],
)
def test_arguments_that_do_not_fit(
    name: str, arguments: dict[str, Any], error: type[ArgumentError], message: str
) -> None:
    operation = client().operation(name)
    with pytest.raises(error) as caught:
        operation.prepare(**arguments)
    assert message in str(caught.value)
    assert str(caught.value).startswith(f"{name}: ")
    assert isinstance(caught.value, (TypeError, RequestValidationError))
    assert caught.value.may_have_run is False
    assert caught.value.operation == name
    [problem] = caught.value.errors
    assert problem["detail"] == str(caught.value).partition(": ")[2]
    with pytest.raises(error):
        operation(**arguments)  # and it is not sent, either


def test_arguments_are_given_by_name() -> None:
    with pytest.raises(ArgumentError, match="given by name: kind=, limit=, tags="):
        client().listPets(7)
    with pytest.raises(ArgumentError, match=r"given by name$"):
        client().operation("operation")(7)


def test_an_error_is_of_every_kind_that_it_should_be() -> None:
    with pytest.raises(ArgumentError) as caught:
        client().getPet.prepare()
    kinds = (TypeError, ValidationError, RestsockError)
    assert all(isinstance(caught.value, kind) for kind in kinds)
    assert caught.value.parameter == "id"
    assert caught.value.errors == (
        {
            "in": "path",
            "name": "id",
            "pointer": "#",
            "detail": "the path parameter 'id' is missing: give id=",
        },
    )


def test_what_the_session_has_is_not_missing() -> None:
    spec = document(
        {
            "/it": {
                "get": {
                    "operationId": "it",
                    "parameters": [
                        parameter("X-Key", "header", required=True),
                        parameter("sid", "cookie", required=True),
                        parameter("tenant", required=True),
                    ],
                }
            }
        }
    )
    session = Session()
    api = APIClient(session, spec, base_url=BASE)
    with pytest.raises(MissingParameter, match="tenant"):
        api.it.prepare()
    session.params = {"tenant": "t"}
    with pytest.raises(MissingParameter, match="X-Key"):
        api.it.prepare()
    session.headers["x-key"] = "k"
    with pytest.raises(MissingParameter, match="sid"):
        api.it.prepare()
    session.cookies["sid"] = "s"
    assert api.it.prepare().target == "/it"
    session.headers.pop("x-key")
    assert api.it.using(headers={"X-KEY": "k"}).prepare().headers == {"X-KEY": "k"}


def test_headers_of_the_client_and_of_the_call() -> None:
    api = client(headers={"accept": "text/csv", "X-A": "1"})
    assert api.listPets.prepare(kind="cat").headers == {"accept": "text/csv", "X-A": "1"}
    using = api.listPets.using(headers={"X-A": "2"}, timeout=3)
    assert using.prepare(kind="cat").headers["X-A"] == "2"
    assert (api.listPets._options.timeout, using._options.timeout) == (None, 3)
    assert using.using(timeout=None)._options.timeout is None
    assert type(using) is BlockingOperation


def test_a_path_keeps_what_stands_around_its_variables() -> None:
    it = one(parameter("a", "path"), parameter("b", "path"), path="/x y/{a}.{b}/%2f")
    assert it.prepare(a="ü/", b="..").target == "/x%20y/%C3%BC%2F.../%2f"


def test_a_variable_that_the_document_forgot() -> None:
    spec = document({"/it/{a}": {"get": {"operationId": "it"}}})
    it = client(load(spec, check=False)).it
    assert it.prepare(a=1).target == "/it/1"


# --- bodies ---------------------------------------------------------------------------------------


@dataclasses.dataclass
class Pet:
    name: str
    born: datetime.date


class Model:
    def model_dump(self, mode: str) -> dict[str, str]:
        return {"mode": mode}


JSON, FORM, MULTIPART, TEXT, BYTES = (
    "application/json",
    "application/x-www-form-urlencoded",
    "multipart/form-data",
    "text/plain",
    "application/octet-stream",
)


@pytest.mark.parametrize(
    ("offered", "value", "content_type", "content"),
    [
        ([JSON], {"a": "ä"}, JSON, '{"a":"ä"}'.encode()),
        ([JSON], "text", JSON, b'"text"'),
        ([JSON], [1, None, True], JSON, b"[1,null,true]"),
        ([JSON], 0, JSON, b"0"),
        ([JSON], b"{}", JSON, b"{}"),
        (
            [JSON],
            Pet("Rex", datetime.date(2026, 1, 2)),
            JSON,
            b'{"name":"Rex","born":"2026-01-02"}',
        ),
        ([JSON], Model(), JSON, b'{"mode":"json"}'),
        (["application/merge-patch+json"], {}, "application/merge-patch+json", b"{}"),
        (
            [FORM],
            {"a": "1 &", "b": [1, 2], "c": None, "d": {"e": 1}},
            FORM,
            b"a=1%20%26&b=1&b=2&d=%7B%22e%22%3A1%7D",
        ),
        ([FORM], [("a", 1), ("a", 2)], FORM, b"a=1&a=2"),
        ([TEXT], "hi", TEXT, b"hi"),
        ([TEXT], "hé", TEXT + "; charset=utf-8", "hé".encode()),
        (["text/csv; charset=latin-1"], "hé", "text/csv; charset=latin-1", b"h\xe9"),
        (["application/xml"], "<a/>", "application/xml", b"<a/>"),
        ([BYTES], b"\x00", BYTES, b"\x00"),
        ([BYTES], bytearray(b"a"), BYTES, b"a"),
        (["image/png"], memoryview(b"a"), "image/png", b"a"),
        # Of several, what suits the value.
        ([FORM, JSON], {"a": 1}, JSON, b'{"a":1}'),
        ([FORM, "text/html"], {"a": 1}, FORM, b"a=1"),
        ([JSON, TEXT], "hi", TEXT, b"hi"),
        ([JSON, BYTES], b"hi", BYTES, b"hi"),
        ([TEXT, BYTES], b"hi", BYTES, b"hi"),
        # Ranges.
        (["*/*"], {"a": 1}, JSON, b'{"a":1}'),
        (["*/*"], "hi", TEXT, b"hi"),
        (["*/*"], b"hi", BYTES, b"hi"),
        (["text/*"], "hi", TEXT, b"hi"),
    ],
)
def test_a_body(offered: list[str], value: Any, content_type: str, content: bytes) -> None:
    call = one(**body({media_type: {} for media_type in offered})).prepare(body=value)
    assert (call.headers["Content-Type"], call.body) == (content_type, content)


@pytest.mark.parametrize(
    ("offered", "value", "message"),
    [
        ([JSON], float("nan"), "cannot be sent"),
        ([FORM], 7, "a form is a mapping"),
        ([FORM], ["a"], "a form is a mapping"),
        ([MULTIPART], "a", "is made of a mapping"),
        ([MULTIPART], {"a": ("x",)}, "a file is"),
        ([MULTIPART], {"a": ("x", b"", "a\r\nb: c")}, "one line"),
        ([TEXT], 7, "text/plain cannot carry a int"),
        (["image/png"], {"a": 1}, "image/png cannot carry a dict"),
        (["image/*"], b"a", "say which content_type"),
        ([TEXT, "image/png"], 7, "say content_type"),
        (["text/csv; charset=x-none"], "a", "charset"),
        ([BYTES], io.StringIO("a"), "mode 'rb'"),
    ],
)
def test_a_body_that_its_media_type_cannot_carry(
    offered: list[str], value: Any, message: str
) -> None:
    with pytest.raises(BadBody, match=re.escape(message)):
        one(**body({media_type: {} for media_type in offered})).prepare(body=value)


def test_the_caller_may_say_the_content_type() -> None:
    it = one(**body({JSON: {}, FORM: {}, "image/*": {}}))
    assert it.using(content_type=FORM).prepare(body={"a": 1}).body == b"a=1"
    call = it.using(content_type="image/png").prepare(body=b"p")
    assert call.headers["Content-Type"] == "image/png"
    with pytest.raises(BadBody, match="text/plain is not offered: application/json"):
        it.using(content_type="text/plain").prepare(body="a")


def parts_of(call: PreparedCall) -> dict[str, Any]:
    """What a parser of forms finds in a multipart body."""
    found: dict[str, Any] = {}
    boundary = call.headers["Content-Type"].partition("boundary=")[2]

    def on_field(field: Any) -> None:
        found[field.field_name.decode()] = field.value

    def on_file(file: Any) -> None:
        file.file_object.seek(0)
        found[file.field_name.decode()] = (file.file_name, file.file_object.read())

    parser = FormParser(MULTIPART, on_field, on_file, boundary=boundary.encode())
    content = call.body
    assert content is not None
    for piece in [content] if isinstance(content, bytes) else list(content):  # type: ignore[arg-type]
        parser.write(piece)
    parser.finalize()
    return found


def test_multipart() -> None:
    content = {MULTIPART: {"encoding": {"meta": {"contentType": "application/vnd.x+json"}}}}
    value = {
        "text": "hé\r\n--x",
        "number": 7,
        "file": ('a "b"\r\n.txt', b"abc", "text/x"),
        "data": b"\x00\xff",
        "meta": {"a": [1]},
        "none": None,
    }
    call = one(**body(content)).prepare(body=value)
    assert isinstance(call.body, bytes)
    assert parts_of(call) == {
        "text": "hé\r\n--x".encode(),
        "number": b"7",
        "file": (b"a %22b%22%0D%0A.txt", b"abc"),
        "data": (b"file", b"\x00\xff"),
        "meta": b'{"a":[1]}',
    }
    assert b"Content-Type: application/vnd.x+json\r\n" in call.body
    assert b"Content-Type: text/x\r\n" in call.body


def test_files_are_read_as_they_are_sent() -> None:
    class Big(io.BytesIO):
        name = "/tmp/dir/big.bin"
        longest = 0

        def read(self, size: int | None = -1) -> bytes:
            piece = super().read(size)
            self.longest = max(self.longest, len(piece))
            return piece

    big = Big(b"x" * 1_000_000)
    call = one(**body({MULTIPART: {}})).prepare(body={"a": "1", "file": big})
    assert not isinstance(call.body, bytes)
    assert big.tell() == 0
    assert parts_of(call) == {"a": b"1", "file": (b"big.bin", b"x" * 1_000_000)}
    assert big.longest == 65536

    big = Big(b"x" * 1_000_000)
    call = one(**body({BYTES: {}})).prepare(body=big)
    assert isinstance(call.body, object)
    assert b"".join(call.body) == b"x" * 1_000_000  # type: ignore[arg-type]

    def pieces() -> Iterator[bytes]:
        yield b"a"
        yield b"b"

    call = one(**body({BYTES: {}})).prepare(body=pieces())
    assert list(call.body) == [b"a", b"b"]  # type: ignore[arg-type]


names = st.text('ab"\\;=é\r\n% ', min_size=1, max_size=5)


@given(
    st.dictionaries(
        names,
        st.one_of(
            st.text(max_size=9), st.binary(max_size=9), st.tuples(names, st.binary(max_size=9))
        ),
        max_size=4,
    )
)
def test_a_parser_finds_all_parts(fields: dict[str, Any]) -> None:
    call = one(**body({MULTIPART: {}})).prepare(body=fields)
    assert len(parts_of(call)) == len(fields)


# --- what Python shows ----------------------------------------------------------------------------


def test_the_signature() -> None:
    api = client()
    assert str(inspect.signature(api.listPets)) == (
        "(*, kind: Literal['cat', 'dog'], limit: int = 20, tags: list[str] = None, "
        "x_trace_id: Optional[str] = None, session: str = None)"
    )
    assert str(inspect.signature(api.addPet)) == "(*, body: dict[str, typing.Any])"
    assert str(inspect.signature(api.getPet)) == "(*, id: str)"
    assert str(inspect.signature(api.operation("operation"))) == "()"


def test_help_shows_the_contract() -> None:
    shown = pydoc.plain(pydoc.render_doc(client().listPets))
    for words in (
        "List pets",
        "GET /pets",
        "All of them, page\n    by page.",
        "kind (required, query): Literal['cat', 'dog'].",
        "limit (query): int, at least 1, at most 100, 20 if left out. How many at most.",
        "x_trace_id (header 'X-Trace-Id', deprecated): Optional[str].",
        "200: Pets (application/json, text/csv)",
        "default: An error (no body)",
        "OperationFailed",
    ):
        assert words in shown, shown
    assert "Authorization" not in shown
    assert "Deprecated." in str(client().getPet.__doc__)


def test_help_shows_the_body() -> None:
    shown = str(client().addPet.__doc__)
    assert "body (required, the body): application/json or application/x-www-form" in shown
    assert "name (required): str, at most 20 characters. Its name." in shown
    assert "born: str, date." in shown
    assert "mother: dict[str, Any]." in shown


@pytest.mark.parametrize(
    ("schema", "annotation"),
    [
        ({}, Any),
        (True, Any),
        ({"type": "integer"}, int),
        ({"type": ["integer", "null"]}, int | None),
        ({"type": "integer", "nullable": True}, int | None),
        ({"anyOf": [{"type": "integer"}, {"type": "string"}]}, int | str),
        ({"oneOf": [{"type": "integer"}, {}]}, Any),
        ({"type": "array", "items": {"type": "number"}}, list[float]),
        ({"type": "array"}, list[Any]),
        ({"enum": ["a", None]}, Literal["a", None]),
        ({"enum": [{"a": 1}]}, Any),
        ({"type": "string", "enum": [str(number) for number in range(99)]}, str),
        ({"type": "array", "items": {"$ref": "#/components/schemas/Ring"}}, None),
    ],
)
def test_annotations(schema: Any, annotation: Any) -> None:
    spec = document(
        {"/it": {"get": {"operationId": "it", "parameters": [parameter("a", schema=schema)]}}},
        components={
            "schemas": {"Ring": {"type": "array", "items": {"$ref": "#/components/schemas/Ring"}}}
        },
    )
    it = client(load(spec, check=False)).it
    found = it.__signature__.parameters["a"].annotation
    if annotation is None:
        assert str(found).startswith("list[list[list[")
    else:
        assert found == annotation
    assert isinstance(it.__doc__, str)
