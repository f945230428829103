"""`Breaker`: a backend that keeps failing gets no calls for a while."""

from __future__ import annotations

import logging
from collections import OrderedDict
from collections.abc import Callable, Hashable, Mapping
from functools import partial
from itertools import islice
from typing import TYPE_CHECKING

import trio

from restsock._options import between, number, positive
from restsock.gateway._errors import CallFailed
from restsock.gateway._middleware import Middleware

from ._circuit import Circuit, CircuitRules, CircuitState, Ticket
from ._outcomes import status_of
from ._parts import when_over
from ._scopes import Scope, key_function

if TYPE_CHECKING:
    from restsock.gateway._backend import Call
    from restsock.gateway._message import Message, Reply

__all__ = ["Breaker", "CircuitOpen"]

_log = logging.getLogger("restsock.gateway")

# Of the oldest circuits, those among which one is looked for that can be forgotten.
_LOOK_AT = 16


class CircuitOpen(CallFailed):
    """A `Breaker` is open and has refused a call: a 503 that has not run."""


class Breaker(Middleware):
    """Answers 503 at once, without a call, while calls keep failing.

        Pipe(HTTP("http://127.0.0.1:5000"), [Retry(3), Breaker(), Timeout(5)])

    It opens after `failures` in a row, or when the share `ratio` of the calls in the window has
    failed. For `pause` seconds all calls are refused; then a few go through as probes, which close
    it or open it again. A failure is a status of 500 and above, an exception that leads to one, a
    time-out, or a call that takes longer than `slow`: such a call counts before it ends. A call
    whose client has left does not count. A reply in parts counts as good with its first part, and
    as failed if a later one fails.

    Its best place is right before a backend, inside `Retry`, so that it counts each attempt.

    Args:
        key: Which calls share a circuit. `"key"` makes one for each action.
        failures: In a row; `None` does not count them.
        ratio: Share of failed calls in the window, 0 to 1; `None` does not look at it.
        window: Seconds.
        minimum: Calls in the window below which the ratio is ignored.
        slow: Seconds after which a call that is not over counts as failed; `None` sets no bound.
        pause: Seconds for which it is open.
        probes: Calls that go through after the pause, and have to succeed.
        on_change: Called with the key and each new state, on the loop.
        max_keys: Circuits at a time. Beyond that, one without failures is forgotten first.

    Raises:
        TypeError: An argument is of a wrong type.
        ValueError: A number is out of bounds, a word is unknown, or nothing would ever open it.
    """

    def __init__(
        self,
        *,
        key: Scope = "all",
        failures: int | None = 5,
        ratio: float | None = 0.5,
        window: float = 30.0,
        minimum: int = 20,
        slow: float | None = 10.0,
        pause: float = 10.0,
        probes: int = 1,
        on_change: Callable[[Hashable, CircuitState], object] | None = None,
        max_keys: int = 1000,
    ) -> None:
        self.failures, self.ratio, self.slow = failures, ratio, slow
        self.window, self.pause = window, pause
        self.minimum, self.probes, self.max_keys = minimum, probes, max_keys
        if failures is None and ratio is None:
            raise ValueError("Breaker needs failures= or ratio=, else nothing ever opens it")
        if on_change is not None and not callable(on_change):
            raise TypeError(f"on_change must be a function, not {type(on_change).__name__}")
        for name in ("minimum", "probes", "max_keys"):
            between(self, name, 1, 2**31)
        for name in ("window", "pause"):
            positive(self, name)
        if failures is not None:
            between(self, "failures", 1, 2**31)
        if ratio is not None:
            number(self, "ratio", 0.001, 1)
        if slow is not None:
            positive(self, "slow")
        self._rules = CircuitRules(failures, ratio, window, minimum, slow, pause, probes)
        self._key = key_function(key)
        self._on_change = on_change
        self._circuits: OrderedDict[Hashable, Circuit] = OrderedDict()

    def states(self) -> Mapping[Hashable, CircuitState]:
        """The state of each circuit that there is, by its key. On the loop."""
        now = trio.current_time()
        for circuit in self._circuits.values():
            circuit.look(now)
        return {key: circuit.state for key, circuit in self._circuits.items()}

    async def __call__(self, message: Message, call_next: Call) -> Reply:
        """See `Middleware`.

        Raises:
            CircuitOpen: It was not let pass.
        """
        key = self._key(message)
        if key is None:
            return await call_next(message)
        circuit = self._circuit(key)
        ticket = circuit.admit(trio.current_time())
        if not isinstance(ticket, Ticket):
            raise CircuitOpen(503, "this is out of order at the moment", retry_after=ticket)
        good: bool | None = None
        try:
            reply = await call_next(message)
            good = reply.status < 500
        except Exception as exc:
            good = status_of(exc) < 500
            raise
        except trio.Cancelled:
            if trio.current_time() >= message.deadline:
                good = False  # a `Timeout` further out, and not its client
            raise
        finally:
            circuit.end(ticket, good, trio.current_time())
        if reply.parts is None:
            return reply
        return when_over(reply, partial(self._ended, circuit, ticket))

    def _ended(self, circuit: Circuit, ticket: Ticket, error: BaseException | None) -> None:
        if isinstance(error, Exception) and status_of(error) >= 500:
            circuit.fail_later(ticket, trio.current_time())

    def _circuit(self, key: Hashable) -> Circuit:
        circuit = self._circuits.get(key)
        if circuit is None:
            while len(self._circuits) >= self.max_keys:
                oldest = list(islice(self._circuits.items(), _LOOK_AT))
                gone = next((other for other, one in oldest if one.idle), oldest[0][0])
                del self._circuits[gone]
            circuit = self._circuits[key] = Circuit(self._rules, partial(self._changed, key))
        self._circuits.move_to_end(key)
        return circuit

    def _changed(self, key: Hashable, state: CircuitState) -> None:
        level = logging.WARNING if state == "open" else logging.INFO
        _log.log(level, "the circuit breaker for %r is %s", key, state)
        if self._on_change is not None:
            try:
                self._on_change(key, state)
            except Exception:  # noqa: BLE001  # anybody's code, and the calls are not to suffer
                _log.exception("on_change of a Breaker has failed")
