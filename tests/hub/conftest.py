"""What the tests of hubs share."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from typing import Any

import pytest

from restsock.hub import Hub
from tests.covered import _claims_are_true as _claims_are_true
from tests.covered import note_config


@pytest.fixture(autouse=True)
def _answers_keep_to_the_document(caplog: pytest.LogCaptureFixture) -> Iterator[None]:
    """The admin API logs an answer that breaks its document; no test may cause one."""
    yield
    errors = [
        record.getMessage()
        for when in ("setup", "call")
        for record in caplog.get_records(when)
        if record.name == "restsock.openapi" and record.levelno >= logging.ERROR
    ]
    assert errors == []


@pytest.fixture(autouse=True)
def _configurations_are_noted(monkeypatch: pytest.MonkeyPatch) -> None:
    """Those that hubs use, from their beginning and after a reload."""

    def note(hub: Hub, name: str, value: Any) -> None:
        object.__setattr__(hub, name, value)
        if name == "config":
            note_config(value)

    monkeypatch.setattr(Hub, "__setattr__", note)
