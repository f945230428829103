"""Fixtures for the adapter: a scripted peer, and a session that reaches it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, cast

import pytest
import requests

from restsock._options import Limits, Timeouts
from restsock.adapters import TunnelAdapter
from restsock.threads import _driver
from tests.adapters.fake_tunnel import FakeExchange, FakeRequester, Loop, ok


@pytest.fixture
def loop() -> Iterator[Loop]:
    loop = Loop()
    yield loop
    loop.close()


@pytest.fixture
def tunnel(loop: Loop, monkeypatch: pytest.MonkeyPatch) -> FakeRequester:
    monkeypatch.setattr(_driver, "Exchange", FakeExchange)
    tunnel = FakeRequester(loop, Limits(), Timeouts(connect=5.0))
    tunnel.scripts = [ok]
    return tunnel


@pytest.fixture
def adapter(tunnel: FakeRequester) -> TunnelAdapter:
    return TunnelAdapter(cast("Any", tunnel))


@pytest.fixture
def session(adapter: TunnelAdapter) -> Iterator[requests.Session]:
    with requests.Session() as session:
        session.trust_env = False
        session.mount("http://edge-1/", adapter)
        yield session
