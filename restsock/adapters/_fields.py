"""Header fields that do not cross, whichever client writes them."""

from __future__ import annotations

__all__ = ["HOP_BY_HOP", "NAMES_NONE"]

# Between two hops of a connection, and there is no connection of the client's own here. Upgrade is
# among them: only the async transport of httpx can speak what it would switch to, and writes it
# itself. Proxy-Authorization is for a proxy, and there is none: requests writes it whenever the
# environment names one with a password.
HOP_BY_HOP = frozenset(
    (
        b"connection",
        b"keep-alive",
        b"proxy-authorization",
        b"proxy-connection",
        b"te",
        b"transfer-encoding",
        b"upgrade",
    )
)

# Values of Connection that name no field. Any other is left to the protocol, which takes out what
# it names as well.
NAMES_NONE = ("keep-alive", "close", b"keep-alive", b"close")
