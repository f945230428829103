"""Authentication by named environment variables: none, bearer, basic."""

from __future__ import annotations

import base64
from collections.abc import Mapping
from functools import partial
from typing import Any

import pytest
import trio

from restsock import WebSocketRefused
from restsock.messaging import Messaging, Semstreams, authenticator_from, credentials_from
from restsock.websockets import Reconnect
from tests.messaging.dialects.peers import Kept, client, data, served
from tests.waiting import until

BEARER = {"type": "bearer", "bearer_token_env": "TEST_TOKEN"}
BASIC = {
    "type": "basic",
    "basic_username_env": "TEST_USER",
    "basic_password_env": "TEST_PASSWORD",
}
RIGHT = {
    "bearer": "Bearer s3cret-token",
    "basic": "Basic " + base64.b64encode(b"edge:s3cret-word").decode(),
}


@pytest.fixture(autouse=True)
def _variables(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in (
        ("TEST_TOKEN", "s3cret-token"),
        ("TEST_USER", "edge"),
        ("TEST_PASSWORD", "s3cret-word"),
    ):
        monkeypatch.setenv(name, value)


@pytest.mark.parametrize("config", [BEARER, BASIC])
async def test_401_before_the_upgrade_unless_the_secret_is_right(config: Mapping[str, Any]) -> None:
    messaging = Messaging()
    kept = Kept(messaging, "data")
    right = RIGHT[config["type"]]
    endpoint = messaging.endpoint(Semstreams(), auth=authenticator_from(config))
    async with served(messaging, endpoint) as server:
        for wrong in (None, right[:-2], RIGHT["basic" if config is BEARER else "bearer"]):
            fields = {} if wrong is None else {"Authorization": wrong}
            with pytest.raises(Exception, match="HTTP 401"):
                async with client(server, additional_headers=fields):
                    pass
        assert messaging.statistics().errors == {"auth_failed": 3}
        async with client(server, additional_headers={"Authorization": right}) as peer:
            await peer.send_json(data(1))
            assert (await peer.receive_json())["type"] == "ack"
        principal = kept.messages[0].session.principal
        assert principal is not None
        assert principal.name == ("bearer" if config is BEARER else "edge")


@pytest.mark.parametrize("config", [BEARER, BASIC])
async def test_a_dialer_shows_its_secret(config: Mapping[str, Any]) -> None:
    listener, dialer = Messaging(), Messaging()
    endpoint = listener.endpoint(Semstreams(), auth=authenticator_from(config))
    async with served(listener, endpoint) as server, dialer, trio.open_nursery() as nursery:
        url = server.url.rstrip("/") + "/ws"
        dial = partial(dialer.dial, url, Semstreams(), reconnect=Reconnect(tries=1))
        with pytest.raises(WebSocketRefused):
            await dial(auth=None)
        assert dialer.statistics().errors == {"auth_failed": 1}
        assert not dialer.health().healthy
        assert "out of retries" in dialer.health().status
        nursery.start_soon(partial(dial, auth=credentials_from(config)))
        await until(lambda: len(dialer.sessions))
        assert dialer.health().healthy
        nursery.cancel_scope.cancel()


async def test_none_lets_all_in() -> None:
    assert authenticator_from({}) is None
    assert authenticator_from({"type": "none"}) is None
    assert credentials_from({"type": "none"}) is None


@pytest.mark.parametrize(
    ("config", "words"),
    [
        ({"type": "digest"}, "type of auth"),
        ({"type": "bearer"}, "bearer_token_env"),
        ({"type": "bearer", "bearer_token_env": 7}, "bearer_token_env"),
        ({"type": "bearer", "bearer_token_env": "NOT_SET"}, "NOT_SET"),
        ({"type": "basic", "basic_username_env": "TEST_USER"}, "basic_password_env"),
        ({**BASIC, "basic_username_env": "NOT_SET"}, "basic_username_env"),
        ({"type": "bearer", "bearer_token_en": "X"}, "did you mean 'bearer_token_env'"),
    ],
)
def test_a_wrong_configuration_is_refused_and_the_key_is_named(
    config: dict[str, Any], words: str
) -> None:
    for read in (authenticator_from, credentials_from):
        with pytest.raises(ValueError, match=words) as caught:
            read(config)
        assert "s3cret" not in str(caught.value)
