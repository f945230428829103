"""The ingress: requests of plain HTTP to a listener's port, passed on to peers by name.

    restsock.listen("127.0.0.1", 8080, ingress=restsock.ingress.Ingress())
    # curl http://edge-1.localhost:8080/pets

- `_names`: whom a request is for.
- `_routes`: rules for certain hosts.
- `_fields`: what header fields become on the way.
- `_relay`: two exchanges, joined.
- `_webhooks`: bodies that are signed.
- `_rates`, `_time_limits`: how many requests, and when they are given up.
- `_answers`, `_pages`: what is answered here.
- `_rules`: all that is decided beforehand.
- `_ingress`: all of it in its order.
"""

from __future__ import annotations

from ._ingress import Ingress
from ._names import RESERVED, is_label, is_plain_path
from ._request import Explanation, Passed
from ._routes import FieldRules, Route
from ._webhooks import Webhook

__all__ = [
    "RESERVED",
    "Explanation",
    "FieldRules",
    "Ingress",
    "Passed",
    "Route",
    "Webhook",
    "is_label",
    "is_plain_path",
]
