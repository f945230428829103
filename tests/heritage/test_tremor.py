"""What Tremor's WebSocket server and client promise, kept between two programs over real sockets.

The other program is the package `websockets`, or a second messaging. What is left out here is told
in the table of docs/messaging.md.
"""

from __future__ import annotations

import gc
import queue
import socket
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import trio

import restsock
from restsock.messaging import Messaging, Tremor
from restsock.websockets import Reconnect
from tests.heritage.certificates import Files
from tests.messaging.dialects.peers import QUICK, Kept, client, served
from tests.waiting import until
from tests.websockets.site import foreign_server


async def test_both_ends_have_tls_with_files_a_verified_name_and_client_certificates(
    tmp_path: Path,
) -> None:
    files = Files(tmp_path)
    certificate, key = files.issue("hub.example")
    mine, my_key = files.issue("edge.example")
    there = restsock.tls.server(certificate=certificate, key=key, client_ca=files.ca)
    listener, dialer = Messaging(), Messaging()
    kept = Kept(listener, "events")
    once = Reconnect(tries=1)
    async with (
        listener,
        restsock.listen(
            "127.0.0.1", 0, tls=there, endpoints={"/ws": listener.endpoint(Tremor())}
        ) as server,
        dialer,
        trio.open_nursery() as nursery,
    ):
        url = f"wss://127.0.0.1:{server.address[1]}/ws"
        own: dict[str, Any] = {"ca": files.ca, "certificate": mine, "key": my_key}
        dial = partial(dialer.dial, url, Tremor(), reconnect=once, proxy=False)
        with pytest.raises(restsock.HandshakeError, match="certificate"):
            await dial(tls=restsock.tls.client(**own))  # another name than that in the certificate
        with pytest.raises(restsock.HandshakeError, match="certificate"):
            await dial(tls=restsock.tls.client(server_hostname="hub.example"))  # not its authority
        tls = restsock.tls.client(**own, server_hostname="hub.example")
        await nursery.start(partial(dial, tls=tls))
        await dialer.channel("events").send(1)
        assert await kept.wait(1) == [1]
        assert Tremor.metadata(kept.messages[0])["ws_server"]["tls"] is True
        nursery.cancel_scope.cancel()


@pytest.mark.parametrize("no_delay", [True, False])
async def test_every_address_of_a_name_is_tried_and_socket_options_are_set(
    no_delay: bool,
) -> None:
    options = restsock.Options(sockets=restsock.SocketOptions(no_delay=no_delay, backlog=7))
    listener, dialer = Messaging(), Messaging()
    kept = Kept(listener, "events")
    with socket.socket() as nobody:
        nobody.bind(("127.0.0.1", 0))  # and does not listen
        async with (
            listener,
            restsock.listen(
                "127.0.0.1",
                0,
                endpoints={"/ws": listener.endpoint(Tremor())},
                options=options,
            ) as server,
            dialer,
            trio.open_nursery() as nursery,
        ):
            resolver = Addresses(nobody.getsockname(), server.address)
            trio.socket.set_custom_hostname_resolver(resolver)
            url = f"ws://many.example:{server.address[1]}/ws"
            dial = partial(dialer.dial, url, Tremor(), proxy=False, options=options)
            await nursery.start(dial)
            await dialer.channel("events").send(1)
            assert await kept.wait(1) == [1]
            assert no_delays(server.address[1]) == [no_delay, no_delay]
            nursery.cancel_scope.cancel()


def no_delays(port: int) -> list[bool]:
    """TCP_NODELAY of all sockets of this process that are connected by that port."""
    found = []
    for sock in gc.get_objects():
        if type(sock) is not socket.socket or sock.family != socket.AF_INET:
            continue
        with suppress(OSError):  # it is closed, or not connected
            if port in (sock.getpeername()[1], sock.getsockname()[1]):
                found.append(bool(sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)))
    return found


class Addresses(trio.abc.HostnameResolver):
    """A name that has several addresses."""

    def __init__(self, *addresses: Any) -> None:
        self._addresses = addresses

    async def getaddrinfo(self, *args: Any, **kwargs: Any) -> Any:
        kind = trio.socket.SOCK_STREAM
        return [(trio.socket.AF_INET, kind, 6, "", address[:2]) for address in self._addresses]

    async def getnameinfo(self, *args: Any) -> Any:
        raise NotImplementedError


async def test_events_know_their_connection_and_go_back_as_text_or_binary() -> None:
    messaging = Messaging()
    kept = Kept(messaging, "events")
    endpoint = messaging.endpoint(Tremor())
    async with (
        served(messaging, endpoint) as server,
        client(server) as one,
        client(server) as two,
        client(server) as three,
    ):
        await one.send('"text"')
        await kept.wait(1)
        await two.send(b'"binary"')
        await kept.wait(2)
        await three.send('"last"')
        await kept.wait(3)
        text, binary, last = kept.messages
        port = one.connection.local_address[1]
        connection = {"tls": False, "peer": {"host": "127.0.0.1", "port": port}}
        assert Tremor.metadata(text) == {"ws_server": connection}
        assert Tremor.metadata(binary)["binary"] is True
        for message in (text, binary):
            await message.reply(message.body, headers=message.headers)
        assert (await one.receive(), await two.receive()) == ('"text"', b'"binary"')
        await messaging.send_to([*text.origins, *binary.origins], "both")
        assert (await one.receive(), await two.receive()) == ('"both"', '"both"')
        where = {"ws_server.peer.port": three.connection.local_address[1]}
        await messaging.sessions.broadcast("events", "you", where=where)
        assert await three.receive() == '"you"'  # and nothing before
        assert last.session.open


@pytest.mark.parametrize("codec", ["json", "msgpack", "yaml", "csv", "string", "binary"])
async def test_values_cross_in_any_codec_and_framing(codec: str) -> None:
    """The framings of one side undo those of the other, in reverse."""
    bodies: dict[str, Any] = {
        "csv": ["a", "b"],
        "string": "a\nb",
        "binary": b"\x00\xff",
        "json": {"n": [1, None, "\u2713"]},
        "msgpack": {"n": [1, None, 2.5]},
        "yaml": {"n": [1, None, "\u2713"]},
    }
    gzip = {"name": "compress", "config": {"algorithm": "gzip"}}
    after: list[Any] = [gzip, "base64", "length-prefixed"]
    before = ["length-prefixed", "base64", "decompress"]
    listener, dialer = Messaging(), Messaging()
    kept = Kept(listener, "events")
    endpoint = listener.endpoint(Tremor(codec, before=before))
    async with served(listener, endpoint) as server, dialer, trio.open_nursery() as nursery:
        dialect = Tremor(codec, after=after)
        url = server.url.rstrip("/") + "/ws"
        await nursery.start(partial(dialer.dial, url, dialect, reconnect=QUICK, proxy=False))
        body = bodies[codec]
        for _ in range(2):
            await dialer.channel("events").send(body)
        assert await kept.wait(2) == [body, body]
        nursery.cancel_scope.cancel()


async def test_a_client_redials_by_interval_growth_jitter_and_number_of_retries() -> None:
    config = {"retry": {"interval_ms": 20, "growth_rate": 1.2, "max_retries": 3}}
    reconnect = Reconnect.from_mapping(config)
    assert (reconnect.initial, reconnect.factor, reconnect.tries) == (0.02, 1.2, 3)
    assert reconnect.jitter
    connections: queue.Queue[Any] = queue.Queue()

    def drop_the_first(websocket: Any) -> None:
        connections.put(websocket)
        if connections.qsize() == 1:
            websocket.socket.shutdown(2)
        for _ in websocket:
            pass

    messaging = Messaging()
    async with messaging, trio.open_nursery() as nursery:
        async with foreign_server(drop_the_first) as url:
            nursery.start_soon(partial(messaging.dial, url, Tremor(), reconnect=reconnect))
            await until(lambda: connections.qsize() == 2 and len(messaging.sessions))
            nursery.cancel_scope.cancel()
    messaging = Messaging()
    async with messaging:
        with pytest.raises(restsock.HandshakeError):
            await messaging.dial("ws://127.0.0.1:9/", Tremor(), reconnect=reconnect, proxy=False)
        assert messaging.statistics().reconnect_attempts == 2
