"""Clients whose listeners follow a script."""

from __future__ import annotations

from typing import Any

from restsock import Backoff
from restsock.client import Client, parse_url
from tests.memory_network import Script

STEADY = Backoff(initial=1, factor=2, cap=60, jitter=False)


def client_of(script: Script, **options: Any) -> Client:
    options.setdefault("backoff", STEADY)
    return Client(parse_url("ws://hub/"), open_stream=script.open_stream, **options)
