"""The errors of messaging, in one tree.

::

    RestsockError
    ├── MessagingError             `kind` says whether trying again helps
    │   ├── MessageTooLarge        invalid: larger than an envelope may be
    │   ├── InvalidMessage         invalid: no JSON; or raised by a handler, which will not have it
    │   ├── UnknownSession         invalid: there is no session of that id
    │   ├── QueueFull              transient: there is no room, and the policy is to say so
    │   ├── AskTimeout             transient: (also a `TimeoutError`) no answer in time
    │   ├── AskFailed              the peer's method has failed; its kind is what the peer says
    │   ├── SessionClosed          transient: the session has ended
    │   ├── StoreFailed            transient: the store could not keep it
    │   ├── PublishFailed          a broker does not take it; the kind says whether it may later
    │   ├── BrokerUnavailable      transient: no broker can be reached
    │   └── MessagingClosed        fatal: the messaging is not open
    └── PeerUnavailable
        └── MessagingUnavailable   (also a `MessagingError`) transient: the peer has no messaging
"""

from __future__ import annotations

from typing import Any, Literal, TypeAlias

from restsock._exceptions import PeerUnavailable, RestsockError

__all__ = [
    "AskFailed",
    "AskTimeout",
    "BrokerUnavailable",
    "ErrorKind",
    "InvalidMessage",
    "MessageTooLarge",
    "MessagingClosed",
    "MessagingError",
    "MessagingUnavailable",
    "PublishFailed",
    "QueueFull",
    "SessionClosed",
    "StoreFailed",
    "UnknownSession",
]

ErrorKind: TypeAlias = Literal["fatal", "transient", "invalid"]
"""Whether trying again helps: `"fatal"` and `"invalid"` never, `"transient"` perhaps later."""


class MessagingError(RestsockError):
    """The base of all errors of messaging.

    If a handler raises one with the `kind` `"invalid"`, the message is not sent again. After any
    other exception it is.

    Attributes:
        kind: `"fatal"`: the messaging cannot go on; `"transient"`: the same may work later;
            `"invalid"`: the same will fail again.
    """

    kind: ErrorKind = "transient"


class MessageTooLarge(MessagingError):
    """A message does not fit into an envelope. It was not sent."""

    kind = "invalid"
    may_have_run = False


class InvalidMessage(MessagingError):
    """A body or its headers are not JSON: it was not sent.

    A handler raises it for a message that it can never handle: the message is not sent again, and
    becomes a dead letter of its sender.
    """

    kind = "invalid"
    may_have_run = False


class UnknownSession(MessagingError):
    """There is no session of that id. Nothing was sent."""

    kind = "invalid"
    may_have_run = False


class QueueFull(MessagingError):
    """There is no room for a message. It was not sent; it may be sent again later."""

    may_have_run = False


class SessionClosed(MessagingError):
    """The session has ended. `may_have_run` says whether the peer may have seen a request."""

    def __init__(self, message: str, *, may_have_run: bool | None = None) -> None:
        super().__init__(message)
        self.may_have_run = may_have_run


class AskTimeout(MessagingError, TimeoutError):
    """A request was not answered in time. It may have run."""

    may_have_run = True


class AskFailed(MessagingError):
    """The peer has answered a request with an error.

    Attributes:
        kind: as the peer says.
        error: the words of the peer.
    """

    may_have_run = True

    def __init__(self, error: str, *, kind: ErrorKind = "transient") -> None:
        super().__init__(error)
        self.error = error
        self.kind = kind


class StoreFailed(MessagingError):
    """The store could not keep a message, which was not sent. `__cause__` says why."""

    may_have_run = False


class PublishFailed(MessagingError):
    """A broker has refused a message, or not confirmed it. It may have it all the same.

    Attributes:
        kind: `"transient"` if it may take it later, `"invalid"` if not.
    """

    may_have_run = True

    def __init__(self, message: str, *, kind: ErrorKind = "transient") -> None:
        super().__init__(message)
        self.kind = kind


class BrokerUnavailable(MessagingError):
    """No broker could be reached in time. Nothing was sent."""

    may_have_run = False


class MessagingClosed(MessagingError):
    """The messaging is not open yet, or is closed."""

    kind = "fatal"
    may_have_run = False


class MessagingUnavailable(PeerUnavailable, MessagingError):
    """The peer is connected, but does not support messaging. Nothing was sent."""

    kind: Any = "transient"
