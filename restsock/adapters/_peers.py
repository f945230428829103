"""`PeersByHost`: one adapter for all peers of a server, since the host of a URL names the peer."""

from __future__ import annotations

import re
from collections.abc import Callable
from functools import lru_cache
from typing import TYPE_CHECKING, NamedTuple
from urllib.parse import unquote

from restsock._addresses import host_and_port

if TYPE_CHECKING:
    from restsock.connection import Requester

    from .requests._call_checker import CallChecker

__all__ = ["PeersByHost", "Way"]

_SUFFIX = re.compile(r"(?:\.[0-9a-z_](?:[0-9a-z_-]*[0-9a-z_])?)*")
_MAX_NAME = 255  # spec/protocol.md, section 5.2

# Hosts that are kept. Callers may make them up, so there has to be an end to it.
_MAX_KEPT = 1024


class Way(NamedTuple):
    """How a request gets to a peer.

    Attributes:
        requester: What carries it.
        contract: What it and its response are held to, if anything.
    """

    requester: Requester
    contract: CallChecker | None


class PeersByHost:
    """Finds the peer that a URL is for: `edge-1`, of `http://edge-1.peers/` with suffix `.peers`.

    The name is the host without the suffix, dots included. URLs have no capital letters in their
    host, and names are compared exactly, so a peer with capitals in its name cannot be called like
    this. Other characters than ASCII are those that the host stands for, whether as Punycode
    (RFC 3492) or percent-encoded. A port and a final dot tell nothing.

    Args:
        suffix: What all hosts end with: a dot and a word, or several of these. `""` takes the whole
            host for the name.
        route: Makes what carries requests to the peer of a name.
        bind: Makes what they are held to.

    Attributes:
        has_contracts: Whether they are held to anything.

    Raises:
        ValueError: Such a suffix cannot be part of a host.
    """

    def __init__(
        self,
        suffix: str,
        route: Callable[[str], Requester],
        bind: Callable[[Requester], CallChecker] | None = None,
    ) -> None:
        self._suffix = suffix.lower()
        if not _SUFFIX.fullmatch(self._suffix):
            raise ValueError(f'suffix is "" or like ".peers", not {suffix!r}')
        self._route = route
        self._bind = bind
        self.has_contracts = bind is not None
        self.find = lru_cache(_MAX_KEPT)(self._find)

    def _find(self, authority: str) -> Way:
        """The way to the peer that a URL names.

        Args:
            authority: Of the URL, without a user.

        Raises:
            ValueError: It names none. Nothing was sent.
        """
        host = unquote(host_and_port(authority)[0], errors="strict").lower().removesuffix(".")
        if not host.endswith(self._suffix):
            raise ValueError(
                f"the host {host!r} names no peer: those of this adapter end with {self._suffix!r}"
            )
        labels = host[: len(host) - len(self._suffix)].split(".")
        name = ".".join(map(_in_unicode, labels))
        if not (0 < len(name) <= _MAX_NAME and name.isprintable()):
            raise ValueError(f"the host {host!r} names no peer: {name!r} is no name of one")
        requester = self._route(name)
        return Way(requester, None if self._bind is None else self._bind(requester))


def _in_unicode(label: str) -> str:
    if label.startswith("xn--"):
        return label[4:].encode("ascii").decode("punycode")
    return label
