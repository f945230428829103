"""Which operation a request is for."""

from __future__ import annotations

import string
from urllib.parse import quote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from restsock.openapi import load
from restsock.openapi.document._routes import NoSuchMethod, NoSuchPath
from tests.openapi.documents import document, operation, parameter

PETS = load(document())


@pytest.mark.parametrize(
    ("method", "path", "id", "variables"),
    [
        ("GET", "/pets", "listPets", {}),
        ("HEAD", "/pets", "listPets", {}),
        ("GET", "/p%65ts", "listPets", {}),
        ("GET", "/pets/mine", "mine", {}),
        ("PUT", "/pets/mine", "putPet", {"number": "mine"}),
        ("GET", "/pets/a%2Fb", "getPet", {"number": "a/b"}),
        ("GET", "/pets/%25", "getPet", {"number": "%"}),
    ],
)
def test_found(method: str, path: str, id: str, variables: dict[str, str]) -> None:
    match = PETS.match(method, path)
    assert (match.operation.id, match.variables) == (id, variables)


@pytest.mark.parametrize(
    "path", ["", "/", "/pets/", "/pets/1/2", "//pets", "/Pets", "/pets/{number}/"]
)
def test_no_such_path(path: str) -> None:
    with pytest.raises(NoSuchPath):
        PETS.match("GET", path)


def test_no_such_method() -> None:
    with pytest.raises(NoSuchMethod) as caught:
        PETS.match("DELETE", "/pets/mine")
    assert caught.value.allowed == ("GET", "PUT")


def test_templates_within_a_segment() -> None:
    names = [parameter("path", name, {"type": "string"}) for name in ("a", "b")]
    loaded = load(
        document(
            {
                "/f/{a}.{b}": {"parameters": names, "get": operation(operationId="dotted")},
                "/f/{a}": {"parameters": names[:1], "get": operation(operationId="plain")},
                "/f/x{a}": {"parameters": names[:1], "get": operation(operationId="prefixed")},
            }
        )
    )
    assert loaded.match("GET", "/f/q").operation.id == "plain"
    with pytest.raises(NoSuchPath):
        loaded.match("GET", "/f/")  # a variable is not empty


def test_the_fewest_variables_win() -> None:
    names = [parameter("path", name, {"type": "string"}) for name in ("a", "b")]
    loaded = load(
        document(
            {
                "/{a}/{b}": {"parameters": names, "get": operation(operationId="two")},
                "/{a}/mine": {"parameters": names[:1], "get": operation(operationId="one")},
            }
        )
    )
    assert loaded.match("GET", "/x/mine").operation.id == "one"
    assert loaded.match("GET", "/x/y").operation.id == "two"


@given(st.text(string.printable + "äß€/%", min_size=1))
def test_a_variable_is_what_was_put_in(text: str) -> None:
    match = PETS.match("GET", "/pets/" + quote(text, safe=""))
    if text != "mine":
        assert match.variables == {"number": text}


@given(st.text(string.ascii_letters + "/%{}.;=", max_size=12), st.sampled_from(["GET", "PUT", "X"]))
def test_any_path_is_found_or_not(path: str, method: str) -> None:
    try:
        PETS.match(method, path)
    except (NoSuchPath, NoSuchMethod):
        pass
