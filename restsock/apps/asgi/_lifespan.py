"""The lifespan of an ASGI application (ASGI, "Lifespan Protocol", version 2.0)."""

from __future__ import annotations

import traceback
from collections.abc import Awaitable, Callable, MutableMapping
from typing import TYPE_CHECKING, Any

from restsock._logging import PartLog
from restsock.apps._errors import AppStartupError, BadResponseError, other_loop

if TYPE_CHECKING:
    from ._call import AppCall

__all__ = ["Lifespan"]

_log = PartLog("restsock.apps")

# Seconds that an app that cannot start may take to raise the reason.
_LAST_WORDS = 1.0


class Lifespan:
    """Starts and shuts down an app.

    Call `run` in a task that is shielded from outer cancellation, so that the app is also shut down
    (its database closed) if the program is interrupted. `stop` limits how long that takes.

    Args:
        app: The application.
        call: The call of the app, which also says on which loop it runs.
        grace: Seconds for its shutdown.
    """

    def __init__(self, app: Callable[..., Awaitable[None]], call: AppCall, *, grace: float) -> None:
        self._app = app
        self._log = _log.here()  # its steps run in contexts of another loop
        self._call = call
        self._grace = grace
        self._state: dict[str, Any] = {}
        self._supported = False  # whether the app has completed its start
        self._failure: str | None = None
        self._error: BaseException | None = None
        self._startup_given = False
        self._shutdown_given = False
        self._stopping = False
        self._stopped = False
        self._ended = False

    async def run(self) -> None:
        """Calls the app; its exceptions end here."""
        scope = {
            "type": "lifespan",
            "asgi": {"version": "3.0", "spec_version": "2.0"},
            "state": self._state,
        }
        try:
            await self._call.run(self._app(scope, self._receive, self._send))
        except BaseException as exc:
            if self._call.is_for_the_loop(exc):
                raise
            if self._supported:
                self._log.error("the app failed in its lifespan", exc_info=exc)
            else:
                self._error = exc
        finally:
            self._ended = True
            self._call.wake()

    async def start(self) -> dict[str, Any] | None:
        """Waits until the app has started.

        Returns:
            Its state, for the scopes of requests; `None` if it has no lifespan.

        Raises:
            AppStartupError: The app reports that it cannot start, or its exception shows that it
                needs the other kind of loop.
        """
        while not (self._supported or self._failure is not None or self._ended):
            await self._call.wait()
        if self._supported:
            return self._state
        # After the message, most apps raise the actual error, which says more.
        await self._call.wait_until(lambda: self._ended, _LAST_WORDS)
        other = other_loop(self._call.loop, self._error, self._failure or "")
        if other is not None:
            raise AppStartupError(
                f"the app failed to start: {_reason(self._error, self._failure)}. "
                f'The app needs {other}: serve it with loop="{other}"'
            )
        if self._failure is not None:
            raise AppStartupError(f"the app failed to start: {self._failure}")
        if self._error is not None:
            # In ASGI this is how an app says that it has no lifespan. An app that tried and failed
            # sends lifespan.startup.failed.
            self._log.info("the app has no lifespan (%s)", _reason(self._error, None))
        return None

    async def stop(self) -> None:
        """Shuts the app down, if it has started; cancels it after the grace period."""
        self._stopping = True
        self._call.wake()

        def over() -> bool:
            return self._stopped or self._ended

        if self._supported and not await self._call.wait_until(over, self._grace):
            self._log.error("the app was not shut down within %s s; it is cancelled", self._grace)
        self._call.cancel_after(0)

    async def _receive(self) -> MutableMapping[str, Any]:
        if not self._startup_given:
            self._startup_given = True
            return {"type": "lifespan.startup"}
        while not self._stopping or self._shutdown_given:  # nothing comes after the shutdown
            await self._call.wait()
        self._shutdown_given = True
        return {"type": "lifespan.shutdown"}

    async def _send(self, message: MutableMapping[str, Any]) -> None:
        kind = message["type"]
        if kind in ("lifespan.startup.complete", "lifespan.startup.failed"):
            if self._supported or self._failure is not None:
                raise BadResponseError(f"{kind} after the end of the startup")
            if kind == "lifespan.startup.complete":
                self._supported = True
            else:
                self._failure = str(message.get("message", "")) or "it does not say why"
        elif kind in ("lifespan.shutdown.complete", "lifespan.shutdown.failed"):
            if not self._shutdown_given or self._stopped:
                when = "after the end" if self._stopped else "before the start"
                raise BadResponseError(f"{kind} {when} of the shutdown")
            if kind == "lifespan.shutdown.failed":
                self._log.error("the app failed to shut down: %s", message.get("message", ""))
            self._stopped = True
        else:
            raise BadResponseError(f"not a message for a lifespan scope: {kind!r}")
        self._call.wake()


def _reason(error: BaseException | None, failure: str | None) -> str:
    if error is None:
        return str(failure)
    return traceback.format_exception_only(error)[-1].strip()  # works with a broken `__str__`
