"""Connections are found by id, name and metadata of any kind, and leave nothing behind."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any, cast

import pytest

from restsock.connection import Connection
from restsock.server import Connections
from restsock.server import _registry as module


def peer(id: str, name: str | None = None, metadata: Any = None) -> Connection:
    return cast("Connection", SimpleNamespace(id=id, name=name, metadata=metadata))


def test_found_and_forgotten() -> None:
    registry = Connections()
    one, two = peer("1", "edge", {"a": 1}), peer("2")
    assert registry.add(one) is None
    assert registry.add(two) is None
    assert len(registry) == 2
    assert list(registry) == [one, two]
    assert one in registry
    assert registry.by_id("1") is one
    assert registry.by_name("edge") is one
    assert registry.by_metadata({"a": 1}) == [one]
    assert registry.by_metadata(None) == [two]
    registry.remove(one)
    registry.remove(one)
    assert list(registry) == [two]
    assert one not in registry
    assert registry.by_id("1") is None
    assert registry.by_name("edge") is None
    assert registry.by_metadata({"a": 1}) == []
    assert registry.was_seen("edge")
    assert not registry.was_seen("other")


@pytest.mark.parametrize("unknown", ["", "x", None, 7, [], {}])
def test_unknown_is_none(unknown: Any) -> None:
    registry = Connections()
    registry.add(peer("1", "edge"))
    assert registry.by_id(unknown) is None
    assert registry.by_name(unknown) is None
    assert unknown not in registry


def test_the_newer_of_one_name() -> None:
    registry = Connections()
    older, newer = peer("1", "edge"), peer("2", "edge")
    registry.add(older)
    assert registry.add(newer) is older
    assert registry.by_name("edge") is newer
    assert registry.by_id("1") is older
    # The older one's end must not take the newer one's name along.
    registry.remove(older)
    assert registry.by_name("edge") is newer
    registry.remove(newer)
    assert registry.by_name("edge") is None


@pytest.mark.parametrize(
    ("stored", "wanted", "found"),
    [
        ({"a": 1, "b": [2, {"c": None}]}, {"b": [2, {"c": None}], "a": 1}, True),
        ({"a": 1}, {"a": 2}, False),
        ([1, 2], [1, 2], True),
        ([1, 2], (1, 2), True),
        ([1, 2], [2, 1], False),
        (1, 1.0, True),
        (1, True, False),
        (0, False, False),
        (None, None, True),
        (None, False, False),
        ("1", 1, False),
        (1e300, 1e300, True),
        ("é", "é", True),
        ("x", {"x"}, False),  # a set is no JSON value
        ("x", float("nan"), False),
        ("x", object(), False),
    ],
)
def test_metadata_compare_as_json(stored: Any, wanted: Any, found: bool) -> None:
    registry = Connections()
    connection = peer("1", metadata=stored)
    registry.add(connection)
    assert registry.by_metadata(wanted) == ([connection] if found else [])


def test_metadata_too_deep_to_compare_is_not_found_and_does_no_harm() -> None:
    deep: Any = 1
    for _ in range(100_000):
        deep = [deep]
    registry = Connections()
    connection = peer("1", metadata=deep)
    registry.add(connection)
    assert registry.by_id("1") is connection
    assert registry.by_metadata(deep) == []
    registry.remove(connection)
    assert len(registry) == 0
    # Taken apart step by step: freeing it in one go is what some interpreters choke on.
    while isinstance(deep, list):
        deep = deep.pop()


def test_iterating_while_it_changes() -> None:
    registry = Connections()
    for number in range(5):
        registry.add(peer(str(number)))
    for connection in registry:
        registry.remove(connection)
    assert len(registry) == 0


def test_names_seen_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_MAX_SEEN", 3)
    registry = Connections()
    for number in range(10):
        connection = peer(str(number), f"edge-{number}")
        registry.add(connection)
        registry.remove(connection)
    assert [registry.was_seen(f"edge-{number}") for number in range(10)] == [False] * 7 + [True] * 3
