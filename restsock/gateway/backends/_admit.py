"""`Admit`: a server, an app or a peer decides which clients may connect."""

from __future__ import annotations

import json
import logging
from collections.abc import Collection, Iterable
from typing import TYPE_CHECKING, Any

import trio

from restsock._exceptions import RestsockError
from restsock._options import positive
from restsock._principal import Principal
from restsock._strict_json import NotJSON, read_json
from restsock.auth import Refused
from restsock.gateway._backend import Backend
from restsock.gateway._message import Message, Reply

from ._http import HTTP
from ._http_backend import HTTPBackend
from ._http_mapping import HTTPRequest

if TYPE_CHECKING:
    from restsock.gateway._backend import Part
    from restsock.gateway._session import Session

__all__ = ["Admit"]

_log = logging.getLogger("restsock.gateway")

# What a decision may depend on, of what a client has sent with its opening handshake.
_HEADERS = ("authorization", "cookie", "origin", "user-agent", "accept-language")
_WORDS = 200  # characters of a refusal that a client is shown


class Admit(Backend):
    """Asks a server, an app or a peer before a WebSocket is accepted: for `on_connect`.

        admit = Admit(Peer("shop"), path="/connect")
        Channel("/ws", Action(), router, on_connect=admit)

    It gets a POST with a JSON object: `id` of the session, `channel`, `target` (path and query),
    `address`, `principal` (its name, or null) and `headers`. It accepts the client with any status
    of 200 to 299, and may answer with a JSON object:

    - `principal`: who the client is, a name or an object with `name` and `claims`,
    - `groups`: a list of names, `metadata` and `stash`: objects whose members are added.

    A status of 400 to 499 refuses the client, with that status, and the `detail` if the answer is a
    problem (RFC 9457). Anything else refuses it with 503.

    Args:
        to: Who is asked: a URL, or an `HTTP`, `App` or `Peer`.
        path: The path there; `""` is the URL itself.
        headers: Which fields of the client's opening handshake are sent along, by name.
        timeout: Seconds to wait for the answer; `Timeouts.handshake` of the listener applies, too.

    Raises:
        TypeError: What is asked does not speak HTTP.
        ValueError: The path or the time is not valid.
    """

    def __init__(
        self,
        to: str | HTTPBackend,
        *,
        path: str = "",
        headers: Collection[str] = _HEADERS,
        timeout: float = 5.0,
    ) -> None:
        self._to = HTTP(to) if isinstance(to, str) else to
        if not isinstance(self._to, HTTPBackend):
            raise TypeError(f"HTTP, App or Peer is asked, not {type(to).__name__}")
        if path and not path.startswith("/"):
            raise ValueError(f"a path begins with /, unlike {path!r}")
        self._path = path
        self._headers = frozenset(name.lower() for name in headers)
        self.timeout = timeout
        positive(self, "timeout")

    def parts(self) -> Iterable[Part]:
        """See `Backend.parts`."""
        return (self._to,)

    async def call(self, message: Message) -> Reply:
        """It answers no messages. Raises `NotImplementedError`."""
        raise NotImplementedError("Admit is for on_connect")

    async def __call__(self, session: Session) -> None:
        """Asks who a client is.

        Raises:
            Refused: It may not come in.
        """
        try:
            said = await self._ask(session)
        except RestsockError as exc:
            _log.warning("who %r is cannot be asked: %s", session, exc)
            raise _unknown() from exc
        try:
            _apply(session, said)
        except (TypeError, ValueError) as exc:
            _log.error("what was said of %r cannot be used: %s", session, exc)
            raise _unknown() from exc

    async def _ask(self, session: Session) -> dict[str, Any]:
        fields: dict[str, str] = {}
        for raw, value in session.request.headers:
            name = raw.decode("latin-1").lower()
            if name in self._headers:
                fields.setdefault(name, value.decode("latin-1"))
        body = {
            "id": session.id,
            "channel": session.channel,
            "target": session.request.target,
            "address": session.request.peer.host,
            "principal": None if session.principal is None else session.principal.name,
            "headers": fields,
        }
        deadline = trio.current_time() + self.timeout
        message = Message(session, "", body, deadline=deadline)
        kind = (("content-type", "application/json"),)
        request = HTTPRequest("POST", self._path, kind, json.dumps(body).encode())
        response = await self._to.exchange(message, request)
        if not 200 <= response.status < 300:
            raise _refusal(response.status, response.content)
        return _object(response.content)


def _object(content: bytes) -> dict[str, Any]:
    if not content.strip():
        return {}
    try:
        found = read_json(content.decode())
    except (NotJSON, UnicodeDecodeError):
        return {"": None}  # which is no member, and so an error
    return found if isinstance(found, dict) else {"": None}


def _refusal(status: int, content: bytes) -> Refused:
    if not 400 <= status < 500:
        return _unknown()
    detail = _object(content).get("detail")
    if not isinstance(detail, str) or not detail.isprintable():
        detail = "You may not open this WebSocket."
    return Refused(status, detail[:_WORDS])


def _unknown() -> Refused:
    words = "It cannot be found out whether you may come in."
    return Refused(503, words, headers={"Retry-After": "5"})


def _apply(session: Session, said: dict[str, Any]) -> None:
    """Has a session be what was said of it, all or nothing."""
    unknown = said.keys() - {"principal", "groups", "metadata", "stash"}
    if unknown:
        raise ValueError(f"it is no object with principal, groups, metadata, stash: {unknown}")
    principal = session.principal
    if (given := said.get("principal")) is not None:
        members = {"name": given} if isinstance(given, str) else given
        if not isinstance(members, dict) or members.keys() - {"name", "claims"}:
            raise ValueError("a principal is a name, or an object with name and claims")
        principal = Principal(members.get("name", ""), claims=members.get("claims") or {})
    groups = said.get("groups", [])
    if not isinstance(groups, list):
        raise TypeError("groups are a list")
    kept = {name: said.get(name, {}) for name in ("metadata", "stash")}
    if not all(isinstance(value, dict) for value in kept.values()):
        raise TypeError("metadata and stash are objects")
    session.groups = {*session.groups, *groups}
    session.principal = principal
    session.metadata.update(kept["metadata"])
    session.stash.update(kept["stash"])
