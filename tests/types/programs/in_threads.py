"""The API for threads, requests, httpx, and the pairs for tests."""

from __future__ import annotations

from collections.abc import Iterator

import httpx
import requests
from requests.adapters import BaseAdapter
from typing_extensions import assert_type

import restsock
import restsock.sync
from restsock.messaging.sync import Message, Messaging, Request, Session
from restsock.testing import PairFactory, SyncNetwork, sync_pair


def pieces() -> Iterator[bytes]:
    yield b"piece"


def dial(url: str) -> None:
    with restsock.sync.connect(url, name="edge-1", workers=4) as client:
        assert_type(client, restsock.sync.Client)
        response = client.request("POST", "/pets", body=pieces(), timeout=10)
        assert_type(response, restsock.Response)
        with client.stream("GET", "/log") as streamed:
            assert_type(streamed, restsock.sync.StreamedResponse)
            for data in streamed:
                assert_type(data, bytes)
        assert_type(client.wait_connected(5), restsock.sync.Connection | None)
        assert_type(client.wait_closed(5), restsock.Closed | None)
        assert_type(client.statistics(), restsock.ClientStatistics)


def accept() -> None:
    with restsock.sync.listen("127.0.0.1", 0) as server:
        assert_type(server, restsock.sync.Server)
        adapter = server.adapter("edge-1")
        assert_type(adapter, BaseAdapter)
        with requests.Session() as session:
            session.mount("http://edge-1/", adapter)
            assert_type(session.get("http://edge-1/pets", timeout=(30, 5)), requests.Response)
        with restsock.Session() as fast:
            fast.mount("http://edge-1/", server.route("edge-1").adapter())
            assert_type(fast.get("http://edge-1/pets"), requests.Response)
        with httpx.Client(transport=server.transport("edge-1")) as http:
            assert_type(http.get("http://edge-1/pets"), httpx.Response)
        for event in server.events():
            assert_type(event, restsock.ConnectionEvent)
        with restsock.sync.drain_on_signal(server, grace=2):
            assert_type(server.wait_closed(), bool)


def test() -> None:
    with sync_pair(name="edge-1") as (client, server):
        assert_type(client, restsock.sync.Client)
        assert_type(server, restsock.sync.Server)
    with sync_pair() as pair:
        assert_type(pair.network, SyncNetwork)
        pair.network.cut()
        pair.network.drop()


def test_with_the_fixture(restsock_pair: PairFactory) -> None:
    client, server = restsock_pair(name="edge-1")
    assert_type(client, restsock.sync.Client)
    assert_type(server, restsock.sync.Server)


def exchange_messages(url: str) -> None:
    messaging = Messaging(store=restsock.messaging.MemoryStore())

    @messaging.on("readings")
    def keep(message: Message) -> None:
        assert_type(message.session, Session)
        message.reply({"ok": True}, timeout=5)

    @messaging.method("status")
    def status(request: Request) -> dict[str, int]:
        return {"queue": request.number("queue", 0)}

    with messaging, restsock.sync.connect(url, messaging=messaging):
        assert_type(messaging.channel("c", to="edge-1").send(1, timeout=5), str)
        for session in messaging.sessions.select(lambda one: one.open):
            assert_type(session, Session)
            session.ask("status", timeout=5)
        for sent in messaging.sessions.broadcast("news", 1):
            assert_type(sent.ok, bool)
        for message in messaging.messages("readings", window=2):
            assert_type(message, Message)
            message.ack()
