"""What the driver and the sessions of a messaging ask of it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, TypeAlias

import trio

from restsock.connection import failure_of

from ._channel import Channel, Content, content_of
from ._errors import MessagingError, UnknownSession
from ._options import MessagingOptions
from ._session import Session
from ._statistics import RequestCounters
from .engine import DeadLetter, Peer

if TYPE_CHECKING:
    from ._driver import Driver
    from ._handlers import Handlers
    from ._methods import Methods
    from ._monitor import Monitor
    from ._sessions import Sessions

__all__ = ["Authorize", "DeadLetters", "Owner"]

Authorize: TypeAlias = Callable[[Session, str, str], bool]
"""Whether a session may do something: `"send"` to a channel, `"subscribe"` to one, or `"call"` a
method; the last argument is the name of that. It is called on the loop, and must not block."""


class DeadLetters:
    """The dead letters that are at hand.

    Attributes:
        driver: has the store.
        hooks: are called with each new one.
    """

    driver: Driver

    def __init__(self, most: int) -> None:
        self.hooks: list[Callable[[DeadLetter], object]] = []
        self._most = most
        self._letters: dict[str, DeadLetter] = {}

    def list(self) -> Sequence[DeadLetter]:
        """All of them, the oldest first."""
        return [*self._letters.values()]

    def add(self, letter: DeadLetter) -> None:
        """One more."""
        self._letters[letter.record.id] = letter
        while len(self._letters) > self._most:
            del self._letters[next(iter(self._letters))]

    def tell(self, letter: DeadLetter) -> None:
        """Tells the hooks of a new one."""
        for hook in self.hooks:
            try:
                hook(letter)
            except Exception as exc:  # noqa: BLE001  # of a program; the messages go on
                self.driver.log.say("hook", "on_dead_letter failed: %s", failure_of(exc))

    async def retry(self, ids: Sequence[str] | None) -> int:
        """See `Messaging.retry_dead_letters`."""
        driver = self.driver
        driver.check_open()
        found = [letter for id, letter in self._letters.items() if ids is None or id in ids]
        for letter in found:
            record = letter.record
            channel = Channel(
                driver, driver.options, record.channel, record.destination, "at_least_once"
            )
            await channel.send_content(record.content)
            self._letters.pop(record.id, None)
            await driver.revive(record.key)
        return len(found)


class Owner:
    """See `driver.Owner` and `session.SessionOwner`.

    Attributes:
        driver: what runs it all.
        sessions: who is connected.
        requests: what is counted of the requests of this side.
        dead_letters: those at hand.
        recovery_hooks: see `Messaging.on_recovery`.
        request_hooks: see `Messaging.on_request`.
    """

    sessions: Sessions
    _driver: Driver

    def __init__(
        self,
        options: MessagingOptions,
        handlers: Handlers,
        methods: Methods,
        monitor: Monitor,
        authorize: Authorize | None,
    ) -> None:
        self.requests = RequestCounters(self._tell_request)
        self.request_hooks: list[Callable[[str, float], object]] = []
        self.dead_letters = DeadLetters(options.dead_letters)
        self.recovery_hooks: list[Callable[[Session, str, int | None], object]] = []
        self._options = options
        # For the driver, with each message.
        self.plan, self.handle, self.answer = handlers.plan, handlers.handle, methods.answer
        self._monitor = monitor
        self._authorize = authorize
        self._wanted: dict[str, set[str]] = {}  # subscriptions, by destination

    @property
    def driver(self) -> Driver:
        return self._driver

    @driver.setter
    def driver(self, driver: Driver) -> None:
        self._driver = self.dead_letters.driver = driver

    # --- for the driver -----------------------------------------------------------------------

    def may(self, peer: Peer, action: str, name: str) -> bool:
        """See there."""
        if self._authorize is None:
            return True
        try:
            return bool(self._authorize(peer.owner, action, name))
        except Exception as exc:  # noqa: BLE001  # of a program: then it may not
            self.driver.log.say("authorize", "authorize failed: %s", failure_of(exc))
            return False

    def restored(self, letter: DeadLetter) -> None:
        """See there."""
        self.dead_letters.add(letter)

    def buried(self, letter: DeadLetter) -> None:
        """See there."""
        self.dead_letters.add(letter)
        self.driver.log.say(
            "dead_letter",
            "a message on the channel %s to %r was given up: %s",
            letter.record.channel,
            letter.record.destination.removeprefix("\0"),  # of a session
            letter.reason,
        )
        self.dead_letters.tell(letter)

    def recovered(self, peer: Peer, channel: str, missed: int | None) -> None:
        """See there."""
        session: Session | None = peer.owner
        if session is None or missed == 0:
            return
        many = "an unknown number of" if missed is None else str(missed)
        self.driver.log.say("recovery", "%s messages of %s will not come", many, channel)
        for hook in self.recovery_hooks:
            try:
                hook(session, channel, missed)
            except Exception as exc:  # noqa: BLE001  # of a program; the messages go on
                self.driver.log.say("hook", "on_recovery failed: %s", failure_of(exc))

    def _tell_request(self, method: str, seconds: float) -> None:
        for hook in self.request_hooks:
            try:
                hook(method, seconds)
            except Exception as exc:  # noqa: BLE001  # of a program; the messages go on
                self.driver.log.say("hook", "on_request failed: %s", failure_of(exc))

    # --- for sessions -------------------------------------------------------------------------

    def content(
        self,
        channel: str,
        body: Any,
        headers: Mapping[str, str] | None = None,
        reply_to: str | None = None,
    ) -> Content:
        """See there."""
        return content_of(channel, body, headers, reply_to, self._options.max_message)

    async def send_reliable(
        self,
        session: Session,
        channel: str,
        body: Any,
        headers: Mapping[str, str] | None,
        reply_to: str | None,
    ) -> str:
        """See there."""
        destination = session.state.destination.name
        to = Channel(self.driver, self._options, channel, destination, "at_least_once")
        return await to.send(body, headers=headers, reply_to=reply_to)

    async def reply(
        self,
        session: Session,
        reply_to: str,
        body: Any,
        channel: str,
        headers: Mapping[str, str] | None,
    ) -> None:
        """See there."""
        if reply_to == session.id and session.open:
            await session.send(channel, body, headers=headers)
            return
        target = self.sessions.get(reply_to) or self.sessions.named(reply_to)
        if target is not None:
            await target.send(channel, body, headers=headers)
            return
        destination = session.state.destination
        if reply_to not in (session.id, session.name) or destination.temporary:
            raise UnknownSession(f"nobody is at {reply_to!r}")
        # It has gone, and may come back.
        to = Channel(self.driver, self._options, channel, destination.name, "at_most_once")
        await to.send(body, headers=headers)

    def wanted(self, session: Session, channel: str, *, wanted: bool) -> None:
        """See there."""
        destination = session.state.destination
        if destination.temporary:
            return
        channels = self._wanted.setdefault(destination.name, set())
        if wanted:
            channels.add(channel)
        else:
            channels.discard(channel)

    def detached(self, session: Session, reason: str) -> None:
        """See there."""
        if not self.driver.engine.peers:
            self._monitor.note_alone(trio.current_time())

    def resubscribe(self, session: Session) -> None:
        """Makes the subscriptions anew that there were to the peer of a session."""
        for channel in [*self._wanted.get(session.state.destination.name, ())]:
            self.driver.start_soon(self._resubscribe, session, channel)

    async def _resubscribe(self, session: Session, channel: str) -> None:
        try:
            subscribed = await session.subscribe(channel)
        except MessagingError as exc:
            if session.open:
                self.driver.log.say("subscribe", "no subscription to %s: %s", channel, exc)
        else:
            if not subscribed.recovered:
                self.recovered(session.state, channel, subscribed.missed)
