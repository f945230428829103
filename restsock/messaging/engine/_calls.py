"""Requests: those of this side, and those of peers."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ._payloads import Reply, Request, quoted
from ._peer import Peer

if TYPE_CHECKING:
    from ._context import Context
    from ._outgoing import Outgoing
    from ._sending import Sending

__all__ = ["Calls"]


class Calls:
    """Sends them and their answers, and takes them in.

    Args:
        context: what the parts of an engine share.
        sending: what goes out.
    """

    def __init__(self, context: Context, sending: Sending) -> None:
        self._context = context
        self._sending = sending

    def ask(self, peer: Peer, method: str, params: str, waiter: object, now: float) -> Outgoing:
        """Asks a peer, of whom not too much may be asked already.

        Args:
            peer: who is asked.
            method: for what.
            params: with what, as JSON text.
            waiter: what `Host.answered` is given with the answer.
            now: the time.
        """
        payload = f'{{"method":{quoted(method)},"params":{params}}}'
        outgoing = self._context.envelope("request", payload, now)
        if outgoing.size <= peer.link.max_message:
            peer.requests.add(outgoing.id, waiter)
            peer.tell(outgoing)
            self._sending.pump(peer, now)
        return outgoing

    def reply(
        self,
        peer: Peer,
        id: str,
        now: float,
        *,
        result: str = "null",
        error: str = "",
        kind: str = "",
    ) -> None:
        """Answers a request of a peer, with a result as JSON text or with an error."""
        peer.serving.discard(id)
        if peer.closed:
            return
        if error:
            payload = f'{{"status":"error","error":{quoted(error)},"kind":"{kind}"}}'
        else:
            payload = f'{{"status":"ok","result":{result}}}'
        outgoing = self._context.envelope("reply", payload, now, id=id)
        if outgoing.size > peer.link.max_message:
            self.reply(peer, id, now, error="the result is too large", kind="invalid")
            return
        peer.tell(outgoing)
        self._sending.pump(peer, now)

    def asked(self, peer: Peer, request: Request, now: float) -> None:
        """A peer asks for something."""
        id = request.id
        if peer.deaf:
            self._context.counters.one(self._context.counters.errors, "unread")
        elif id in peer.serving:
            self._context.counters.one(self._context.counters.errors, "request_twice")
        elif len(peer.serving) >= self._context.options.ask_limit:
            self.reply(peer, id, now, error="too many requests at once", kind="transient")
        elif not self._context.host.may(peer, "call", request.method):
            self.reply(peer, id, now, error="not allowed", kind="invalid")
        else:
            peer.serving.add(id)
            self._context.host.asked(peer, request)

    def answered(self, peer: Peer, reply: Reply, now: float) -> None:
        """A peer answers."""
        waiter = peer.requests.take(reply.id)
        if waiter is None:
            self._context.counters.late += 1
            return
        self._context.counters.one(self._context.counters.replies, "ok" if reply.ok else "error")
        self._context.host.answered(waiter, reply)
