"""Who may call which operations of which peer.

Rules only allow. A request that no rule allows is refused with 403 before it reaches the app; so is
a request that is not an operation of the contract.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractAsyncContextManager
from typing import TYPE_CHECKING, Any, NamedTuple, TypeAlias

from restsock._logging import PartLog, about_request
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

_log = PartLog("restsock.openapi")

CallerOf: TypeAlias = Callable[[Exchange], "str | None"]
"""Returns who sent a request; `None` if unknown. Called on the loop; must not block."""


class Rule(NamedTuple):
    """One permission: who may call which operations of which peer. Made by `allow`."""

    caller: str
    peer: str
    operations: tuple[str, ...]


def allow(caller: str, peer: str, operations: str | Iterable[str]) -> Rule:
    """Makes a rule that allows a caller to call operations of a peer.

        allow("robot-7", "edge-1", ["getStatus", "listPets"])
        allow("robot-*", "*", "GET *")

    In all three, `*` matches any text, also an empty one. The caller `"*"` is everyone, with or
    without a name; the operation `"*"` is every operation of the contract.

    Args:
        caller: A name, or a pattern of names.
        peer: The name of the peer that is called, or a pattern of names.
        operations: Ids, or "METHOD /path" with the path's `{variables}` as in the contract.

    Raises:
        TypeError: Something is not text.
        ValueError: Something is empty.
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
    """A set of rules; what they do not allow is forbidden. Immutable.

    Args:
        rules: Rules from `allow`, in any order.
    """

    def __init__(self, rules: Iterable[Rule]) -> None:
        self._rules = tuple(rules)
        for rule in self._rules:
            if not isinstance(rule, Rule):
                raise TypeError(f"rules are made by `allow`, not {type(rule).__name__}")

    def allows(self, caller: str | None, peer: str, operation: Operation) -> bool:
        """Whether a rule lets this caller call this operation of this peer.

        For a caller without a name (`None`), only the rules for `"*"` apply.
        """
        return any(
            (rule.caller == "*" if caller is None else like(rule.caller, caller))
            and like(rule.peer, peer)
            and any(_names(pattern, operation) for pattern in rule.operations)
            for rule in self._rules
        )

    def check(self, peer: str, document: Document) -> None:
        """Compares the rules for a peer with its document.

        Raises:
            ValueError: A rule names an operation that the document does not have.
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
    """Who sent a request: the name of the principal, or the name that the dialer claims.

    A claimed name proves nothing. Only principals are authenticated; with `auth=` of `listen` there
    is always one. A listener has no name, so at the dialing end this is `None`.
    """
    connection = exchange.connection
    assert connection is not None
    principal = getattr(connection, "principal", None)
    if principal is not None:
        # A principal without a name does not prove the name that is claimed.
        name = getattr(principal, "name", None)
        return name if isinstance(name, str) else None
    # `connection.name` is the dialer's at both ends; the dialer's streams are the odd ones.
    return connection.name if exchange.id % 2 else None


class AccessHandler:
    """A `Handler` that passes allowed requests on to an app, and answers others with 403.

        connect(url, name="edge-1", app=AccessHandler(app, "petstore.json", rules, peer="edge-1"))

    Operations are found as in validation. A path that servers may interpret differently is refused:
    with "." or ".." as a segment, however encoded, an encoded "/", a backslash, a ";" that the
    contract does not have, control characters, or invalid UTF-8.

    Args:
        app: An app, or another handler such as `OpenAPIHandler(...)`.
        spec: The document: a file, a mapping, or the result of `load`.
        rules: What is allowed: `Rules`, or a list of results of `allow`.
        peer: The name in the rules for the peer that serves the app.
        caller: Returns who sent a request.
        public: Paths that everyone may GET, compared literally, such as `"/openapi.json"`.
        app_options: Options of `connect` and `listen` for the app: `interface`, `workers`, ...

    Raises:
        SpecError: The document cannot be used.
        ValueError: A rule names an operation of this peer that the document does not have.
        TypeError: The app is not an app; or there are app options for a handler.
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
        self._with_matrix = {
            (each.method, each.path)
            for each in self._document.operations
            if takes_matrix(self._document, each)
        }
        self._inner = make_handler(app, **app_options)

    @property
    def rules(self) -> Rules:
        """The rules. They may be replaced at any time; this applies from the next request on."""
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
        _log.info("refused: %s, at %r", detail, self._peer, extra=about_request(exchange))
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
        matrix = (operation.method, operation.path) in self._with_matrix
        if any(misleads(segment, matrix=matrix) for segment in path.split("/")):
            return None
        return None if misread(self._document, method, operation, path) else operation


def _names(pattern: str, operation: Operation) -> bool:
    by_path = f"{operation.method} {operation.path}"
    return like(pattern, by_path) or (operation.id is not None and like(pattern, operation.id))
