"""`GripSession`: what a gateway knows of a client for a backend of GRIP, which knows nothing."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import re
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

import trio

from restsock._strict_json import NotJSON, read_json
from restsock.gateway.dialects import RawDialect

from ._websocket_events import WebSocketEvent

if TYPE_CHECKING:
    from restsock.gateway._session import Session

__all__ = ["GripSession", "passes_as_is", "signature", "value_of"]

_MAX_META = 64
_MAX_META_LENGTH = 4096
_META_NAME = re.compile(r"[a-z0-9-]{1,64}")
_MESSAGE_PREFIX = re.compile(r'message-prefix="?([!-~]{0,32}?)"?\s*(?:;|,|$)')
_CONTROL = b"c:"
_SHORTEST = 1.0
_SIGNED_FOR = 3600


def passes_as_is(session: Session) -> bool:
    """Whether messages to a session pass as they are: then a text is not taken for JSON."""
    return isinstance(getattr(session, "dialect", None), RawDialect)


def value_of(text: str | bytes) -> Any:
    """What a text of a backend means to all other sessions: its value in JSON, or itself."""
    try:
        return read_json(text)
    except NotJSON:
        return text if isinstance(text, str) else text.decode("utf-8", "replace")


class GripSession:
    """See above. On the loop.

    Args:
        session: The client.
        push: Sends it something.

    Attributes:
        lock: One request at a time, in order.
        open: Whether the backend has accepted it.
        detached: Whether the backend wants to hear no more of it; it stays in its groups.
        watched: Whether its end is waited for.
        over: Set when it has ended, or the backend has ended it.
        meta: What the backend wants to be told with each request.
        due: Events that go with the next request.
        interval: Seconds between two requests at most; `None` sets no bound.
        kept: Whether there is a task for that.
        last: When the latest answer came, on trio's clock.
    """

    def __init__(self, session: Session, push: Callable[[GripSession, Any], object]) -> None:
        self.session = session
        self.lock = trio.Lock()
        self.open = False
        self.detached = False
        self.watched = False
        self.over = trio.Event()
        self.meta: dict[str, str] = {}
        self.due: list[WebSocketEvent] = []
        self.interval: float | None = None
        self.kept = False
        self.last = trio.current_time()
        self._push = push
        self._grip = False  # whether messages have a prefix
        self._prefix = b"m:"
        self._client_keeper: trio.CancelScope | None = None

    @property
    def as_json(self) -> bool:
        """Whether a text that is JSON means its value."""
        return not passes_as_is(self.session)

    @property
    def keep_alive_due(self) -> bool:
        """Whether the backend wants to be asked now."""
        if self.interval is None or self.over.is_set() or self.detached or not self.open:
            return False
        return trio.current_time() >= self.last + self.interval

    def take_due(self) -> list[WebSocketEvent]:
        """The events that wait for a request."""
        due, self.due = self.due, []
        return due

    def set_meta(self, name: str, value: str) -> None:
        """The backend wants to be told something. An empty value forgets it."""
        if not _META_NAME.fullmatch(name):
            return
        if not value:
            self.meta.pop(name, None)
        elif (name in self.meta or len(self.meta) < _MAX_META) and len(value) <= _MAX_META_LENGTH:
            self.meta[name] = value

    def read_extension(self, text: str) -> None:
        """How the backend tells messages from what it says to the gateway."""
        if text.partition(";")[0].strip().lower() != "grip":
            return
        self._grip = True
        found = _MESSAGE_PREFIX.search(text)
        if found is not None:
            self._prefix = found[1].encode("ascii")

    def control_in(self, content: bytes) -> bytes | None:
        """What a text says to the gateway; `None` of one for the client."""
        if self._grip and content.startswith(_CONTROL):
            return content[len(_CONTROL) :]
        return None

    def message_in(self, content: bytes) -> bytes:
        """The message for the client."""
        return content.removeprefix(self._prefix) if self._grip else content

    async def watch(self, left: Callable[[GripSession, int, str], object]) -> None:
        """Tells when the client leaves. For the session, which cancels it then."""
        try:
            await trio.sleep_forever()
        finally:
            left(self, *self.session.ended_with)

    def keep_client(self, said: Mapping[str, Any], nursery: trio.Nursery | None) -> None:
        """Has the client get a message now and then, or no more."""
        if self._client_keeper is not None:
            self._client_keeper.cancel()
            self._client_keeper = None
        content, seconds = said.get("content"), said.get("timeout")
        number = isinstance(seconds, (int, float)) and not isinstance(seconds, bool)
        if not (isinstance(content, str) and number and nursery is not None):
            return
        assert isinstance(seconds, (int, float))
        self._client_keeper = trio.CancelScope()
        pause = max(_SHORTEST, min(float(seconds), 86_400))
        nursery.start_soon(self._send_now_and_then, content, pause, self._client_keeper)

    async def _send_now_and_then(
        self, content: str, seconds: float, scope: trio.CancelScope
    ) -> None:
        with scope:
            while not self.over.is_set():
                with trio.move_on_after(seconds):
                    await self.over.wait()
                if not self.over.is_set():
                    self._push(self, content)


def signature(key: bytes, issuer: str, now: int) -> str:
    """A token that says who asks (RFC 7519), signed with HS256."""

    def part(value: Any) -> bytes:
        raw = value if isinstance(value, bytes) else json.dumps(value).encode("ascii")
        return base64.urlsafe_b64encode(raw).rstrip(b"=")

    signed = (
        part({"typ": "JWT", "alg": "HS256"})
        + b"."
        + part({"iss": issuer, "exp": now + _SIGNED_FOR})
    )
    token = signed + b"." + part(hmac.digest(key, signed, hashlib.sha256))
    return token.decode("ascii")
