"""What a messaging for threads and one for asyncio have in common."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any, TypeVar

from restsock.endpoint import documented_like
from restsock.threads import OpenContext, abandon_unclosed

from ._messaging import Authorize
from ._messaging import Messaging as TrioMessaging
from ._options import MessagingOptions

if TYPE_CHECKING:
    from typing_extensions import Unpack

    from restsock.connection import Connection
    from restsock.protocol import MessagingSettings
    from restsock.websockets import Endpoint, EndpointOptions

    from ._foreign import Name
    from ._statistics import MessagingHealth, MessagingStatistics
    from ._store import Store
    from .dialects import Dialect
    from .engine import DeadLetter

__all__ = ["MessagingFace"]

F = TypeVar("F", bound=Callable[..., Any])


class _AtOnce(Exception):
    """Whoever leaves does not wait."""


class Living:
    """A messaging while it is open.

    The loop holds this, and not the face that a program has of it. So one that is dropped can be
    collected, and closes what it owned.

    Attributes:
        at_once: whether handlers have no time left to come to their end.
    """

    def __init__(self, messaging: TrioMessaging) -> None:
        self._messaging = messaging
        self.at_once = False

    @asynccontextmanager
    async def run(self) -> AsyncIterator[TrioMessaging]:
        """Opens it, and closes it."""
        try:
            async with self._messaging:
                yield self._messaging
                if self.at_once:
                    raise _AtOnce
        except _AtOnce:
            pass


class MessagingFace:
    """What both have. It lives on the background loop that all of `restsock.sync` share.

    Args:
        store: as of the one for trio.
        options: likewise.
        authorize: likewise, with a session of the loop.
        adapt: makes of a function of a program one that is awaited on the loop.
    """

    def __init__(
        self,
        store: Store | None,
        options: MessagingOptions | None,
        authorize: Authorize | None,
        adapt: Callable[[Callable[..., Any]], Callable[..., Awaitable[Any]]],
    ) -> None:
        self._messaging = TrioMessaging(store, options=options, authorize=authorize)
        self._portal = self._messaging.portal
        self._adapt = adapt
        self._living = Living(self._messaging)
        self._context: OpenContext[TrioMessaging] | None = None
        self.options = self._messaging.options

    def __repr__(self) -> str:
        name = f"{type(self).__module__}.{type(self).__qualname__}"
        return f"<{name}, {len(self._messaging.sessions)} sessions>"

    def __del__(self) -> None:
        abandon_unclosed(self, getattr(self, "_context", None))

    def _check_new(self) -> None:
        if self._context is not None:
            raise RuntimeError("a messaging can be entered once; make another one")

    @documented_like(TrioMessaging.endpoint)
    def endpoint(
        self,
        dialect: Dialect,
        *,
        name: Name | None = None,
        **options: Unpack[EndpointOptions],
    ) -> Endpoint:
        """Make an endpoint for foreign peers, to receive their messages and send them messages.

        Pass it to `endpoints=` of `listen`. Each connection is a session.
        """
        return self._messaging.endpoint(dialect, name=name, **options)

    # --- functions of programs ----------------------------------------------------------------

    def _add(self, decorate: Callable[[Any], Any], function: F) -> F:
        self._portal.look_up(decorate, function)
        return function

    def on_dead_letter(self, function: F) -> F:
        """Register a function for new `DeadLetter`s. It runs where a handler does; see `on`."""
        hook = self._portal.hook("on_dead_letter", self._adapt(function))
        self._add(self._messaging.on_dead_letter, hook)
        return function

    def on_recovery(self, function: F) -> F:
        """Register a function that is called when messages of a subscription are lost.

        They were sent while the connection was down. Its arguments are the session, the channel,
        and how many are lost (`None`: not known). It runs where a handler does; see `on`.
        """
        hook = self._portal.hook("on_recovery", self._adapt(function))
        self._add(self._messaging.on_recovery, hook)
        return function

    def on_request(self, function: F) -> F:
        """Register a function that is called after each request of this side, for measuring.

        Its arguments are the method, and the seconds until the answer or the time-out. It runs on
        the background loop and must not block.
        """
        return self._add(self._messaging.on_request, function)

    @documented_like(TrioMessaging.recheck)
    def recheck(self) -> int:
        """End the subscriptions that `authorize` no longer allows.

        Call it when the answers of `authorize` have changed, since that is called only when a peer
        subscribes. Peers are not told.
        """
        return self._portal.call(self._messaging.recheck)

    # --- what it is doing ---------------------------------------------------------------------

    @property
    def dead_letters(self) -> Sequence[DeadLetter]:
        """Messages that were given up, oldest first: the latest `MessagingOptions.dead_letters`."""
        return self._portal.look_up(lambda: self._messaging.dead_letters)

    @documented_like(TrioMessaging.statistics)
    def statistics(self) -> MessagingStatistics:
        """Counters since it was opened."""
        return self._portal.look_up(self._messaging.statistics)

    def health(self) -> MessagingHealth:
        """Whether it is healthy.

        It is not while a carrier listens and nobody has been connected for 5 minutes, after a
        carrier has given up dialing, and while a queue has been full for 30 s.
        """
        return self._portal.look_up(self._messaging.health)

    # --- for clients and servers (see `restsock.connection.MessagingLike`) --------------------

    @property
    def settings(self) -> MessagingSettings:
        """What peers are told of it."""
        return self._messaging.settings

    def check_running(self) -> None:
        """Raises `RuntimeError` unless it is open, on this loop."""
        self._messaging.check_running()

    def attach_connection(self, connection: Connection) -> None:
        """Learns of a connection that is about to begin."""
        self._messaging.attach_connection(connection)

    def detach_connection(self, connection: Connection) -> None:
        """Learns that it has ended; or one that was never attached."""
        self._messaging.detach_connection(connection)
