"""Loading: what is taken, what is refused and in which words, references, look-ups."""

from __future__ import annotations

import contextlib
import json
import re
import socket
import time
from pathlib import Path
from typing import Any

import fastapi
import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

import restsock
from restsock.openapi import Document, load
from restsock.openapi.document._document import parse
from tests.openapi.documents import PETS, VERSIONS, document, operation, parameter, write

OUTWARD = {"propertyName": "k", "mapping": {"x": "file:///etc/passwd"}}
VARIABLES = {
    "scheme": {"default": "https"},
    "host": {"default": "h"},
    "n": {"default": "1", "enum": ["1", "2"]},
}


@pytest.mark.parametrize("version", VERSIONS)
def test_each_version_is_loaded(version: str) -> None:
    loaded = load(document(version=version))
    assert loaded.version == tuple(map(int, version.split(".")[:2]))
    assert loaded.title == "Pets"
    assert [str(found) for found in loaded.operations] == [
        *("listPets", "createPet", "mine", "getPet", "putPet", "upload", "events")
    ]


def test_a_document_is_loaded_once() -> None:
    loaded = load(document())
    assert load(loaded) is loaded


@pytest.mark.parametrize("name", ["spec.json", "spec.yaml", "spec"])
def test_files(tmp_path: Path, name: str) -> None:
    text = yaml.safe_dump(document()) if name.endswith("yaml") else json.dumps(document())
    path = write(tmp_path, name, text)
    assert load(path).mapping == load(str(path)).mapping == document()


def test_yaml_is_read_as_json_would_be(tmp_path: Path) -> None:
    path = write(
        tmp_path,
        "spec.yaml",
        """
        openapi: 3.1.0
        info: {title: T, version: 2020-01-01}
        paths:
          /a:
            get:
              responses:
                200: {description: fine}
        """,
    )
    loaded = load(path)
    assert loaded.mapping["info"]["version"] == "2020-01-01"
    assert "200" in loaded.operations[0].mapping["responses"]


def test_an_app_makes_a_document_of_itself() -> None:
    app = fastapi.FastAPI(title="Mine")

    @app.get("/x/{y}")
    def x(y: int) -> int:
        return y

    assert load(app.openapi()).title == "Mine"


@pytest.mark.parametrize(
    ("mapping", "words"),
    [
        ({"swagger": "2.0"}, "swagger2openapi"),
        ({}, "no version"),
        ({"openapi": "4.0.0"}, "'4.0.0'"),
        ({"openapi": 3.1}, "3.1"),
        ({"openapi": "3.1.0", "info": {}, "paths": {}}, "#/info"),
        (document({"/a": {"get": {"responses": {"200": {"$ref": "#/nowhere"}}}}}), "nowhere"),
        (document({"/a": {"$ref": "http://127.0.0.1:1/a"}}), "URL"),
        (document({"/a": {"$ref": "other.yaml"}}), "that is not a file"),
        (document({"/a": {"$ref": "//host/a"}}), "URL"),
        (document({}, components={"schemas": {"A": {"discriminator": OUTWARD}}}), "URL"),
    ],
)
def test_what_is_no_document_is_refused(mapping: dict[str, Any], words: str) -> None:
    with pytest.raises(restsock.SpecError) as caught:
        load(mapping)
    assert words in str(caught.value)
    assert len(str(caught.value)) < 500
    assert caught.value.may_have_run is False


def test_what_is_no_spec_at_all() -> None:
    with pytest.raises(TypeError, match="name of a file"):
        load(5)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("text", "words"),
    [("{", "neither JSON nor YAML"), ("[]", "list"), (": :\n\t", "neither"), ("", "NoneType")],
)
def test_files_that_are_none(tmp_path: Path, text: str, words: str) -> None:
    with pytest.raises(restsock.SpecError, match=words):
        load(write(tmp_path, "spec.yaml", text))


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(restsock.SpecError, match="cannot read"):
        load(tmp_path / "none.json")


def test_an_unchecked_document(tmp_path: Path) -> None:
    wrong = document({"/a": {"get": operation(surprise=1)}}, info={"title": "T"})
    with pytest.raises(restsock.SpecError):
        load(wrong)
    assert load(wrong, check=False).operations[0].path == "/a"


# --- references -------------------------------------------------------------------------------


def test_other_files_become_a_part_of_it(tmp_path: Path) -> None:
    write(
        tmp_path,
        "shared/pets.yaml",
        yaml.safe_dump(
            {
                "item": {
                    "parameters": [{"$ref": "#/number"}],
                    "get": operation(requestBody={"$ref": "../bodies.json#/pet"}),
                },
                "number": parameter("path", "number", {"type": "integer"}),
                "name": {"$ref": "../spec.json#/components/schemas/Pet"},
            }
        ),
    )
    write(
        tmp_path,
        "bodies.json",
        {"pet": {"content": {"application/json": {"schema": {"$ref": "shared/pets.yaml#/name"}}}}},
    )
    spec = document({"/pets/{number}": {"$ref": "shared/pets.yaml#/item"}})
    loaded = load(write(tmp_path, "spec.json", spec))
    assert len(loaded.mapping["x-files"]) == 2  # the document itself is not one of them
    (found,) = loaded.operations
    assert loaded.parameters(found)[0].name == "number"
    body = loaded.resolve(found.mapping["requestBody"])
    schema = loaded.resolve(body["content"]["application/json"]["schema"])
    assert schema["required"] == ["name"]
    assert load(json.loads(loaded.to_json())).operations == loaded.operations


def test_files_may_refer_to_each_other_in_a_ring(tmp_path: Path) -> None:
    write(tmp_path, "a.json", {"x": {"$ref": "b.json#/x"}})
    write(tmp_path, "b.json", {"x": {"$ref": "a.json#/x"}})
    spec = document(
        {"/a": {"get": operation()}}, components={"schemas": {"A": {"$ref": "a.json#/x"}}}
    )
    loaded = load(write(tmp_path, "spec.json", spec), check=False)
    with pytest.raises(restsock.SpecError, match="ring"):
        loaded.resolve({"$ref": "#/components/schemas/A"})


def test_what_a_peer_sent_refers_to_itself_alone() -> None:
    spec = json.dumps(document({"/a": {"$ref": "spec.json"}})).encode()
    with pytest.raises(restsock.SpecError, match="that is not a file"):
        parse(spec, source="/openapi.json of the peer")


def test_yaml_aliases_of_a_peer_are_refused() -> None:
    bomb = b"a: &a [x, x]\nb: &b [*a, *a]\nopenapi: 3.1.0\n"
    with pytest.raises(restsock.SpecError, match="aliases"):
        parse(bomb, source="the peer")


def test_deep_nesting_is_an_error_of_ours() -> None:
    with pytest.raises(restsock.SpecError):
        parse(b'{"a":' * 100_000, source="the peer")


@pytest.mark.parametrize("ref", ["#/paths/~1pets/nope", "#/paths/9", "#/info/title/x"])
def test_references_that_lead_nowhere(ref: str) -> None:
    with pytest.raises(restsock.SpecError, match="nowhere"):
        load(document()).resolve({"$ref": ref})


def test_resolve_leaves_alone_what_is_no_reference() -> None:
    loaded = load(document())
    assert loaded.resolve(5) == 5
    assert loaded.resolve({"$ref": "#/paths/~1pets/get/operationId"}) == "listPets"


# --- look-ups -----------------------------------------------------------------------------------


def test_operations_by_id() -> None:
    loaded = load(document())
    found = loaded.operation("getPet")
    assert found is not None
    assert found[:3] == ("getPet", "GET", "/pets/{number}")
    assert loaded.operation("nope") is None


def test_own_parameters_hide_those_of_the_path() -> None:
    paths = {
        "/a": {
            "parameters": [
                parameter("query", "q", {"type": "integer"}),
                parameter("header", "q", {"type": "integer"}),
            ],
            "get": operation(parameters=[parameter("query", "q", {"type": "string"})]),
        }
    }
    loaded = load(document(paths))
    found = {p.location: p.schema["type"] for p in loaded.parameters(loaded.operations[0])}
    assert found == {"query": "string", "header": "integer"}


def test_methods_of_3_2() -> None:
    item = {"query": operation(), "additionalOperations": {"PURGE": operation()}}
    loaded = load(document({"/a": item}, version="3.2.0"))
    assert [found.method for found in loaded.operations] == ["QUERY", "PURGE"]
    assert loaded.match("PURGE", "/a").operation.method == "PURGE"


@pytest.mark.parametrize(
    ("servers", "bases"),
    [
        (None, ("",)),
        ([{"url": "/"}], ("",)),
        ([{"url": "https://api.example/v1/"}, {"url": "/v2"}], ("/v1", "/v2")),
        ([{"url": "{scheme}://{host}/v{n}", "variables": VARIABLES}], ("/v1", "/v2")),
    ],
)
def test_servers_are_paths(servers: Any, bases: tuple[str, ...]) -> None:
    more = {} if servers is None else {"servers": servers}
    loaded = load(document(PETS, **more))
    assert loaded.base_paths(loaded.operations[0]) == bases
    for base in bases:
        assert loaded.match("GET", f"{base}/pets").operation.id == "listPets"


def test_its_repr_tells_what_it_is() -> None:
    assert repr(load(document())) == "<Document 'Pets' from a mapping, OpenAPI 3.1>"
    assert isinstance(load(document()), Document)


# --- what a peer sends ----------------------------------------------------------------------------


def refused(data: bytes | dict[str, Any]) -> str:
    """What is said of a peer's document."""
    data = json.dumps(data).encode() if isinstance(data, dict) else data
    start = time.thread_time()
    with pytest.raises(restsock.SpecError) as caught:
        parse(data, source="the peer")
    assert time.thread_time() - start < 10
    return str(caught.value)


def schemas(**found: Any) -> dict[str, Any]:
    return document({}, components={"schemas": found})


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b" " * 5_000_000, "larger than"),
        (b'{"a":' * 100_000, "nested too deeply"),
        (b"a: " + b"[" * 200_000, "neither JSON nor YAML|nested"),
        (b"".join(b" " * depth + b"a:\n" for depth in range(2000)), "nested more than 100"),
        (b"a: 1" + b":1" * 500_000, "1000 digits"),
        (b"a: 1" + b"1" * 500_000, "1000 digits"),
        (b'{"a": 1' + b"1" * 500_000 + b"}", "1000 digits"),
        (b"openapi: 3.1.0\na: .inf\n", "Infinity"),
        (b"a: !!python/object/apply:os.system [ls]\n", "constructor"),
        (b'{"openapi": "3.1.0", "openapi": "3.0.3"}', "twice"),
    ],
    ids=[
        "size",
        "JSON",
        "flow",
        "blocks",
        "base 60",
        "digits",
        "JSON digits",
        "inf",
        "tag",
        "twice",
    ],
)
def test_what_is_too_much_of_a_peer(data: bytes, words: str) -> None:
    assert re.search(words, refused(data))


@pytest.mark.parametrize("version", VERSIONS)
def test_a_pattern_of_a_peer_is_not_run_by_an_engine_that_backtracks(version: str) -> None:
    schema = {"type": "string", "pattern": "^(a+)+$", "default": "a" * 40 + "b"}
    words = refused(document({}, version, components={"schemas": {"A": schema}}))
    assert "does not match the pattern" in words


def test_depth_and_number_of_values() -> None:
    nested: Any = {}
    for _ in range(120):
        nested = {"items": nested}
    assert "nested more than 100 deep" in refused(schemas(A=nested))
    assert "more than 500000 values" in refused(schemas(A={"enum": [0] * 600_000}))
    many = {f"A{at}": {"pattern": f"^.{{1,1000}}{at}$"} for at in range(2000)}
    assert "patterns are too large" in refused(schemas(**many))


def test_the_time_it_takes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("restsock.openapi.document._document.PEER_SECONDS", 0.2)
    choices = {name: {"default": "x", "enum": ["x", *map(str, range(300))]} for name in "ab"}
    servers = [{"url": "/{a}/{b}", "variables": choices}] * 20
    paths = {f"/p{number}": {"get": operation()} for number in range(300)}
    assert "takes more than 0.2 s" in refused(document(paths, servers=servers))


def test_schemas_that_multiply_do_not_take_long_to_check() -> None:
    doubled: dict[str, Any] = {
        f"L{at}": {"allOf": [{"$ref": f"#/components/schemas/L{at + 1}"}] * 2} for at in range(40)
    }
    start = time.thread_time()
    parse(json.dumps(schemas(**doubled, L40={"type": "integer"})).encode(), source="the peer")
    assert time.thread_time() - start < 10


def test_a_ring_of_schemas_that_others_need_is_fine() -> None:
    children = {"type": "array", "items": {"$ref": "#/components/schemas/Node"}}
    base = {"type": "object", "properties": {"id": {}, "children": children}}
    node = {"allOf": [base, {"required": ["id", "children"]}]}
    ring = {"allOf": [{"$ref": "#/components/schemas/Ring"}, {"properties": {"x": {}}}]}
    parse(json.dumps(schemas(Node=node, Ring=ring)).encode(), source="the peer")
    wrong = {"allOf": [base], "required": ["nope"]}
    assert "nope" in refused(schemas(Node=node, Wrong=wrong))


def test_nothing_is_fetched(monkeypatch: pytest.MonkeyPatch) -> None:
    def connect(*args: Any) -> None:
        raise AssertionError("a connection")

    monkeypatch.setattr(socket.socket, "connect", connect)
    for schema in (
        {"$id": "http://127.0.0.1:1/a", "$ref": "#/b"},
        {"$id": "http://127.0.0.1:1/a", "$dynamicRef": "http://127.0.0.1:1/b"},
        {"$schema": "http://127.0.0.1:1/s", "type": "string"},
    ):
        get = operation(parameters=[{"in": "query", "name": "q", "schema": schema}])
        spec = document({"/a": {"get": get}}, components={"schemas": {"A": schema}})
        with contextlib.suppress(restsock.SpecError):
            parse(json.dumps(spec).encode(), source="the peer")


@settings(deadline=None, max_examples=60)
@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.text(max_size=5),
        lambda inner: (
            st.lists(inner, max_size=3)
            | st.dictionaries(
                st.sampled_from(
                    [
                        *("get", "parameters", "schema", "$ref", "in", "name", "responses", "200"),
                        *("content", "application/json", "allOf", "properties", "pattern"),
                    ]
                ),
                inner | st.sampled_from(["#/paths/~1a", "#/paths", "query", "^a$", "object"]),
                max_size=4,
            )
        ),
        max_leaves=12,
    )
)
def test_whatever_a_peer_sends_is_a_document_or_an_error_of_ours(item: Any) -> None:
    spec = json.dumps({**document({}), "paths": {"/a": item}}).encode()
    with contextlib.suppress(restsock.SpecError):
        parse(spec, source="the peer")
