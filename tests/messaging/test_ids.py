"""Ids of envelopes."""

from __future__ import annotations

import os
import uuid

from restsock.messaging._ids import IdSource


def test_they_are_uuids_of_version_4() -> None:
    ids = IdSource(os.urandom)
    found = [ids.uuid() for _ in range(500)]
    assert len({*found}) == 500
    for text in found:
        one = uuid.UUID(text)
        assert str(one) == text
        assert one.version == 4
        assert one.variant == uuid.RFC_4122


def test_an_epoch_is_of_its_own() -> None:
    ids = IdSource(os.urandom)
    assert ids.epoch() != ids.epoch()
    assert ids.epoch().isprintable()
    assert len(ids.epoch()) <= 64
