"""Messages of peers: what one publishes on a channel goes to all who have subscribed to it."""

from __future__ import annotations

import logging
import re
from collections.abc import Callable, Sequence
from contextlib import AbstractAsyncContextManager, nullcontext
from typing import Any

from restsock._limit_log import LimitLog
from restsock._patterns import gaps, like
from restsock.messaging import Message, Messaging, MessagingOptions, Session

from ._errors import ConfigError
from ._tables import MessagingTable, RightsTable

__all__ = ["Rights", "relay", "running"]

_log = logging.getLogger("restsock.hub.messaging")

# What the messaging calls what the file calls otherwise.
_KEYS = {"send": "publish", "subscribe": "subscribe", "call": "ask"}
# Methods that only serve to subscribe: the right to that is asked for each channel.
_FREE = frozenset(("subscribe", "unsubscribe", "replay"))
_PLACEHOLDER = re.compile(r"\{(\w*)\}")
_NAMES = ("peer", "principal")


class Rights:
    """Who may publish, subscribe and ask: the `authorize` of the messaging of a hub.

    Args:
        rules: those of the file; `None` allows everything to everybody.

    Attributes:
        on_swap: is called when others hold.

    Raises:
        ConfigError: one of them is not valid, or allows nothing.
    """

    def __init__(self, rules: Sequence[RightsTable] | None) -> None:
        self.on_swap: Callable[[], object] | None = None
        self._rules = rules
        self._limit_log = LimitLog(_log)
        for number, rule in enumerate(rules or ()):
            _check(rule, f"messaging.rights[{number}]")

    @property
    def by_principal(self) -> str:
        """The key of the first rule that goes by principals; empty if none does."""
        for number, rule in enumerate(self._rules or ()):
            if rule.principals is not None:
                return f"messaging.rights[{number}].principals"
        return ""

    def swap(self, other: Rights) -> None:
        """Has those of another one hold from now on."""
        self._rules = other._rules
        if self.on_swap is not None:
            self.on_swap()

    def __call__(self, session: Session, action: str, name: str) -> bool:
        """Whether a peer may do something; see `restsock.messaging.Authorize`."""
        if self._rules is None or (action == "call" and name in _FREE):
            return True
        key = _KEYS[action]
        if any(_allows(rule, session, key, name) for rule in self._rules):
            return True
        principal = session.principal
        self._limit_log.say(
            key,
            "the peer %r (principal %r) may not %s %r",
            session.name or session.id,
            None if principal is None else principal.name,
            key,
            name,
            level=logging.INFO,
        )
        return False


def _allows(rule: RightsTable, session: Session, key: str, name: str) -> bool:
    principal = None if session.principal is None else session.principal.name
    for patterns, found in ((rule.peers, session.name), (rule.principals, principal)):
        if patterns is not None and (
            found is None or not any(like(pattern, found) for pattern in patterns)
        ):
            return False
    values = {"peer": session.name, "principal": principal}
    return any(_stands_for(pattern, values, name) for pattern in getattr(rule, key))


def _stands_for(pattern: str, values: dict[str, str | None], name: str) -> bool:
    """Whether a pattern is one of a name. What a placeholder stands for is no pattern itself."""
    if any(values[found] is None for found in _PLACEHOLDER.findall(pattern)):
        return False
    texts = [
        _PLACEHOLDER.sub(lambda found: values[found[1]] or "", text) for text in pattern.split("*")
    ]
    return gaps(texts, name) is not None


def _check(rule: RightsTable, key: str) -> None:
    """Raises `ConfigError` unless a rule can be used."""
    for name in ("peers", "principals"):
        patterns = getattr(rule, name)
        if patterns is not None and not patterns:
            raise ConfigError(f"{key}.{name}", "it is for nobody; without it the rule is for all")
        for number, pattern in enumerate(patterns or ()):
            _check_name(pattern, f"{key}.{name}[{number}]")
    if not (rule.publish or rule.subscribe or rule.ask):
        raise ConfigError(key, "it allows nothing: give publish, subscribe or ask")
    for name in _KEYS.values():
        for number, pattern in enumerate(getattr(rule, name)):
            where = f"{key}.{name}[{number}]"
            _check_name(pattern, where)
            for found in _PLACEHOLDER.findall(pattern):
                if found not in _NAMES:
                    raise ConfigError(where, f"{{{found}}} is neither {{peer}} nor {{principal}}")


def _check_name(pattern: str, key: str) -> None:
    if not 1 <= len(pattern) <= 255 or not pattern.isprintable():
        raise ConfigError(key, f"a pattern is 1 to 255 printable characters, not {pattern!r}")


def relay(table: MessagingTable, rights: Rights) -> Messaging | None:
    """A messaging that passes on what peers send; `None` if there is to be none.

    A message is acknowledged once it was sent to those who are subscribed, and kept for those who
    come back.
    """
    if not table.enabled:
        return None
    options = MessagingOptions(history_messages=table.history)
    messaging = Messaging(options=options, authorize=rights)
    rights.on_swap = messaging.recheck

    @messaging.on("*")
    async def pass_on(message: Message) -> None:
        await messaging.publish(message.channel, message.body, headers=message.headers)

    return messaging


def running(messaging: Messaging | None) -> AbstractAsyncContextManager[Any]:
    """Has it open while the block runs."""
    return nullcontext() if messaging is None else messaging
