"""Who gets a WebSocket, and what is answered to all others: everything before the 101."""

from __future__ import annotations

import base64
import binascii
import logging
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeAlias

import trio

from restsock._limit_log import LimitLog
from restsock.auth import Authenticator, Refused
from restsock.client import check_headers
from restsock.connection import AccessControl, Exchange, FieldsLike, Peer, upgrade_of
from restsock.protocol import (
    VALUE,
    Headers,
    RequestHead,
    elements_of,
    offered_subprotocols,
    values_of,
    websocket_problem,
)
from restsock.server import ProxiesLike, TrustedProxies

from ._checks import checked_subprotocols
from ._request import Request

if TYPE_CHECKING:
    from restsock._principal import Principal

__all__ = ["Admission", "Admitted", "ResponseFields"]

_log = logging.getLogger("restsock.websockets")

ResponseFields: TypeAlias = FieldsLike | Callable[[Request], FieldsLike]
"""Fields of the 101, or a function that gives them for a request."""

_OFFER = b"sec-websocket-protocol"


@dataclass(frozen=True)
class Admitted:
    """A request that is going to get its WebSocket.

    Attributes:
        request: what was asked for.
        principal: by whom.
        subprotocol: the one to choose, if any.
        fields: further fields of the 101.
    """

    request: Request
    principal: Principal | None
    subprotocol: str | None
    fields: Headers


class Admission:
    """Decides who gets a WebSocket. The arguments are those of `Endpoint`.

    Attributes:
        control: asks the authenticator.
    """

    def __init__(
        self,
        *,
        auth: Authenticator | None,
        origins: str | Collection[str] | None,
        subprotocols: Sequence[str],
        browser_token: str | None,
        headers: ResponseFields,
        path: str | None,
        name: str,
        trusted_proxies: ProxiesLike,
    ) -> None:
        self.control = AccessControl(
            auth=auth, origins=origins, name=name, limit_log=LimitLog(_log)
        )
        self._auth = auth
        self._subprotocols = checked_subprotocols(subprotocols)
        self._browser_token = browser_token
        if browser_token is not None:
            checked_subprotocols([browser_token])
        self._headers = headers if callable(headers) else check_headers(headers)
        self._path = path
        self._name = name
        self._proxies = TrustedProxies(trusted_proxies)

    async def admit(self, exchange: Exchange) -> Admitted:
        """Finds out who asks for a WebSocket, and whether it is to be. Its time is bounded.

        Raises:
            Refused: it is not.
        """
        head, connection = exchange.request, exchange.connection
        assert connection is not None
        if self._path is not None and head.target.partition(b"?")[0] != self._path.encode():
            raise Refused(404, "There is nothing here.")
        if head.upgrade is None or head.upgrade.lower() != b"websocket":
            spoken = {"Upgrade": "websocket", "Sec-WebSocket-Version": "13"}
            raise Refused(426, "This is for WebSockets.", headers=spoken)
        problem = websocket_problem(head)
        if problem is not None:
            status, text = problem
            raise Refused(status, text.strip(), headers={"Sec-WebSocket-Version": "13"})
        self.control.check_origin(head.headers)
        peer = self._proxies.locate(connection.peer, head.headers)
        token, headers = self._without_token(head.headers)
        principal = connection.principal
        if self._auth is not None:
            shown = headers if token is None else [*headers, (b"authorization", b"Bearer " + token)]
            principal = await self._authenticate(exchange, head._replace(headers=shown), peer)
        request = Request(head, headers, peer)
        offered = offered_subprotocols(headers)
        wanted = [*self._subprotocols, self._browser_token]
        chosen = next((name for name in wanted if name in offered), None)
        given = self._headers
        fields = check_headers(given(request)) if callable(given) else given
        return Admitted(request, principal, chosen, fields)

    async def _authenticate(self, exchange: Exchange, head: RequestHead, peer: Peer) -> Principal:
        connection = exchange.connection
        assert connection is not None
        upgrade = upgrade_of(head, connection.tls, peer)
        with trio.move_on_after(connection.timeouts.handshake):
            principal = await self.control.authenticate(upgrade)
            if not principal.calls(self._name):
                raise Refused(403, "You may not open this WebSocket.")
            return principal
        raise Refused(503, "It takes too long to find out who you are.")

    def _without_token(self, headers: Headers) -> tuple[bytes | None, Headers]:
        """The token that a browser has put among its subprotocols, and the fields without it.

        Raises:
            Refused: with 400: it is malformed, or one of several.
        """
        if self._browser_token is None:
            return None, headers
        prefix = self._browser_token.encode() + b"."
        offered = elements_of(headers, _OFFER)
        tokens = [name for name in offered if name.startswith(prefix)]
        if not tokens:
            return None, headers
        if len(tokens) > 1 or values_of(headers, b"authorization"):
            raise Refused(400, "There is more than one token.")
        text = tokens[0][len(prefix) :]
        try:
            # Strictly: b64decode would leave out what is not of its alphabet.
            token = base64.b64decode(text + b"=" * (-len(text) % 4), b"-_", validate=True)
        except binascii.Error:
            token = b""
        if not token or not VALUE.fullmatch(token) or token != token.strip(b" \t"):
            raise Refused(400, "The token among the subprotocols is not base64url.")
        rest = [name for name in offered if name != tokens[0]]
        kept = [field for field in headers if field[0].lower() != _OFFER]
        return token, [*kept, (b"sec-websocket-protocol", b", ".join(rest))] if rest else kept
