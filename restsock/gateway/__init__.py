"""A gateway: clients send messages over plain WebSockets, and each becomes a call that is answered.

A `Message` goes in, a `Reply` comes out: from a peer behind NAT, an operation of an OpenAPI
document, an HTTP server, an app in this process, another WebSocket, a broker. That an answer is a
value, and not something that is pushed, is what lets the middleware between retry it, bound it in
time, keep it, and check it. To send without being asked there is `Session.send`.

- `_message`: what goes in and comes out. `_errors`: what goes wrong, as a reply.
- `_backend`: what answers. `_middleware`: what stands before it.
- `_session`: a client while it is connected.
"""

from __future__ import annotations

from ._backend import Backend, Call, FunctionBackend, as_backend
from ._errors import CallFailed, reply_to_failure
from ._message import Message, Reply
from ._middleware import Middleware, chain
from ._session import Session

__all__ = [
    "Backend",
    "Call",
    "CallFailed",
    "FunctionBackend",
    "Message",
    "Middleware",
    "Reply",
    "Session",
    "as_backend",
    "chain",
    "reply_to_failure",
]
