"""Options check themselves."""

from __future__ import annotations

from typing import Any

import pytest

from restsock._exceptions import PeerUnavailable, RestsockError
from restsock.messaging import (
    AskFailed,
    AskTimeout,
    MessagingClosed,
    MessagingError,
    MessagingOptions,
    MessagingUnavailable,
    _errors,
)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("max_message", 1000),
        ("max_message", 100_000),
        ("credit_messages", 0),
        ("credit_bytes", 100_000),
        ("ack_timeout", 0),
        ("ask_timeout", -1),
        ("dedup_seconds", float("inf")),
        ("grace", -1),
        ("history_seconds", "long"),
        ("outbox_messages", 0),
        ("outbox_bytes", 10),
        ("queue_messages", True),
        ("queue_bytes", 10),
        ("queue_full", "panic"),
        ("foreign_rate", 0),
        ("outbox_full", "disconnect"),
        ("ask_limit", 0),
        ("threads", 0),
        ("max_channels", 0),
        ("max_epochs", 0),
        ("max_inboxes", 0),
        ("dedup_messages", 0),
        ("history_messages", -1),
        ("history_bytes", -1),
        ("dead_letters", -1),
        ("slow_above", 1.5),
        ("slow_below", 0.9),
    ],
)
def test_a_wrong_value_is_named(name: str, value: Any) -> None:
    with pytest.raises(ValueError, match=f"MessagingOptions.{name}|slow_above"):
        MessagingOptions(**{name: value})


def test_defaults_and_extremes() -> None:
    assert MessagingOptions().redelivery.tries == 10
    MessagingOptions(grace=0, history_messages=0, history_bytes=0, dead_letters=0)
    MessagingOptions(max_message=16 * 1024, credit_bytes=32 * 1024, queue_bytes=16 * 1024)


def test_errors_say_whether_trying_again_helps() -> None:
    for name in _errors.__all__:
        kind = getattr(_errors, name)
        if isinstance(kind, type) and issubclass(kind, BaseException):
            assert issubclass(kind, MessagingError)
            assert issubclass(kind, RestsockError)
            assert kind.kind in ("fatal", "transient", "invalid")
    assert issubclass(MessagingUnavailable, PeerUnavailable)
    assert MessagingUnavailable("no").may_have_run is False
    assert issubclass(AskTimeout, TimeoutError)
    assert MessagingClosed.kind == "fatal"
    assert AskFailed("no", kind="invalid").kind == "invalid"
