"""`Balance`: the least busy of several backends answers, unless it keeps failing."""

from __future__ import annotations

import math
import random
from collections.abc import Awaitable, Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeVar

import trio

from restsock._options import between, not_negative, positive
from restsock.gateway._backend import Backend, as_backend
from restsock.gateway._errors import CallFailed, as_failure
from restsock.gateway._message import Message, Reply

from ._http_backend import HTTPBackend

if TYPE_CHECKING:
    from restsock.connection import Response
    from restsock.gateway._backend import Part

    from ._http_mapping import HTTPRequest

__all__ = ["Balance", "BalanceMember"]

T = TypeVar("T", "Reply", "Response")

# Of its weight, what one that has come back begins with.
_FIRST = 0.1
# A backend that goes on failing is left alone for so many times `eject` at most.
_LONGEST = 10


@dataclass(frozen=True, slots=True)
class BalanceMember:
    """A backend of a `Balance`, as it is now.

    Attributes:
        backend: The backend.
        weight: Its weight; 0 is out of use.
        in_flight: Its calls in flight.
        failures: How many have failed in a row.
        ejected: Whether it gets no calls, except one as a test now and then, because they have
            failed.
    """

    backend: Backend
    weight: float
    in_flight: int
    failures: int
    ejected: bool


class _Member:
    def __init__(self, backend: Backend, weight: float) -> None:
        self.backend = backend
        self.weight = weight
        self.in_flight = 0
        self.failures = 0
        self.ejections = 0  # in a row
        self.until = -math.inf  # on trio's clock; it is ejected while there is an ejection
        self.probing = False
        self.back_at = -math.inf


class Balance(Backend):
    """Answers with one of several backends: that with the fewest calls in flight for its weight.

        Balance([HTTP("http://10.0.0.1"), (HTTP("http://10.0.0.2"), 3)])

    A backend whose calls fail `failures` times in a row gets none for `eject` seconds, and then one
    as a test. If that succeeds, the backend comes back, with a share that grows over `slow_start`
    seconds; if not, it is ejected for longer. A failure is a status of 500 and above, or no answer.
    While all are ejected, the answer is 503, at once.

    A call that provably has not run is repeated at another backend. A call that may have run is
    never repeated.

    Args:
        backends: Backends, or pairs of one and its weight; 1 by default. One with weight 0 gets no
            calls.
        failures: After how many failures in a row a backend is ejected; 0 ejects none.
        eject: Seconds for which it is ejected.
        slow_start: Seconds until one that has come back has its whole share.

    Raises:
        ValueError: No backend has a weight above 0, one is a duplicate, or a number is not valid.
        TypeError: One is no backend.
    """

    def __init__(
        self,
        backends: Sequence[Backend | Callable[[Message], Any] | tuple[Any, float]],
        *,
        failures: int = 5,
        eject: float = 10.0,
        slow_start: float = 10.0,
    ) -> None:
        self._members: list[_Member] = []
        for one in backends:
            what, weight = one if isinstance(one, tuple) else (one, 1.0)
            self._members.append(_Member(as_backend(what), _checked(weight)))
        own = [id(member.backend) for member in self._members]
        if len(set(own)) < len(own):
            raise ValueError("a backend is there twice: give it more weight instead")
        if not any(member.weight for member in self._members):
            raise ValueError("no backend has a weight above 0")
        self.failures = failures
        self.eject = eject
        self.slow_start = slow_start
        between(self, "failures", 0, 1_000_000)
        positive(self, "eject")
        not_negative(self, "slow_start")

    @property
    def speaks_http(self) -> bool:
        """Whether all backends speak HTTP, so that `Operations` can use it."""
        return all(getattr(one.backend, "speaks_http", False) for one in self._members)

    @property
    def members(self) -> tuple[BalanceMember, ...]:
        """The backends, as they are now."""
        return tuple(
            BalanceMember(one.backend, one.weight, one.in_flight, one.failures, one.ejections > 0)
            for one in self._members
        )

    def set_weight(self, backend: Backend, weight: float) -> None:
        """Gives a backend another weight, from the next call on; 0 takes it out of use.

        Raises:
            ValueError: No backend would be in use, this is not one of them, or the weight is not
            valid.
        """
        weight = _checked(weight)
        found = [one for one in self._members if one.backend is backend]
        if not found:
            raise ValueError(f"{backend!r} is not one of them")
        if not weight and not any(one.weight for one in self._members if one is not found[0]):
            raise ValueError("no backend would be in use")
        found[0].weight = weight

    def parts(self) -> Iterable[Part]:
        """See `Backend.parts`."""
        return tuple(member.backend for member in self._members)

    async def call(self, message: Message) -> Reply:
        """See `Backend.call`.

        Raises:
            CallFailed: There is none, or the one that answers has failed.
        """

        async def ask(backend: Backend) -> Reply:
            return await backend.call(message)

        return await self._run(ask, message.deadline)

    async def exchange(self, message: Message, request: HTTPRequest) -> Response:
        """See `HTTPBackend.exchange`.

        Raises:
            CallFailed: As `call`.
            TypeError: One of the backends does not speak HTTP.
        """

        async def ask(backend: Backend) -> Response:
            if not isinstance(backend, (HTTPBackend, Balance)):
                raise TypeError(f"{backend!r} does not speak HTTP")
            return await backend.exchange(message, request)

        return await self._run(ask, message.deadline)

    async def _run(self, ask: Callable[[Backend], Awaitable[T]], deadline: float) -> T:
        tried: list[_Member] = []
        last: Exception | None = None
        while True:
            now = trio.current_time()
            if now >= deadline:  # which is no fault of whoever would be asked
                raise last or CallFailed(504, "no answer in time")
            member = self._pick(now, tried)
            if member is None:
                if last is not None:
                    raise last
                due = min(one.until for one in self._members if one.weight)
                wait = max(0.0, due - now)
                raise CallFailed(503, "nothing of what this goes to is well", retry_after=wait)
            tried.append(member)
            try:
                return await self._ask(member, ask)
            except Exception as exc:
                failure = as_failure(exc)
                if failure is None or failure.may_have_run or failure.status < 500:
                    raise
                last = exc

    async def _ask(self, member: _Member, ask: Callable[[Backend], Awaitable[T]]) -> T:
        probe = member.probing = member.ejections > 0
        member.in_flight += 1
        try:
            answer = await ask(member.backend)
        except Exception as exc:
            failure = as_failure(exc)
            if failure is None or failure.status >= 500:
                self._failed(member)
            else:
                self._answered(member)
            raise
        finally:
            member.in_flight -= 1
            if probe:
                member.probing = False
        if answer.status >= 500:
            self._failed(member)
        else:
            self._answered(member)
        return answer

    def _pick(self, now: float, tried: list[_Member]) -> _Member | None:
        ready = []
        for member in self._members:
            if not member.weight or member in tried:
                continue
            if not member.ejections:
                ready.append(member)
            elif now >= member.until and not member.probing:
                return member
        random.shuffle(ready)  # so that equals have their turns
        return min(ready, key=lambda member: self._load(member, now), default=None)

    def _load(self, member: _Member, now: float) -> float:
        share = 1.0
        if self.slow_start:
            share = max(_FIRST, min(1.0, (now - member.back_at) / self.slow_start))
        return (member.in_flight + 1) / (member.weight * share)

    def _answered(self, member: _Member) -> None:
        member.failures = 0
        if member.ejections:
            member.ejections = 0
            member.back_at = trio.current_time()

    def _failed(self, member: _Member) -> None:
        member.failures += 1
        now = trio.current_time()
        if not self.failures or member.failures < self.failures or now < member.until:
            return
        member.ejections += 1
        member.until = now + self.eject * min(member.ejections, _LONGEST)

    def __repr__(self) -> str:
        return f"Balance({[(one.backend, one.weight) for one in self._members]!r})"


def _checked(weight: float) -> float:
    if isinstance(weight, bool) or not isinstance(weight, (int, float)):
        raise TypeError(f"a weight is a number, not {weight!r}")
    if not 0 <= weight < math.inf:
        raise ValueError(f"a weight is 0 or more, not {weight!r}")
    return float(weight)
