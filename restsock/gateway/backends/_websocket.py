"""`WebSocket`: another WebSocket server answers: one connection for each client, or a pool."""

from __future__ import annotations

import logging
import random
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from typing import TYPE_CHECKING, Any

import trio

from restsock._arguments import check_keywords
from restsock._exceptions import RestsockError
from restsock._limit_log import LimitLog
from restsock._options import Backoff, between, positive
from restsock.connection import until
from restsock.gateway._backend import Backend
from restsock.gateway._errors import CallFailed
from restsock.protocol import CloseCode
from restsock.websockets import ConnectOptions, Dialer, Reconnect, connect

from ._json_ids import JSONIds
from ._link import Link, code_for_client, code_for_server

if TYPE_CHECKING:
    import asyncio

    from typing_extensions import Unpack

    from restsock.connection import ClientWebSocket
    from restsock.gateway._backend import Peers
    from restsock.gateway._message import Message, Reply
    from restsock.gateway._session import Session

__all__ = ["WebSocket"]

_log = logging.getLogger("restsock.gateway")

_CLOSES = ("clean", "always", "never")
_MOST = 10_000
# Seconds that WebSockets have to close in good order at the end, besides their own `Timeouts`.
_LAST = 1.0


class _SessionLink(Link):
    """One that is for one client."""

    def __init__(self, session: Session, ids: JSONIds | None, most: int) -> None:
        super().__init__(ids, most, self._push)
        self.session = session
        self.opened = trio.Event()  # or failed
        self.over = trio.Event()
        self.failure: CallFailed | None = None
        self._dialing = trio.CancelScope()
        self._farewell: tuple[int, str] | None = None

    @property
    def dialing(self) -> trio.CancelScope:
        """Is cancelled if it is closed before it is open."""
        return self._dialing

    @property
    def closing(self) -> bool:
        """Whether it is this side that closes it."""
        return self._farewell is not None

    def _push(self, value: Any) -> None:
        try:
            self.session.send_nowait(value)
        except (TypeError, ValueError):
            self.malformed += 1
            self._lines.say("push", "what the server has sent cannot be said in the dialect")

    def close(self, code: int, reason: str) -> None:
        """Closes it, also while it is dialed. Twice is harmless."""
        if self._farewell is None:
            self._farewell = code, reason
            if self.websocket is None:
                self._dialing.cancel()
            else:
                self.websocket.close_soon(code, reason)

    async def watch(self) -> None:
        """Closes it when its session ends, with what that was closed with. For that session."""
        try:
            await self.over.wait()
        finally:
            if not self.over.is_set():
                code, reason = self.session.ended_with
                self.close(code_for_server(code), reason)


class WebSocket(Backend):
    """Answers with another WebSocket server.

        WebSocket("ws://127.0.0.1:9000/ws")                        # one for each client
        WebSocket("wss://api.example/rpc", JSONIds(), pool=4)      # four for all

    With ids, a message is a call, and the server's message with its id is the answer. With
    `ids=None`, messages are passed on unchanged in both directions, usually for the dialect `raw`.

    By default each client has a WebSocket of its own, dialed at its first message and closed when
    it leaves, with the same code and reason. If the server closes it, the client's is closed with
    the server's code and reason. If it is lost in another way, calls in flight are answered with
    502, and the next message dials again. Messages that answer no call are pushed to the client.

    With `pool`, this many serve all clients, and are kept open. Messages that answer no call are
    then dropped and counted.

    A call that is cancelled never closes a WebSocket; its answer is dropped.

    Args:
        url: `ws://host[:port]/path` or `wss://...`.
        ids: How calls are told apart.
        pool: The number of WebSockets for all clients; `None` is one for each client.
        closes: When the end of its WebSocket also closes the client: after a `"clean"` close by the
            server, `"always"` (with 1014 if it was lost), or `"never"`. Only without a pool.
        timeout: Seconds for an answer, if the message has no earlier deadline.
        max_waiting: Calls that may wait for an answer on one WebSocket.
        reconnect: When to dial again. A pool dials as `restsock.websockets.Dialer` does. Without a
            pool, messages during the pause get a 503, and the next one dials.
        options: The other arguments of `restsock.websockets.connect`: `headers`, `auth`, `tls`,
            `subprotocols`, `max_message`, `heartbeat`, ...

    Attributes:
        unasked: Messages over a pool that answered no call.

    Raises:
        ValueError: An argument is not valid.
        TypeError: Likewise.
    """

    def __init__(
        self,
        url: str,
        ids: JSONIds | None = JSONIds(),  # noqa: B008  # it is frozen
        *,
        pool: int | None = None,
        closes: str = "clean",
        timeout: float = 30.0,
        max_waiting: int = _MOST,
        reconnect: Backoff = Reconnect(initial=0.2, cap=10),  # noqa: B008  # likewise
        **options: Unpack[ConnectOptions],
    ) -> None:
        check_keywords(connect, options)
        if ids is not None and not isinstance(ids, JSONIds):
            raise TypeError(f"ids is a JSONIds or None, not {type(ids).__name__}")
        if closes not in _CLOSES:
            raise ValueError(f"closes has to be one of {_CLOSES}, not {closes!r}")
        self._ids = ids
        self._closes = closes
        self.timeout = timeout
        self.max_waiting = max_waiting
        self.unasked = 0
        positive(self, "timeout")
        between(self, "max_waiting", 1, 10_000_000)
        self._reconnect = reconnect
        self._connect = partial(connect, url, **options)
        self._links: dict[str, _SessionLink] = {}
        self._nursery: trio.Nursery | None = None
        self._failures = 0  # in a row
        self._not_before = 0.0
        self._lines = LimitLog(_log)
        self._pool: list[tuple[Link, Dialer]] = []
        self._connected = trio.Event()
        if pool is not None:
            if ids is None:
                raise ValueError("a pool needs ids to tell the answers apart")
            self.pool = pool
            between(self, "pool", 1, 1000)
            for _ in range(pool):
                link = Link(ids, max_waiting, self._drop)
                dialer = Dialer(url, partial(self._serve, link), reconnect=reconnect, **options)
                self._pool.append((link, dialer))
        else:
            self._connect()  # its arguments are checked; nothing is dialed

    @property
    def late(self) -> int:
        """Late answers, over the WebSockets that are open now."""
        links = [*self._links.values(), *(link for link, _ in self._pool)]
        return sum(link.waiting.late for link in links)

    def bind(self, peers: Peers, loop: asyncio.AbstractEventLoop | None) -> None:
        """See `Backend.bind`. Raises nothing."""
        for _, dialer in self._pool:
            dialer.asyncio_loop = loop

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Keeps the pool connected; at the end, closes all that is open with 1001."""
        async with trio.open_nursery() as nursery:
            self._nursery = nursery
            for link, dialer in self._pool:
                nursery.start_soon(self._dial, link, dialer)
            try:
                yield
            finally:
                self._nursery = None
                with trio.move_on_after(_LAST) as scope:
                    scope.shield = True
                    await self._close_all()
                nursery.cancel_scope.cancel()

    async def _close_all(self) -> None:
        living = [*self._links.values()]
        for link in living:
            link.close(CloseCode.GOING_AWAY, "the gateway closes")
        for pooled, dialer in self._pool:
            if pooled.websocket is not None:
                pooled.websocket.close_soon(CloseCode.GOING_AWAY, "the gateway closes")
            dialer.stop()
        for link in living:
            await link.over.wait()

    async def call(self, message: Message) -> Reply:
        """See `Backend.call`.

        Raises:
            CallFailed: There is no answer.
        """
        deadline = min(message.deadline, trio.current_time() + self.timeout)
        if self._nursery is None:
            raise CallFailed(503, "the gateway is not open")
        link = await (self._pick(deadline) if self._pool else self._open(message, deadline))
        if self._ids is None:
            return await link.pass_on(message, deadline)
        return await link.ask(message, deadline)

    # --- one for each client ------------------------------------------------------------------

    async def _open(self, message: Message, deadline: float) -> Link:
        session = message.session
        link = self._links.get(session.id)
        if link is None:
            if session.closed:  # a `Cache` may still ask for others
                raise CallFailed(503, "the client has left")
            now = trio.current_time()
            if now < self._not_before:
                left = self._not_before - now
                raise CallFailed(503, "what answers cannot be reached", retry_after=left)
            link = _SessionLink(session, self._ids, self.max_waiting)
            session.start_soon(link.watch)
            self._links[session.id] = link
            assert self._nursery is not None
            self._nursery.start_soon(self._live, link)
        if not link.opened.is_set():
            with until(deadline):
                await link.opened.wait()
        if link.failure is not None:
            raise link.failure
        if not link.opened.is_set():
            raise CallFailed(504, "what answers could not be reached in time")
        return link

    async def _live(self, link: _SessionLink) -> None:
        """Opens it, and serves it until its end. Raises nothing."""
        try:
            with link.dialing:
                try:
                    await self._serve_session(link)
                except RestsockError as exc:
                    self._fail(link, exc)
        finally:
            self._forget(link)
            if link.failure is None and not link.opened.is_set():
                link.failure = CallFailed(503, "the client has left")
            link.opened.set()
            link.over.set()

    async def _serve_session(self, link: _SessionLink) -> None:
        async with self._connect() as websocket:
            self._failures = 0
            link.websocket = websocket
            link.opened.set()
            await link.serve(websocket)
            self._forget(link)  # the next message need not wait for the end of the closing
            error = websocket.closed_error
        assert error is not None
        if link.closing:
            return
        clean = error.code != CloseCode.ABNORMAL and error.__cause__ is None
        if self._closes == "always" or (clean and self._closes == "clean"):
            reason = error.reason if clean else "what answers was lost"
            code = error.code if clean else CloseCode.ABNORMAL
            link.session.close(code_for_client(code), reason)

    def _forget(self, link: _SessionLink) -> None:
        if self._links.get(link.session.id) is link:
            del self._links[link.session.id]

    def _fail(self, link: _SessionLink, error: RestsockError) -> None:
        self._failures += 1
        chance = 0.5 + random.random() / 2  # noqa: S311  # not a secret
        pause = self._reconnect.delay(self._failures, chance)
        self._not_before = trio.current_time() + pause
        self._lines.say("dial", "a WebSocket for %r cannot be opened: %s", link.session, error)
        link.failure = CallFailed(503, "what answers cannot be reached", retry_after=pause)

    # --- a few for all ------------------------------------------------------------------------

    async def _dial(self, link: Link, dialer: Dialer) -> None:
        try:
            await dialer.run()
        except RestsockError as exc:
            _log.error("%s is not dialed any more: %s", dialer.url, exc)  # in words

    async def _serve(self, link: Link, websocket: ClientWebSocket) -> None:
        link.websocket = websocket
        self._connected.set()
        self._connected = trio.Event()
        await link.serve(websocket)

    async def _pick(self, deadline: float) -> Link:
        with until(deadline):
            while True:
                ready = [link for link, _ in self._pool if link.websocket is not None]
                if ready:
                    return min(ready, key=lambda link: len(link.waiting))
                await self._connected.wait()
        raise CallFailed(503, "what answers cannot be reached", retry_after=1)

    def _drop(self, value: Any) -> None:
        self.unasked += 1

    def __repr__(self) -> str:
        return f"<WebSocket, {len(self._pool) or len(self._links)} upstream>"
