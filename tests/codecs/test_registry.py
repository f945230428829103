"""What makes codecs and framings, by its name."""

from __future__ import annotations

import pytest

from restsock.codecs._registry import Registry, library, named

REGISTRY = Registry("thing", {"null": "_plain:Null", "csv": "_csv:CSV"}, {"nil": "null"})


def test_names_and_other_names() -> None:
    assert REGISTRY.names == ("null", "csv")
    assert REGISTRY.find("nil") == REGISTRY.find("null")
    with pytest.raises(ValueError, match=r"^there is no thing 'nill'; did you mean 'nil'\?$"):
        REGISTRY.find("nill")


def make(*, bounds: int, size: int, color: str = "red") -> str:
    if size < 0:
        raise ValueError("size is below 0")
    if size == 0:
        raise ImportError("needs more")
    return f"{bounds} {size} {color}"


def test_options_are_keyword_arguments() -> None:
    assert REGISTRY.build("x", make, {"size": 5}, bounds=7) == "7 5 red"
    with pytest.raises(ValueError, match=r"^the thing 'x' has no option 'colour'; did you mean"):
        REGISTRY.build("x", make, {"size": 5, "colour": 1}, bounds=7)
    with pytest.raises(ValueError, match=r"^the thing 'x' needs the option 'size'$"):
        REGISTRY.build("x", make, {}, bounds=7)
    with pytest.raises(ValueError, match=r"^the thing 'x': size is below 0$"):
        REGISTRY.build("x", make, {"size": -1}, bounds=7)
    with pytest.raises(ImportError, match=r"^the thing 'x' needs more$"):
        REGISTRY.build("x", make, {"size": 0}, bounds=7)


def test_a_name_with_options_or_without() -> None:
    assert named("x", "thing") == ("x", {})
    assert named({"name": "x"}, "thing") == ("x", {})
    assert named({"name": "x", "config": {"max-bytes": 1}}, "thing") == ("x", {"max_bytes": 1})


def test_a_library_that_is_not_there() -> None:
    assert library("json", "json").__name__ == "json"
    with pytest.raises(ImportError, match=r"^needs x: pip install 'restsock\[codecs\]'$"):
        library("there_is_no_such_module", "x")
