"""`restsock expose`: a local port that reaches a peer, through the hub."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractAsyncContextManager
from typing import TYPE_CHECKING

import click

from restsock._addresses import is_loopback

from ._hub_address import HubAddress
from ._options import (
    ADDRESS,
    complete_names,
    host_option,
    hub_options,
    json_option,
    output_options,
)

if TYPE_CHECKING:
    from restsock.connection import Exchange, Handler
    from restsock.protocol import Headers

    from ._output import Output

__all__ = ["Exposed", "command"]


class Exposed:
    """A `Handler` that sets header fields of each request before it passes it on.

    On loopback, pages of the web are no callers: what they can reach has the rights of the token.
    So Host and Origin have to name this machine there.

    Args:
        handler: What gets the requests.
        fields: Names and values; those of the same names are dropped.
        loopback: Whether this machine alone can reach it.
    """

    def __init__(
        self, handler: Handler, fields: Sequence[tuple[bytes, bytes]], *, loopback: bool
    ) -> None:
        self._handler = handler
        self._fields = list(fields)
        self._names = {name.lower() for name, _ in fields}
        self._loopback = loopback

    def running(self) -> AbstractAsyncContextManager[None]:
        """See `Handler`."""
        return self._handler.running()

    def handle(self, exchange: Exchange) -> None:
        """See `Handler`."""
        from restsock.connection import answer, ignore

        request = exchange.request
        if self._loopback and not all(map(_is_here, _places_in(request.headers))):
            exchange.observer = ignore
            answer(exchange, 403, "Host and Origin have to be this machine.\n")
            return
        kept = [one for one in request.headers if one[0].lower() not in self._names]
        exchange.request = request._replace(headers=kept + self._fields)
        self._handler.handle(exchange)


def _places_in(headers: Headers) -> list[str]:
    """The hosts, with their ports, that the fields Host and Origin name."""
    from restsock.protocol import values_of

    places = values_of(headers, b"host")
    places += [value.rpartition(b"://")[2] for value in values_of(headers, b"origin")]
    return [place.decode("latin-1") for place in places]


def _is_here(place: str) -> bool:
    host = place if place.count(":") < 1 or place.endswith("]") else place.rpartition(":")[0]
    return is_loopback(host.strip("[]").lower())


@click.command("expose", short_help="Open a local port that reaches a peer, through the hub.")
@click.argument("name", shell_complete=complete_names)
@click.argument("address", type=ADDRESS, default="127.0.0.1:0")
@host_option("the hub")
@json_option
@hub_options
@output_options
def command(
    name: str, address: tuple[str, int], *, hub: HubAddress, output: Output, host: str
) -> int:
    """Open a local port whose HTTP goes to the peer NAME, through the ingress of the hub.

    \b
    restsock expose edge-1 9000
    curl http://127.0.0.1:9000/pets

    ADDRESS is [HOST:]PORT; without it the system chooses a port. WebSockets and streams pass, too.
    With a token for the hub, it replaces the Authorization field of the caller: anybody who can
    reach the port has the rights of that token. On loopback, web pages of other hosts cannot use
    it.
    """
    from urllib.parse import quote

    from restsock.apps import forward, make_handler

    from ._listening import Listening

    tls = hub.tls
    fields = [(b"Restsock-Peer", quote(name, safe="!$&'()*+,;=:@-._~").encode())]
    if hub.authorization is not None:
        fields.append((b"Authorization", hub.authorization.encode()))
    try:
        upstream = forward(
            hub.http_url,
            host=host,
            forwarded=None,
            ssl_context=None if tls is None else tls.context(),
            response_timeout=None,
        )
    except ValueError as exc:
        raise click.UsageError(str(exc)) from None
    handler = Exposed(make_handler(upstream), fields, loopback=is_loopback(address[0]))
    return Listening(address, handler, f"{name} through {hub.address}", output).run()
