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
"""Whether trying again helps: never, and nothing else goes on either; later; or not with this."""


class MessagingError(RestsockError):
    """The base of all errors of messaging.

    What a handler raises with `kind` `"invalid"` is a nack for good; anything else it raises has
    the message sent again.

    Attributes:
        kind: `"fatal"`: it cannot go on; `"transient"`: the same may work later; `"invalid"`: the
            same fails again.
    """

    kind: ErrorKind = "transient"


class MessageTooLarge(MessagingError):
    """A message is larger than an envelope may be. It was not sent."""

    kind = "invalid"
    may_have_run = False


class InvalidMessage(MessagingError):
    """A body or its headers are not JSON: it was not sent.

    A handler raises it for what it will never take: then the message is not sent again, and becomes
    a dead letter of its sender.
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
    """A request was not answered in time. The peer may have done what was asked."""

    may_have_run = True


class AskFailed(MessagingError):
    """The peer has answered a request with an error.

    Attributes:
        kind: what the peer says of it.
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
    """A broker does not take a message, or has not said that it does. It may have it all the same.

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
    """The messaging is not open: it has not begun, or it is over."""

    kind = "fatal"
    may_have_run = False


class MessagingUnavailable(PeerUnavailable, MessagingError):
    """The peer is connected and knows no messaging. Nothing was sent."""

    kind: Any = "transient"
