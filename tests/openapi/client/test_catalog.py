"""`Catalog`: operations and their requests, without sending them."""

from __future__ import annotations

import pytest

import restsock
from restsock.openapi import Catalog, Contract, UnknownOperation
from tests.openapi.documents import document


def test_it_makes_and_checks_requests() -> None:
    catalog = Catalog(document())
    arguments = catalog.arguments("listPets")
    call = arguments.call({"limit": 5}, headers={})
    assert (call.method, call.target) == ("GET", "/pets?limit=5")
    checks = catalog.check(arguments, call)
    assert checks is not None
    catalog.check_response(checks, 404, [], b"")
    with pytest.raises(restsock.RequestValidationError):
        catalog.check(arguments, arguments.call({"limit": 99}, headers={}))


def test_it_knows_all_operations_and_hints_at_names() -> None:
    catalog = Catalog(document())
    assert len(catalog.names) == 7
    assert catalog.document.title == "Pets"
    with pytest.raises(UnknownOperation, match="listPets"):
        catalog.arguments("listPet")
    assert catalog.arguments("listPets") is catalog.arguments("listPets")


def test_it_tells_arguments_by_either_name() -> None:
    arguments = Catalog(document()).arguments("listPets")
    assert arguments.takes("x_key")
    assert arguments.takes("X-Key")
    assert not arguments.takes("body")
    assert arguments.argument_of("header", "x-KEY") == "x_key"
    assert arguments.argument_of("query", "X-Key") is None


def test_nothing_is_checked_where_nothing_is_to_be() -> None:
    catalog = Catalog(Contract(document(), requests=False, responses=False))
    arguments = catalog.arguments("listPets")
    assert catalog.check(arguments, arguments.call({"limit": 99}, headers={})) is None
    assert catalog.contract is None


def test_a_document_that_is_elsewhere_is_no_use() -> None:
    with pytest.raises(ValueError, match="not here"):
        Catalog(True)
