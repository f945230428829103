"""What would become of a request, told without sending it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from restsock.auth import Refused
from restsock.protocol import RequestHead

from ._request import Explanation

if TYPE_CHECKING:
    from restsock.server import Connections

    from ._routes import Route
    from ._rules import Rules

__all__ = ["explain"]


def explain(
    rules: Rules,
    connections: Connections,
    method: str,
    url: str,
    headers: Sequence[tuple[str, str]],
) -> Explanation:
    """See `Ingress.explain`."""
    parts = urlsplit(url if "://" in url else f"http://{url}")
    fields = [(name.encode("latin-1"), value.encode("latin-1")) for name, value in headers]
    if not any(name.lower() == b"host" for name, _ in fields):
        fields.insert(0, (b"Host", parts.netloc.rpartition("@")[2].encode("latin-1")))
    target = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
    head = RequestHead(method.encode("latin-1"), target.encode("latin-1"), fields)
    try:
        found = rules.naming.find(head)
    except Refused as exc:
        return Explanation(None, f"{exc.status}: {exc.text}", "", "", False)
    return Explanation(
        found.name,
        found.how or f"the route {found.route}",
        found.target.decode("latin-1"),
        _words_of_access(rules, found.route),
        connections.by_name(found.name) is not None,
    )


def _words_of_access(rules: Rules, route: Route | None) -> str:
    auth = rules.access(route).auth
    words = [] if auth is None else [getattr(auth, "__name__", type(auth).__name__)]
    if route is not None and route.webhook is not None:
        words.append(f"a signature ({route.webhook.scheme})")
    return " and ".join(words) or "open"
