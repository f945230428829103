"""Methods: functions that answer requests of peers."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from restsock.connection import failure_of

from ._errors import InvalidMessage, MessagingError
from ._handlers import EVERY
from ._session import Session
from .engine import Malformed, Peer, check_name, encode_json, is_name, sayable, utf8_length
from .engine import Request as EngineRequest

if TYPE_CHECKING:
    from ._driver import Driver

__all__ = ["Methods", "Request", "RequestOf"]

S = TypeVar("S")


class RequestOf(Generic[S]):
    """A request of a session, which is one of the API for trio or of another one."""

    __slots__ = ("method", "params", "session")

    def __init__(self, method: str, params: Any, session: S) -> None:
        self.method = method
        self.params = params
        self.session = session

    def __repr__(self) -> str:
        return f"<restsock.messaging.Request {self.method!r}>"

    def text(self, name: str, default: str | None = None) -> str:
        """A member of the parameters that is a name, like that of a channel.

        Raises:
            InvalidMessage: it is not.
        """
        value = self._member(name, default)
        if not is_name(value) and value != default:
            raise InvalidMessage(f"{name} is not a name of 1 to 255 printable characters")
        return str(value)

    def number(self, name: str, default: int | None = None) -> int:
        """A member of the parameters that is a whole number, not below 0.

        Raises:
            InvalidMessage: it is not.
        """
        value = self._member(name, default)
        if type(value) is not int or not 0 <= value < 2**53:
            raise InvalidMessage(f"{name} is not a whole number from 0 on")
        return int(value)

    def _member(self, name: str, default: Any) -> Any:
        value = self.params.get(name, default) if isinstance(self.params, dict) else default
        if value is None:
            raise InvalidMessage(f"the parameters have no {name}")
        return value


class Request(RequestOf[Session]):
    """What a method is called with.

    Attributes:
        method: its name.
        params: any JSON value.
        session: the peer that asks.
    """

    __slots__ = ()


class Methods:
    """The methods of a messaging, by name.

    Attributes:
        driver: has the requests.
        received: how many requests there were, by method.
    """

    driver: Driver

    def __init__(self) -> None:
        self.received: dict[str, int] = {}
        self._built_in: dict[str, Callable[[Request], Awaitable[Any]]] = {}
        self._methods: dict[str, Callable[[Request], Awaitable[Any]]] = {}

    def add_built_in(self, name: str, call: Callable[[Request], Awaitable[Any]]) -> None:
        """Adds a method that a program may replace."""
        self._built_in[name] = call

    def add(self, name: str, call: Callable[[Request], Awaitable[Any]]) -> None:
        """Adds a method.

        Raises:
            ValueError: there is such a method, or it is no name.
        """
        check_name("method", name)
        if name in self._methods:
            raise ValueError(f"there is a method {name!r} already")
        self._methods[name] = call

    async def answer(self, peer: Peer, request: EngineRequest) -> None:
        """Answers a request."""
        engine = self.driver.engine
        call = self._methods.get(request.method) or self._built_in.get(request.method)
        label = "unknown" if call is None else request.method
        call = call or self._methods.get(EVERY)
        self.received[label] = self.received.get(label, 0) + 1
        result, error, kind = "null", "", ""
        if call is None:
            error, kind = "unknown method", "invalid"
        else:
            try:
                found = await call(Request(request.method, request.params, peer.owner))
                result = encode_json(found)
                utf8_length(result)
            except Malformed as exc:
                self.driver.log.say("method", "%s returned what is %s", request.method, exc)
                error, kind = "failed: its result is not JSON", "transient"
            except MessagingError as exc:
                error, kind = sayable(str(exc), 1000) or type(exc).__name__, exc.kind
            except Exception as exc:  # noqa: BLE001  # who has asked is told that it failed
                self.driver.log.say(
                    "method", "the method %s failed: %s", request.method, failure_of(exc)
                )
                error, kind = f"failed: {type(exc).__name__}", "transient"
        now = self.driver.now()
        engine.reply(peer, request.id, now, result=result, error=error, kind=kind)
