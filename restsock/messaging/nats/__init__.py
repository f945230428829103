"""NATS as the broker of a bridge: core and JetStream.

Needs nats-py: `pip install 'restsock[nats]'`. See `restsock.messaging.bridge` for what to do with
it, and docs/messaging.md.
"""

from __future__ import annotations

try:
    import nats as _client  # noqa: F401  # is it there?
except ImportError as exc:
    raise ImportError(
        "restsock.messaging.nats needs nats-py: pip install 'restsock[nats]'"
    ) from exc

from ._nats import Nats, NatsReply
from ._options import NatsOptions
from ._publisher import CorePublisher, JetStreamPublisher
from ._subscriber import CoreSubscriber, PullSubscriber
from ._subscription import NatsMessage

__all__ = [
    "CorePublisher",
    "CoreSubscriber",
    "JetStreamPublisher",
    "Nats",
    "NatsMessage",
    "NatsOptions",
    "NatsReply",
    "PullSubscriber",
]
