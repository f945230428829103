"""What all clients share: fields that are not sent, and the size of bodies sent at once."""

from __future__ import annotations

from restsock import protocol

__all__ = ["HOP_BY_HOP", "INLINE", "NAMES_NONE"]

# The client has no connection of its own here. Upgrade is among them: only the async transport of
# httpx supports an upgrade, and it writes the field itself. Proxy-Authorization is for a proxy, and
# there is none: requests adds it whenever the environment names a proxy with a password.
HOP_BY_HOP = protocol.HOP_BY_HOP | {b"proxy-authorization"}

# Values of Connection that name no field. Any other value is left to the protocol, which also
# removes the fields that it names.
NAMES_NONE = ("keep-alive", "close", b"keep-alive", b"close")

# A body of up to this many bytes is sent together with its head, in one step.
INLINE = 64 * 1024
