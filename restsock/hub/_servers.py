"""The listeners of a hub, made of its parts."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from restsock.server import Server, listen

from ._parts import Parts, Places, endpoints_of

if TYPE_CHECKING:
    from restsock.connection import MessagingLike

    from ._config import Config
    from ._entrance import Entrance
    from ._listening import ListenerName

__all__ = ["servers_of"]


def servers_of(
    config: Config,
    parts: Parts,
    places: Places,
    *,
    entrance: Entrance,
    admin: Mapping[str, Any],
    messaging: MessagingLike | None,
    app: Any,
) -> dict[ListenerName, Server]:
    """The listeners, to be entered in this order: that of the peers is the first.

    Args:
        config: the configuration.
        parts: what it amounts to.
        places: where they listen.
        entrance: what clients of plain HTTP get.
        admin: what is on the port of the admin API, by path.
        messaging: of the connections of peers.
        app: what peers may call, if anything.
    """
    shared: Any = {"trusted_proxies": config.hub.proxies, "options": config.options}
    separate = "ingress" in places
    servers: dict[ListenerName, Server] = {}
    servers["peers"] = listen(
        **places["peers"].arguments(),
        **shared,
        tls=parts.tls["peers"],
        auth=parts.peers,
        origins=config.peers.origins,
        name=config.hub.name,
        names=config.peers.names,
        messaging=messaging,
        # The hub binds the ingress itself, to these peers, wherever it listens.
        endpoints=endpoints_of(config, None if separate else entrance),
        peers=config.peers.enabled,
        app=app,
    )
    if separate:
        servers["ingress"] = listen(
            **places["ingress"].arguments(),
            **shared,
            tls=parts.tls["ingress"],
            endpoints={"/": entrance},
            peers=False,
        )
    if "admin" in places:
        servers["admin"] = listen(
            **places["admin"].arguments(), tls=parts.tls["admin"], endpoints=admin, peers=False
        )
    return servers
