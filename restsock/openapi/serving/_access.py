"""Who may call which operations of which peer.

A rule allows; what no rule allows is refused with 403 before the app is reached, and so is what is
no operation of the contract. `AccessHandler` puts that in front of an app; `Rules.allows` is the
bare question, for whoever stands somewhere else on the way.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractAsyncContextManager
from typing import TYPE_CHECKING, Any, NamedTuple, TypeAlias

from restsock._patterns import like
from restsock.apps import make_handler
from restsock.connection import Exchange, Load, load_of
from restsock.openapi.checks import misleads, misread, takes_matrix
from restsock.openapi.document import (
    NoSuchMethod,
    NoSuchPath,
    Operation,
    SpecLike,
    did_you_mean,
    load,
)

from ._answers import answer_problem

if TYPE_CHECKING:
    from restsock.openapi.document import Document

__all__ = ["AccessHandler", "CallerOf", "Rule", "Rules", "allow", "caller_of"]

_log = logging.getLogger("restsock.openapi")

CallerOf: TypeAlias = Callable[[Exchange], "str | None"]
"""Who has sent a request; `None` when that is not known. Called on the loop; must not block."""


class Rule(NamedTuple):
    """One permission. Made by `allow`.

    Attributes:
        caller: the name of who may call, or a pattern of names.
        peer: the name of whose operations, or a pattern of names.
        operations: ids, "METHOD /path", or patterns of either.
    """

    caller: str
    peer: str
    operations: tuple[str, ...]


def allow(caller: str, peer: str, operations: str | Iterable[str]) -> Rule:
    """Lets a caller call operations of a peer.

        allow("robot-7", "edge-1", ["getStatus", "listPets"])
        allow("robot-*", "*", "GET *")

    In all three a `*` stands for any text, an empty one too. `"*"` as the caller is everybody,
    those without a name included; `"*"` as the operation is all that the contract has.

    Args:
        caller: who calls.
        peer: who is called.
        operations: ids; or "METHOD /path", the path with its `{variables}` as in the contract.

    Raises:
        TypeError: something is no text.
        ValueError: something is empty.
    """
    names = (operations,) if isinstance(operations, str) else tuple(operations)
    for text in (caller, peer, *names):
        if not isinstance(text, str):
            raise TypeError(f"a rule is made of names, not {type(text).__name__}")
        if not text:
            raise ValueError("an empty name in a rule")
    if not names:
        raise ValueError("a rule without operations allows nothing")
    return Rule(caller, peer, names)


class Rules:
    """What is allowed, and by that all that is not. Immutable.

    Args:
        rules: made by `allow`; their order means nothing.
    """

    def __init__(self, rules: Iterable[Rule]) -> None:
        self._rules = tuple(rules)
        for rule in self._rules:
            if not isinstance(rule, Rule):
                raise TypeError(f"rules are made by `allow`, not {type(rule).__name__}")

    def allows(self, caller: str | None, peer: str, operation: Operation) -> bool:
        """Whether a rule lets this caller call this operation of this peer.

        Args:
            caller: by name; without one only rules for everybody hold.
            peer: by name.
            operation: of the peer's document.
        """
        return any(
            (rule.caller == "*" if caller is None else like(rule.caller, caller))
            and like(rule.peer, peer)
            and any(_names(pattern, operation) for pattern in rule.operations)
            for rule in self._rules
        )

    def check(self, peer: str, document: Document) -> None:
        """Looks for operations of a peer that its document does not have.

        Raises:
            ValueError: a rule names one; most likely it is misspelt.
        """
        for rule in self._rules:
            if not like(rule.peer, peer):
                continue
            for pattern in rule.operations:
                if not any(_names(pattern, operation) for operation in document.operations):
                    hint = did_you_mean(pattern, map(str, document.operations))
                    raise ValueError(f"{peer!r} has no operation {pattern!r}{hint}")

    def __iter__(self) -> Iterator[Rule]:
        return iter(self._rules)

    def __len__(self) -> int:
        return len(self._rules)

    def __repr__(self) -> str:
        return f"Rules({list(self._rules)!r})"


def caller_of(exchange: Exchange) -> str | None:
    """Who has sent a request: the principal's name, or else the name that the dialer gave itself.

    A name alone proves nothing: whoever can dial in can call itself anything. Only a principal was
    authenticated, and there is one where `listen` has `auth=`. A listener has no name, so at the
    dialing end there is none without a principal.
    """
    connection = exchange.connection
    assert connection is not None
    principal = getattr(connection, "principal", None)
    if principal is not None:
        # One without a name is nobody, and by no means whom it says it is.
        name = getattr(principal, "name", None)
        return name if isinstance(name, str) else None
    # `connection.name` is the dialer's at both ends; the dialer's streams are the odd ones.
    return connection.name if exchange.id % 2 else None


class AccessHandler:
    """A `Handler` that lets through to an app what rules allow. The rest is answered with 403.

        connect(url, name="edge-1", app=AccessHandler(app, "petstore.json", rules, peer="edge-1"))

    What a request is for is found as in validation. A path that some servers would read as another
    one is refused: "." and ".." as a segment, in whatever disguise, an encoded "/", a backslash, a
    ";" where the contract wants none, control characters, and what is not in UTF-8.

    Args:
        app: an app, or another handler: `OpenAPIHandler(...)`. To find an offence against the rules
            before one against the contract, this one stands outside.
        spec: the document: a file, a mapping, or what `load` gave.
        rules: what is allowed: `Rules`, or a list of what `allow` gave.
        peer: the name under which the rules know whoever serves the app.
        caller: tells who has sent a request; by default `caller_of`.
        public: paths that everybody may GET, to the letter, such as `"/openapi.json"`: that of the
            document is no operation either.
        app_options: those of `connect` and `listen` for the app: `interface`, `workers`, ...

    Raises:
        SpecError: the document cannot be used.
        ValueError: a rule names an operation of this peer that the document does not have.
        TypeError: the app is none; or there are options for a handler that is made already.
    """

    def __init__(
        self,
        app: Any,
        spec: SpecLike,
        rules: Rules | Iterable[Rule],
        *,
        peer: str,
        caller: CallerOf = caller_of,
        public: Iterable[str] = (),
        **app_options: Any,
    ) -> None:
        if isinstance(public, str):
            raise TypeError("public is a list of paths, not one path")
        self._document = load(spec)
        self._peer = peer
        self._caller = caller
        self._public = frozenset(path.encode("ascii") for path in public)
        self._rules = self._checked(rules)
        self._inner = make_handler(app, **app_options)

    @property
    def rules(self) -> Rules:
        """What is allowed. May be replaced at any time; it holds from the next request on."""
        return self._rules

    @rules.setter
    def rules(self, rules: Rules | Iterable[Rule]) -> None:
        self._rules = self._checked(rules)

    def _checked(self, rules: Rules | Iterable[Rule]) -> Rules:
        rules = rules if isinstance(rules, Rules) else Rules(rules)
        rules.check(self._peer, self._document)
        return rules

    def handle(self, exchange: Exchange) -> None:
        """Takes over a request; see `Handler`."""
        if self._is_public(exchange):
            self._inner.handle(exchange)
            return
        caller = self._caller(exchange)
        operation = self._operation(exchange)
        if operation is not None and self._rules.allows(caller, self._peer, operation):
            self._inner.handle(exchange)
            return
        who = "a caller without a name" if caller is None else repr(caller)
        what = "what is no operation of the contract" if operation is None else str(operation)
        detail = f"{who} may not call {what}"
        _log.info("refused: %s, at %r", detail, self._peer)
        answer_problem(exchange, 403, detail)

    def load(self) -> Load | None:
        """The queue of the app, if it has one."""
        return load_of(self._inner)

    def running(self) -> AbstractAsyncContextManager[None]:
        """Runs the app; see `Handler`."""
        return self._inner.running()

    def _is_public(self, exchange: Exchange) -> bool:
        request = exchange.request
        return (
            request.target.partition(b"?")[0] in self._public
            and request.method in (b"GET", b"HEAD")
            and request.upgrade is None
        )

    def _operation(self, exchange: Exchange) -> Operation | None:
        request = exchange.request
        path = request.target.partition(b"?")[0].decode("latin-1")
        method = request.method.decode("latin-1")
        try:
            operation = self._document.match(method, path).operation
        except (NoSuchPath, NoSuchMethod):
            return None
        matrix = takes_matrix(self._document, operation)
        if any(misleads(segment, matrix=matrix) for segment in path.split("/")):
            return None
        return None if misread(self._document, method, operation, path) else operation


def _names(pattern: str, operation: Operation) -> bool:
    by_path = f"{operation.method} {operation.path}"
    return like(pattern, by_path) or (operation.id is not None and like(pattern, operation.id))
