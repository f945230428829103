"""What both kinds of clients share: fields that do not cross, and bodies that go at once."""

from __future__ import annotations

from restsock import protocol

__all__ = ["HOP_BY_HOP", "INLINE", "NAMES_NONE"]

# The client has no connection of its own here. Upgrade is among them: only the async transport of
# httpx can speak what it would switch to, and writes it itself. Proxy-Authorization is for a proxy,
# and there is none: requests writes it whenever the environment names one with a password.
HOP_BY_HOP = protocol.HOP_BY_HOP | {b"proxy-authorization"}

# Values of Connection that name no field. Any other is left to the protocol, which takes out what
# it names as well.
NAMES_NONE = ("keep-alive", "close", b"keep-alive", b"close")

# A body up to this many bytes goes with its head, in one step.
INLINE = 64 * 1024
