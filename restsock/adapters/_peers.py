"""`PeersByHost`: one adapter for all peers of a server; the host of a URL names the peer."""

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

# How many hosts are cached. Callers may invent hosts, so there must be a limit.
_MAX_KEPT = 1024


class Way(NamedTuple):
    """How a request gets to a peer.

    Attributes:
        requester: Sends the request.
        contract: Validates the request and its response, if given.
    """

    requester: Requester
    contract: CallChecker | None


class PeersByHost:
    """Finds the peer that a URL is for: `edge-1`, of `http://edge-1.peers/` with suffix `.peers`.

    The name is the host without the suffix; it may contain dots. The host of a URL is in lower case
    and names are compared exactly, so a peer whose name has capital letters cannot be called this
    way. A host may contain non-ASCII characters as Punycode (RFC 3492) or percent-encoded. A port
    and a final dot are ignored.

    Args:
        suffix: What all hosts end with: a dot and a label, or several of these. With `""` the whole
            host is the name.
        route: Makes the requester for the peer of a name.
        bind: Makes the call checker for a requester.

    Attributes:
        has_contracts: Whether there are call checkers.

    Raises:
        ValueError: The suffix cannot be part of a host.
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
            authority: The authority of the URL, without userinfo.

        Raises:
            ValueError: The URL names no peer. Nothing was sent.
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
