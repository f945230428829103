"""`NATS`: a subscriber of a NATS subject answers."""

from __future__ import annotations

from collections.abc import AsyncIterator, Collection, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import TYPE_CHECKING

import trio

from restsock._options import positive
from restsock.connection import until
from restsock.gateway._backend import Backend
from restsock.gateway._errors import CallFailed
from restsock.gateway._message import Message, Reply
from restsock.messaging import BrokerUnavailable, PublishFailed
from restsock.messaging.nats import Nats, NatsOptions

from ._payload import FIELDS, Telling, decode, encode
from ._queue import DEADLINE
from ._template import Template

if TYPE_CHECKING:
    from restsock.messaging.nats import NatsReply

__all__ = ["NATS"]

_FOR_EVER = 1e9
# What services of NATS say of a failure (its ADR-32).
_ERROR_CODE = "nats-service-error-code"


class NATS(Backend):
    """Answers with a subscriber of a NATS subject: sends a request, and takes the first answer.

        NATS("quotes.{key}", "nats://127.0.0.1:4222")

    Text and bytes are sent as they are, any other body as JSON. The answer is read by its header
    `Content-Type`; without one as JSON if possible, else as text, else as bytes. If it has the
    header `Nats-Service-Error-Code`, the reply has that status. Without a subscriber, the answer is
    503, and nothing has run.

    The gateway also starts without NATS; calls are then answered with 503.

    Args:
        subject: A template, as in `HTTPMapping`. Each value is one token of the subject: an empty
            value, or one with a dot, a wildcard or a space, is answered with 422. `{+key}` may be
            several tokens. The template needs a fixed part, so that clients cannot name any
            subject.
        nats: The URLs of servers; or a `restsock.messaging.nats.Nats` that the program has entered.
        options: Credentials, TLS, and times; not with a `Nats`.
        timeout: Seconds for an answer, if the message has no earlier deadline.
        headers: Which of the message's fields are sent on, by name.
        tell: Headers about the client, each with a source.

    Raises:
        ValueError: An argument is not valid.
        TypeError: Likewise.
        ImportError: The extra `nats` is not installed.
    """

    def __init__(
        self,
        subject: str,
        nats: str | Sequence[str] | Nats = "nats://127.0.0.1:4222",
        *,
        options: NatsOptions | None = None,
        timeout: float = 30.0,
        headers: Collection[str] = FIELDS,
        tell: Mapping[str, str] | None = None,
    ) -> None:
        self._subject = Template(subject, _token)
        if not subject or any(sign in self._subject.literals for sign in "*> \t\r\n"):
            raise ValueError(f"a subject has no wildcards and no spaces, not {subject!r}")
        if ".." in subject or subject[0] == "." or subject[-1] == ".":
            raise ValueError(f"{subject!r} has a token that is empty")
        self._subject.check_own("a subject")
        if isinstance(nats, Nats) and options is not None:
            raise TypeError("options are of the Nats that is given")
        self._servers = nats
        # It is waited for by each call, and not by the gateway.
        self._options = replace(options or NatsOptions(), ready_timeout=_FOR_EVER)
        self.timeout = timeout
        positive(self, "timeout")
        self._telling = Telling(headers, tell or {}, DEADLINE)
        self._nats: Nats | None = None
        self._changed = trio.Event()
        if not isinstance(nats, Nats):
            Nats(nats, options=options)  # its arguments are checked

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Keeps a connection meanwhile."""
        if isinstance(self._servers, Nats):
            self._nats = self._servers
            try:
                yield
            finally:
                self._nats = None
            return
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._keep)
            yield
            nursery.cancel_scope.cancel()

    async def _keep(self) -> None:
        assert not isinstance(self._servers, Nats)
        try:
            async with Nats(self._servers, options=self._options) as self._nats:
                self._changed.set()
                await trio.sleep_forever()
        finally:
            self._nats = None
            self._changed = trio.Event()

    async def call(self, message: Message) -> Reply:
        """See `Backend.call`. If cancelled, its answer is dropped.

        Raises:
            CallFailed: There is no answer.
            RestsockError: Likewise.
        """
        deadline = min(message.deadline, trio.current_time() + self.timeout)
        subject = self._subject.fill(message)
        body, kind = encode(message.body)
        headers = self._telling.fields(message.replace(deadline=deadline))
        headers.setdefault("Content-Type", kind)
        with until(deadline):
            while self._nats is None:
                await self._changed.wait()
        left = deadline - trio.current_time()
        if self._nats is None or left <= 0:
            raise CallFailed(503, "what this goes to is not connected", retry_after=1)
        try:
            answer = await self._nats.request(subject, body, headers=headers, timeout=left)
        except BrokerUnavailable as exc:
            raise CallFailed(503, "what this goes to is not connected", retry_after=1) from exc
        except PublishFailed as exc:
            if exc.kind != "invalid":
                raise
            raise CallFailed(413, "the message is too large for what this goes to") from exc
        if answer is None:
            raise CallFailed(503, "nobody is there to answer this", retry_after=1)
        return _reply_of(answer)

    def __repr__(self) -> str:
        return f"NATS({self._subject.text!r})"


def _reply_of(answer: NatsReply) -> Reply:
    headers = {name.lower(): value for name, value in answer.headers.items()}
    status = 200
    code = headers.get(_ERROR_CODE)
    if code is not None:
        status = int(code) if code.isascii() and code.isdigit() and len(code) == 3 else 500
        status = status if 400 <= status <= 599 else 500
    kind = headers.get("content-type")
    shown = {} if kind is None else {"content-type": kind}
    return Reply(decode(answer.body, kind), status, shown)


def _token(text: str, wide: bool) -> str:
    for token in text.split(".") if wide else [text]:
        if not token:
            raise ValueError("is empty, or has an empty part")
        if any(sign in ".*>" or sign.isspace() or not sign.isprintable() for sign in token):
            raise ValueError("has a sign that no subject can have")
    return text
