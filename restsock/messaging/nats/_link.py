"""Connections to NATS, one after the other. All of this is on asyncio.

Rules:

- Each connection is a client of its own, which never connects again by itself. So nobody waits on
  one connection for what was asked on another, and nothing that waited to be written on one is
  written on the next. Whoever needs a connection asks for the present one (`Keeper.link`), and
  begins anew when that is lost.
- What is published is confirmed by the server's word alone, on the same connection: by a PubAck, or
  by an empty message to our own inbox that went behind it. A PING would not do: the client sends
  that ahead of messages that wait to be written.
"""

from __future__ import annotations

import asyncio
import itertools
import json
import logging
import random
import re
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

import nats.errors
from nats.aio.client import Client
from nats.aio.msg import Msg

from restsock.connection import failure_of
from restsock.messaging._errors import PublishFailed

from ._options import NatsOptions, SecretMissing

__all__ = ["Keeper", "Link", "LinkLost"]

_log = logging.getLogger("restsock.messaging")

_DENIED = re.compile(r"permissions violation for publish to \"?([^\"]+)", re.IGNORECASE)
_MAX_DENIED = 1000


class LinkLost(Exception):  # named for what happened
    """The connection was lost before the server has said anything.

    Attributes:
        sent: whether something may have left on it.
    """

    def __init__(self, *, sent: bool = True) -> None:
        super().__init__()
        self.sent = sent


class _StrictClient(Client):
    """A client that says who it is over TLS alone, where TLS was asked for."""

    wants_tls = False

    def _connect_command(self) -> bytes:
        offered = self._server_info.get("tls_required") or self.options["tls_handshake_first"]
        if self.wants_tls and not offered:
            raise nats.errors.Error("the server does not offer TLS")
        return super()._connect_command()


class Link:
    """One connection.

    Attributes:
        client: the client of it.
        lost: set when it is.
        when_lost: are called then.
    """

    def __init__(self, client: Client) -> None:
        self.client = client
        self.lost = asyncio.Event()
        self._inbox = client.new_inbox()
        self._numbers = itertools.count(1)
        self._waiting: dict[str, asyncio.Future[Msg | None]] = {}
        self._denied: set[str] = set()
        self.when_lost: set[Callable[[], object]] = set()

    async def begin(self) -> None:
        """Subscribes to the answers."""
        await self.client.subscribe(f"{self._inbox}.*", cb=self._answered)

    async def request(
        self, subject: str, body: bytes, headers: Mapping[str, str] | None, timeout: float
    ) -> bytes | None:
        """Publishes a message, and waits for the answer.

        Returns:
            The body of the answer; `None` if nobody is there to give one.

        Raises:
            LinkLost: the connection is lost.
            asyncio.TimeoutError: there was no answer in time.
            PublishFailed: this client may not publish there, or the message is too large.
        """
        answer = await self.ask(subject, body, headers, timeout)
        return None if answer is None else answer.data

    async def ask(
        self, subject: str, body: bytes, headers: Mapping[str, str] | None, timeout: float
    ) -> Msg | None:
        """As `request`, with all of the answer."""

        async def ask(inbox: str) -> None:
            await self._write(subject, body, inbox, headers)

        return await self._answer(ask, subject, timeout)

    async def publish(
        self, subject: str, body: bytes, headers: Mapping[str, str] | None, timeout: float
    ) -> None:
        """Publishes a message, and waits until the server has read it.

        Raises:
            LinkLost: the connection is lost.
            asyncio.TimeoutError: the server is slow.
            PublishFailed: this client may not publish there, or the message is too large.
        """

        async def ask(inbox: str) -> None:
            await self._write(subject, body, "", headers)
            await self._write(inbox, b"", "", None)

        await self._answer(ask, subject, timeout)
        self._check_allowed(subject)  # what the server says of it comes before the echo

    async def round_trip(self, timeout: float) -> None:
        """Waits until the server has read all that was written.

        Raises:
            LinkLost: the connection is lost.
            asyncio.TimeoutError: the server is slow.
            PublishFailed: this client may not publish to its own inbox.
        """

        async def ask(inbox: str) -> None:
            await self._write(inbox, b"", "", None)

        await self._answer(ask, "", timeout)

    async def _answer(
        self, ask: Callable[[str], Awaitable[None]], subject: str, timeout: float
    ) -> Msg | None:
        """Waits for what comes to an inbox of its own."""
        token = str(next(self._numbers))
        inbox = f"{self._inbox}.{token}"
        future: asyncio.Future[Msg | None] = asyncio.get_running_loop().create_future()
        self._waiting[token] = future

        async def ask_and_wait() -> Msg | None:
            await ask(inbox)
            return await future

        try:
            return await asyncio.wait_for(ask_and_wait(), timeout)
        except asyncio.TimeoutError:
            self._check_allowed(subject)
            self._check_allowed(inbox)
            raise
        finally:
            del self._waiting[token]

    async def _write(
        self, subject: str, body: bytes, reply: str, headers: Mapping[str, str] | None
    ) -> None:
        if self.lost.is_set() or not self.client.is_connected:
            raise LinkLost(sent=False)
        try:
            await self.client.publish(subject, body, reply, dict(headers) if headers else None)
        except nats.errors.MaxPayloadError as exc:
            most = self.client.max_payload
            words = f"a message of {len(body)} bytes; the server takes {most}"
            raise PublishFailed(words, kind="invalid") from exc
        except nats.errors.Error as exc:
            raise self._failure(exc) from exc

    def _failure(self, error: nats.errors.Error) -> Exception:
        if isinstance(error, asyncio.TimeoutError):
            return asyncio.TimeoutError()
        if self.lost.is_set() or not self.client.is_connected:
            return LinkLost()
        return PublishFailed(f"NATS: {error}")

    async def _answered(self, message: Msg) -> None:
        future = self._waiting.get(message.subject.rpartition(".")[2])
        if future is not None and not future.done():
            nobody = (message.headers or {}).get("Status") == "503"
            future.set_result(None if nobody else message)

    def _check_allowed(self, subject: str) -> None:
        if subject.lower() in self._denied:
            self._denied.discard(subject.lower())
            raise PublishFailed(f"NATS does not allow to publish to {subject!r}")

    # --- what the client tells ----------------------------------------------------------------

    def failed(self, error: Exception) -> None:
        """An error that the server has sent, or of the connection."""
        found = _DENIED.search(str(error))
        if found and len(self._denied) < _MAX_DENIED:
            self._denied.add(found[1].lower())

    def end(self) -> None:
        """The connection is lost. A second call does nothing."""
        if self.lost.is_set():
            return
        self.lost.set()
        for future in self._waiting.values():
            if not future.done():
                future.set_exception(LinkLost())
                future.exception()  # who waits for it may have gone
        for function in self.when_lost:
            function()


class Keeper:
    """Keeps a connection, and makes a new one when it is lost.

    Args:
        servers: URLs, tried in turn.
        options: how.
        changed: is called when there is a connection, or none any more.
    """

    def __init__(
        self, servers: tuple[str, ...], options: NatsOptions, changed: Callable[[bool], object]
    ) -> None:
        self._servers = servers
        self._options = options
        self._changed = changed
        self._link: Link | None = None
        self._connected = asyncio.Event()
        self._task: asyncio.Task[None] | None = None
        self.last_error = "no attempt was made"

    async def link(self) -> Link:
        """The present connection. Waits for one while there is none."""
        while self._link is None or self._link.lost.is_set():
            self._connected.clear()
            await self._connected.wait()
        return self._link

    async def run(self) -> None:
        """Connects, again and again, until `stop`. Returns when the connection is closed."""
        self._task = asyncio.ensure_future(self._run())
        await asyncio.wait({self._task})
        if not self._task.cancelled():
            self._task.result()

    def stop(self) -> None:
        """Has it closed."""
        if self._task is not None:
            self._task.cancel()

    async def _run(self) -> None:
        failed = 0
        for url in itertools.cycle(self._servers):
            try:
                await self._live(url)
                failed = 0
            except Exception as exc:  # noqa: BLE001  # what credentials raise has no common base
                if not isinstance(exc, nats.errors.NoServersError):  # then it was said why
                    self.last_error = _words(exc)
                failed += 1
                say = _log.warning if failed == 1 else _log.debug
                say("no connection to NATS: %s", self.last_error)
            delay = self._options.backoff.delay(max(failed, 1), random.random())  # noqa: S311
            await asyncio.sleep(delay)

    async def _live(self, url: str) -> None:
        """Connects once, and returns when that is lost."""
        client = _StrictClient()
        link: Link | None = None
        closed = asyncio.Event()

        async def on_error(error: Exception) -> None:
            self.last_error = _words(error)
            if link is not None:
                link.failed(error)
                _log.debug("NATS: %s", self.last_error)

        async def on_closed() -> None:
            closed.set()
            if link is not None:
                link.end()

        try:
            arguments = self._arguments(client, url)
            await asyncio.wait_for(
                client.connect(error_cb=on_error, closed_cb=on_closed, **arguments),
                self._options.connect_timeout,
            )
            link = Link(client)
            await link.begin()
            self._link = link
            self._connected.set()
            self._changed(True)
            _log.info("connected to NATS")
            await closed.wait()
            _log.warning("the connection to NATS is lost: %s", self.last_error)
        finally:
            self._connected.clear()
            if self._link is not None:
                self._link = None
                self._changed(False)
            if link is not None:
                link.end()
            await _close(client)

    def _arguments(self, client: _StrictClient, url: str) -> dict[str, Any]:
        options = self._options
        arguments: dict[str, Any] = {
            "servers": [url],
            "name": options.name,
            "allow_reconnect": False,
            # Else it tries one server for ever, and it is us who wait in between.
            "max_reconnect_attempts": 1,
            "reconnect_time_wait": 0.01,
            "connect_timeout": options.connect_timeout,
            "ping_interval": options.ping_interval,
            "max_outstanding_pings": 2,
            **options.authentication(),
        }
        client.wants_tls = options.tls is not None or url.startswith(("tls:", "wss:"))
        if options.tls is not None:
            arguments["tls"] = options.tls.context()
            arguments["tls_handshake_first"] = options.tls_first
            if options.tls.server_hostname:
                arguments["tls_hostname"] = options.tls.server_hostname
        return arguments


def _words(error: Exception) -> str:
    """What an error says, if it has the words of the server, of the system or of our own."""
    if isinstance(error, (nats.errors.Error, OSError, ImportError, SecretMissing)) and str(error):
        return f"{type(error).__name__}: {str(error)[:200]}"
    return failure_of(error)


async def _close(client: Client) -> None:
    try:
        await asyncio.wait_for(client.close(), 1)
    except Exception as exc:  # noqa: BLE001  # it is over, whatever the client says
        _log.debug("a client of NATS: %s", failure_of(exc))


def read_pub_ack(answer: bytes) -> bool:
    """Whether the server had the message already, from a PubAck.

    Raises:
        PublishFailed: it is an error, or no PubAck.
    """
    try:
        found = json.loads(answer)
        error = found.get("error")
        if error is None:
            found["stream"], found["seq"]
            return bool(found.get("duplicate", False))
        code = int(error.get("code", 503))
        words = str(error.get("description", ""))[:200]
    except (ValueError, TypeError, AttributeError, KeyError) as exc:
        raise PublishFailed("an answer that is no PubAck: is there a stream?") from exc
    kind = "invalid" if 400 <= code < 500 and code != 408 else "transient"
    raise PublishFailed(f"NATS: {words} ({code})", kind=kind)  # type: ignore[arg-type]
