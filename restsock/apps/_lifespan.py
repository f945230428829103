"""The lifespan of an ASGI application (ASGI, "Lifespan Protocol", version 2.0)."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

import trio

from ._asgi_scope import ASGI
from ._errors import AppStartupError, BadResponseError, is_for_the_loop

__all__ = ["Lifespan"]

_log = logging.getLogger("restsock.apps")


class Lifespan:
    """Starts and ends an app.

    The app's call runs in a task of its own that no outer cancellation reaches, so that an app is
    shut down (its database closed) when the program is interrupted, too. `stop` bounds how long
    that takes.

    Args:
        app: the application.
        grace: seconds for its shutdown.
    """

    def __init__(self, app: Callable[..., Awaitable[None]], *, grace: float) -> None:
        self._app = app
        self._grace = grace
        self._state: dict[str, Any] = {}
        self._scope = trio.CancelScope(shield=True)
        self._supported = False  # whether the app has completed its start
        self._failure: str | None = None
        self._started = trio.Event()
        self._stopping = trio.Event()
        self._stopped = trio.Event()
        self._startup_given = False

    async def start(self, nursery: trio.Nursery) -> dict[str, Any] | None:
        """Starts the app.

        Returns:
            Its state, for the scopes of requests; `None` when it has no lifespan.

        Raises:
            AppStartupError: it says that it cannot start.
        """
        nursery.start_soon(self._run)
        await self._started.wait()
        if self._failure is not None:
            raise AppStartupError(f"the app failed to start: {self._failure}")
        return self._state if self._supported else None

    async def stop(self) -> None:
        """Shuts the app down. Takes its time even when cancelled, but no longer than the grace."""
        self._stopping.set()
        with trio.CancelScope(shield=True):
            with trio.move_on_after(self._grace) as waiting:
                if self._supported:
                    await self._stopped.wait()
            if waiting.cancelled_caught:
                _log.error("the app was not shut down within %s s; it is cancelled", self._grace)
        self._scope.cancel()

    async def _run(self) -> None:
        scope = {"type": "lifespan", "asgi": ASGI, "state": self._state}
        try:
            with self._scope:
                await self._app(scope, self._receive, self._send)
        except BaseException as exc:
            if is_for_the_loop(exc):
                raise
            self._ended_by(exc)
        finally:
            self._started.set()
            self._stopped.set()

    def _ended_by(self, error: BaseException) -> None:
        if self._failure is not None:
            return  # it was said already, and Starlette says it twice
        if self._started.is_set():
            _log.error("the app failed in its lifespan", exc_info=error)
        else:
            # The one way that ASGI has to say "I have none". An app that tried and failed says
            # lifespan.startup.failed.
            _log.info("the app has no lifespan (%s: %s)", type(error).__name__, error)

    async def _receive(self) -> MutableMapping[str, Any]:
        if not self._startup_given:
            self._startup_given = True
            return {"type": "lifespan.startup"}
        await self._stopping.wait()
        return {"type": "lifespan.shutdown"}

    async def _send(self, message: MutableMapping[str, Any]) -> None:
        kind = message["type"]
        if kind == "lifespan.startup.complete":
            self._supported = True
            self._started.set()
        elif kind == "lifespan.startup.failed":
            self._failure = str(message.get("message", "")) or "it does not say why"
            self._started.set()
        elif kind == "lifespan.shutdown.complete":
            self._stopped.set()
        elif kind == "lifespan.shutdown.failed":
            _log.error("the app failed to shut down: %s", message.get("message", ""))
            self._stopped.set()
        else:
            raise BadResponseError(f"not a message for a lifespan scope: {kind!r}")
