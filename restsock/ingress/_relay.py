"""One request from the ingress to a peer, and the response back: two exchanges, joined.

Each observes its exchange and calls the other, on the loop, without a task: what comes on one side
leaves on the other in the same step: once, when all that has come at once was looked at, or with
the end. The credit of a side is given back when the other has room, so
either is as slow as the slower of the two, and neither holds more than its window.

The request to the peer begins with the first that comes after the head, so that a short one leaves
as a whole: then it can be sent once more where a peer provably has not begun with it. While it
waits for a peer it holds no more than the window, either.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from restsock._exceptions import LocalProtocolError, RemoteProtocolError, RestsockError
from restsock.auth import Refused
from restsock.connection import (
    Exchange,
    ExchangeEvent,
    Failed,
    Requeued,
    Started,
    Writable,
)
from restsock.protocol import (
    DataReceived,
    EndReceived,
    Headers,
    PlainHead,
    RequestHead,
    ResetCode,
    ResponseHead,
    ResponseReceived,
    StopSending,
    content_length,
    values_of,
)

from ._fields import clean_trailers

__all__ = ["MAX_CHECKED", "Relay"]

if TYPE_CHECKING:
    Translate = Callable[[ResponseHead, PlainHead | None], tuple[ResponseHead, PlainHead | None]]
    Check = Callable[[bytes], object]

# Bytes of a body that is checked as a whole before any of it is sent on.
MAX_CHECKED = 1024 * 1024


class Relay:
    """Joins a request that has come to one that is sent on.

    Order of calls: made when the head has come; then `start()`, or the exchange is answered here.

    Args:
        inbound: the request; its body bytes wait here, up to its window, until `start()`.
        max_body: bytes of its body that are passed on; `None` sets no bound.
        on_failure: is called when the request to the peer has failed and nothing was answered yet;
            answers. It gets the error, what its check has refused it with, or `None` when the body
            is too large.
        on_end: is called once, when all is over.
        on_waiting: is called when it has to wait for a stream, the first or another one.

    Attributes:
        outbound: the exchange with the peer; `None` before there is one.
        waiting: whether it has no stream yet.
        begun: whether the peer may have begun with the request.
        answered: whether the peer's final head has come.
        received: body bytes of the request so far.
        sent: body bytes of the response so far.
        status: of the response; 0 before it has come.
    """

    def __init__(
        self,
        inbound: Exchange,
        *,
        max_body: int | None,
        on_failure: Callable[[RestsockError | Refused | None], object],
        on_end: Callable[[], object],
        on_waiting: Callable[[], object],
    ) -> None:
        self.outbound: Exchange | None = None
        self.waiting = True
        self.answered = False
        self.over = False
        self.received = 0
        self.sent = 0
        self.status = 0
        self._inbound = inbound
        self._max_body = max_body
        self._on_failure = on_failure
        self._on_end = on_end
        self._on_waiting = on_waiting
        self._submit: Callable[[Exchange], None] | None = (
            None  # once the head may be sent on, until it is
        )
        self._outbound_head: tuple[RequestHead, PlainHead | None] | None = None
        self._held: list[bytes] = []
        self._check: Check | None = None  # of the whole body, before any of it is sent on
        self._ended: Headers | None = None  # the trailers, once the request is whole
        self._end_due = False  # whether the peer has yet to be told of the end
        self._answered_whole = False
        self._finished = False
        self._owed = 0  # body bytes whose credit waits for room at the peer
        self._owed_back = 0  # the same, the other way
        self._unwanted = False  # the peer wants no more of the request
        self._head: ResponseHead | None = None  # held back, and what follows it
        self._plain: PlainHead | None = None  # the same head
        self._held_back: list[bytes] = []
        self._holds_back = False
        self._translate: Translate | None = None
        plain, head = inbound.plain, inbound.request
        if plain is not None and plain.head is head:
            self._upgrades = self._expects = False
            self._length = plain.length
        else:
            self._upgrades = head.upgrade is not None
            self._expects = bool(values_of(head.headers, b"expect"))
            self._length = content_length(head.headers)
        inbound.observer = self._from_client

    # --- the request ----------------------------------------------------------------------

    def start(
        self,
        submit: Callable[[Exchange], None],
        head: RequestHead,
        plain: PlainHead | None,
        translate: Translate,
        check: Check | None = None,
    ) -> None:
        """Sends the request on, now or with what comes next of it.

        Args:
            submit: takes the exchange that goes to the peer, each time that it is to be sent.
            head: as the peer is to get it.
            plain: the same and its bytes, where they are known.
            translate: makes of a response head of the peer, the early ones as well, that for the
                client; and so of its bytes, where they are known.
            check: is called with the whole body before any of it is sent on, and raises `Refused`
                if it is not to be. Then the body has at most `MAX_CHECKED` bytes.
        """
        if self.over:
            return
        self._translate = translate
        if check is not None:
            self._max_body = min(
                MAX_CHECKED, MAX_CHECKED if self._max_body is None else self._max_body
            )
        # What is too large is not asked for, and the peer does not begin with it.
        announced = max(self.received, self._length or 0)
        if self._max_body is not None and announced > self._max_body:
            self._fail(None)
            return
        self._submit = submit
        self._outbound_head = head, plain
        if check is None:
            if self._upgrades or self._expects or self._held or self._ended is not None:
                self._open()
            return
        self._check = check
        self._inbound.consume(self.received)
        if self._upgrades or self._ended is not None:
            self._open()
        elif self._expects:
            self._inbound.send_head(ResponseHead(100, [], b"Continue"))

    @property
    def begun(self) -> bool:
        return self.outbound is not None and not self.waiting

    def _open(self) -> None:
        """Begins the request to the peer with what there is of it."""
        body = b"".join(self._held)
        self._held.clear()
        if self._check is None:
            self._owed += len(body)
        else:
            try:
                self._check(body)
            except Refused as exc:
                self._fail(exc)
                return
        ended, submit = self._ended, self._submit
        assert submit is not None
        assert self._outbound_head is not None
        self._submit = None
        # Trailers follow when it has a stream.
        self._end_due = bool(ended)
        end = ended is not None and not ended
        head, plain = self._outbound_head
        exchange = Exchange(head, self._from_peer, body=body, end=end, plain=plain)
        self.outbound = exchange
        exchange.resubmit = submit
        submit(exchange)
        if self.waiting and not self.over:
            self._on_waiting()

    def _go_on(self) -> None:
        """Has the peer get what waited for it to begin with the request, or for room."""
        outbound = self.outbound
        if self.over or self.waiting or outbound is None:
            return
        if self._end_due:
            self._end_due = False
            self._send_end(self._ended or ())
        if self._owed and not outbound.write_paused:
            owed, self._owed = self._owed, 0
            self._inbound.consume(owed)

    def _from_client(self, event: ExchangeEvent) -> None:
        if type(event) is DataReceived:
            if self.over:
                self._inbound.consume(len(event.data))
            else:
                self._receive(event.data)
        elif self.over:
            return
        elif type(event) is EndReceived:
            trailers = event.trailers
            self._receive_request_end(clean_trailers(trailers) if trailers else ())
        elif type(event) is Writable:
            self._give_credit_back(0)
        elif type(event) is Failed:
            self._finish()

    def _receive(self, data: bytes) -> None:
        self.received += len(data)
        if self._max_body is not None and self.received > self._max_body:
            self._fail(None)
            return
        if self._unwanted:
            self._inbound.consume(len(data))
        elif self.outbound is not None:
            try:
                self.outbound.send_data(data)
            except LocalProtocolError as exc:
                self._fail(exc)
                return
            self._owed += len(data)
            self._go_on()
        else:
            self._held.append(data)
            if self._check is not None:
                self._inbound.consume(len(data))
            elif self._submit is not None and self.received != self._length:
                self._open()  # else the end follows at once

    def _receive_request_end(self, trailers: Headers) -> None:
        self._ended = trailers
        if self._answered_whole:  # an upgrade, of which the peer has ended its half first
            self._send_end(trailers)
            self._finish(whole=True)
        elif self._submit is not None:
            self._open()
        elif self.outbound is not None and trailers:
            self._end_due = True
            self._go_on()
        elif self.outbound is not None:
            self._send_end(())

    def _send_end(self, trailers: Headers) -> None:
        assert self.outbound is not None
        if self._unwanted:
            return
        try:
            self.outbound.send_end(trailers)
        except LocalProtocolError as exc:
            self._fail(exc)

    # --- and back -------------------------------------------------------------------------

    def _from_peer(self, event: ExchangeEvent) -> None:
        if self.over:
            return
        try:
            if type(event) is DataReceived:
                self._held_back.append(event.data)
                if not self._holds_back:
                    self._hold_back()
            elif type(event) is ResponseReceived:
                self._receive_head(event.head, event.plain)
            elif type(event) is EndReceived:
                trailers = event.trailers
                self._receive_end(clean_trailers(trailers) if trailers else ())
            elif type(event) is Started:
                self.waiting = False
                self._go_on()
            elif type(event) is Requeued:
                self.waiting = True
                self._on_waiting()
            elif type(event) is Writable:
                self._go_on()
            elif type(event) is StopSending:
                self._unwanted = True
                self._inbound.consume(self._owed)
                self._owed = 0
            elif type(event) is Failed:
                if self._head is None:
                    self._pass_back()  # what has come before that
                self._fail(event.error)
        except LocalProtocolError as exc:
            self._fail(_not_passed_on(exc))

    def _receive_head(self, head: ResponseHead, plain: PlainHead | None) -> None:
        assert self._translate is not None
        head, plain = self._translate(head, plain)
        if head.status < 200 and head.status != 101:
            with self._inbound.batch():
                self._inbound.send_head(head)
            return
        self.answered = True
        self.status = head.status
        self._upgrades = head.status == 101  # if it is declined, nothing of the client follows
        self._head, self._plain = head, plain
        if not self._holds_back:
            self._hold_back()

    def _hold_back(self) -> None:
        """What comes in one step leaves together: with the end, or when the step is over."""
        self._holds_back = True
        assert self.outbound is not None
        self.outbound.afterwards(self._send_held_back)

    def _send_held_back(self) -> None:
        """The step is over: the client gets what has come."""
        self._holds_back = False
        if self.over:
            return
        try:
            self._pass_back()
        except LocalProtocolError as exc:
            self._fail(_not_passed_on(exc))

    def _pass_back(self, end: Headers | None = None) -> None:
        """Sends what is held back, and perhaps the end.

        Raises:
            LocalProtocolError: it cannot be sent.
        """
        inbound, head = self._inbound, self._head
        data = b"".join(self._held_back)
        self._head = None
        self._held_back.clear()
        with inbound.batch():
            if head is not None and end is not None and not end:
                inbound.respond(head, data, self._plain)
            else:
                if head is not None:
                    inbound.send_head(head, self._plain)
                if data:
                    inbound.send_data(data)
                if end is not None:
                    inbound.send_end(end)
        self.sent += len(data)
        if data and end is None:  # else the peer has no more to send
            self._give_credit_back(len(data))

    def _receive_end(self, trailers: Headers) -> None:
        self._pass_back(trailers)
        self._answered_whole = True
        if not self._upgrades or self._ended is not None:
            self._finish(whole=True)

    def _give_credit_back(self, nbytes: int) -> None:
        """Lets the peer send more, as far as the client takes it."""
        self._owed_back += nbytes
        outbound = self.outbound
        if self._owed_back and outbound is not None and not self._inbound.write_paused:
            owed, self._owed_back = self._owed_back, 0
            outbound.consume(owed)

    # --- the end --------------------------------------------------------------------------

    def stop(self) -> None:
        """It goes no further, and is answered elsewhere."""
        self._finish()

    def cancel(self, error: RestsockError) -> None:
        """Gives the request up, from here."""
        if not self.over:
            self._fail(error)

    def _fail(self, error: RestsockError | Refused | None) -> None:
        """Answers, if nothing was answered; else the client learns that the rest is missing."""
        if self.over:
            return
        self.over = True  # what the answer leads to is not for here
        if self.answered and self._head is None:
            self._inbound.reset(ResetCode.INTERNAL, "the rest of the response is missing")
        else:
            self._on_failure(error)
        self._finish()

    def _finish(self, *, whole: bool = False) -> None:
        self.over = True
        if self._finished:
            return
        self._finished = True
        outbound = self.outbound
        if outbound is not None and not outbound.closed:
            if not whole:
                outbound.reset(ResetCode.CANCEL, "the client has left")
            elif self._ended is None:
                outbound.reset(ResetCode.NO_ERROR, "the response is complete")
        if self._check is None:
            self._owed += sum(map(len, self._held))
        if self._owed:
            self._inbound.consume(self._owed)
        self._held.clear()
        self._submit = None
        self._on_end()


def _not_passed_on(error: LocalProtocolError) -> RemoteProtocolError:
    """What a client is told whose request has run, and whose response cannot be sent."""
    return RemoteProtocolError(f"what the peer has answered cannot be passed on: {error}")
