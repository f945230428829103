"""What the admin API knows of its hub."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from restsock._principal import Principal
    from restsock.auth import Upgrade
    from restsock.gateway import Gateway
    from restsock.hub._config import Config
    from restsock.hub._records import EventLog, PassedLog
    from restsock.ingress import Ingress
    from restsock.server import Server, ServerStatistics

__all__ = ["HubLike"]


class HubLike(Protocol):
    """A `Hub`; see there."""

    config: Config
    server: Server
    ingress: Ingress
    gateway: Gateway
    passed: PassedLog
    events: EventLog
    closing: bool

    @property
    def ingress_url(self) -> str: ...

    @property
    def admin_host(self) -> str | None: ...

    @property
    def uptime(self) -> float: ...

    @property
    def loopback(self) -> bool: ...

    def age_of(self, connection_id: str) -> float | None: ...

    def restart_needed(self, config: Config) -> list[str]: ...

    def url_for(self, name: str) -> str | None: ...

    def statistics(self) -> ServerStatistics: ...

    def status(self) -> dict[str, Any]: ...

    def admin_principal(self, upgrade: Upgrade) -> Principal | None: ...

    async def reload(self, config: Config | None = None) -> list[str]: ...
