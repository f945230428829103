"""`ReadyBytes`: the bytes of a socket of trio, one task at either end, in as few steps as may be.

What is sent leaves at the end of the loop's pass (`_pass_end`), as far as the socket takes it; then
a task sends the rest. What comes is read by the one task of the loop that reads for all connections
(`_ready_poll`), and wakes the task that waits for it. Where that is not possible, over TLS and
without epoll, it is all the stream's.
"""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING

import trio

from ._direct_socket import direct_socket_of
from ._pass_end import pass_end
from ._ready_poll import ready_poll

if TYPE_CHECKING:
    from ._ready_poll import ReadyPoll

__all__ = ["ReadyBytes"]


class ReadyBytes:
    """Reads and writes a stream. To be closed before that.

    Args:
        stream: Of trio.
        size: Bytes to read at once, at most.
    """

    __slots__ = ("_cut", "_direct", "_fd", "_found", "_more", "_pass_end", "_poll",
                 "_sending", "_size", "_stream", "_task", "_unsent")  # fmt: skip

    def __init__(self, stream: trio.abc.Stream, size: int) -> None:
        self._stream = stream
        self._size = size
        self._direct = direct_socket_of(stream)
        self._pass_end = pass_end()
        self._unsent = b""
        self._cut = False  # whether some of the bytes have left, and others not
        self._sending = trio.Lock()  # by a task, what the socket does not take at once
        self._fd = -1  # its number, while it is looked after
        self._poll: ReadyPoll | None = None  # by this one
        self._task: trio.lowlevel.Task | None = None  # that waits for bytes
        self._found: bytes | OSError | None = None  # what has come for it
        self._more = False  # whether more seems to be there already

    @property
    def cut(self) -> bool:
        """Whether not all has left that was to be sent."""
        return self._cut or bool(self._unsent)

    async def send(self, data: bytes) -> None:
        """Sends bytes. Waits only, and can only be cancelled, while many wait to be sent.

        That the other side takes no more, `receive` may be the one to tell.

        Raises:
            trio.BrokenResourceError: The other side takes no more.
            trio.ClosedResourceError: It is closed.
        """
        if self._direct is None:
            await self._send_all(data)
        elif not self.send_soon(data):
            self._unsent += data
            await self._send_unsent()

    def send_soon(self, data: bytes) -> bool:
        """Sends bytes if that is possible without waiting; tells whether it does."""
        if self._direct is None or len(self._unsent) + len(data) > self._size:
            return False
        self._pass_end.call(self._flush)
        self._unsent += data
        return True

    def _flush(self) -> None:
        """Sends what the socket takes at once, at the end of a pass, unless a task is at it."""
        if self._unsent and self._direct is not None and not (self._cut or self._sending.locked()):
            self._unsent = self._unsent[self._direct.write(self._unsent) :]
            if self._unsent:
                trio.lowlevel.current_trio_token().run_sync_soon(self._start_sending)

    def _start_sending(self) -> None:
        if self._unsent:
            trio.lowlevel.spawn_system_task(self._send_rest, name="restsock-ready-bytes")

    async def _send_rest(self) -> None:
        # There may be an answer all the same; if not, who waits for it learns of the end.
        with suppress(trio.BrokenResourceError, trio.ClosedResourceError):
            await self._send_unsent()

    async def _send_unsent(self) -> None:
        """Sends what waits, as the other side takes it."""
        async with self._sending:
            while self._unsent:
                data, self._unsent = self._unsent, b""
                await self._send_all(data)

    async def _send_all(self, data: bytes) -> None:
        self._cut = True
        await self._stream.send_all(data)
        self._cut = False

    async def receive(self) -> bytes:
        """Waits for bytes; `b""` at the end. If cancelled, it takes none.

        Raises:
            trio.BrokenResourceError: The socket has failed.
            trio.ClosedResourceError: It is closed.
        """
        if self._more:  # it need not be waited for
            await trio.lowlevel.checkpoint()
            self._read()
        if self._found is None:
            if self._poll is None and not self._join():
                return bytes(await self._stream.receive_some(self._size))
            self._task = trio.lowlevel.current_task()
            await trio.lowlevel.wait_task_rescheduled(self._give_up)
        found, self._found = self._found, None
        assert found is not None  # or it were not woken
        if isinstance(found, OSError):
            raise trio.BrokenResourceError(f"the socket failed: {found}") from found
        self._more = len(found) == self._size
        return found

    def _give_up(self, _: object) -> trio.lowlevel.Abort:
        self._task = None
        return trio.lowlevel.Abort.SUCCEEDED

    def _join(self) -> bool:
        """Has the one task of the loop read it; tells whether that can."""
        fd = -1 if self._direct is None else self._direct.fileno()
        if fd < 0:
            return False
        try:
            poll = ready_poll()
            if poll is None:
                return False
            poll.add(fd, self, None)
        except OSError:
            return False  # no descriptors are left
        self._fd, self._poll = fd, poll
        return True

    def close(self) -> None:
        """Looks after the socket no more; what waits is not sent. Twice is harmless."""
        self._unsent = b""
        self._leave()

    def _leave(self) -> None:
        poll, self._poll = self._poll, None
        if poll is not None:
            poll.remove(self._fd, self)

    # --- for the task that reads --------------------------------------------------------------

    def read_ready(self) -> None:
        """See `Readable`. What nobody waits for is left in the socket."""
        task = self._task
        if task is None:
            self._leave()  # until somebody waits again
            return
        self._read()
        if self._found is not None:
            self._task = None
            trio.lowlevel.reschedule(task)

    def _read(self) -> None:
        """Reads what the socket has."""
        assert self._direct is not None
        try:
            self._found = self._direct.read_now(self._size)
        except BlockingIOError:
            pass
        except OSError as exc:
            self._found = exc

    def read_here(self) -> None:
        """See `Readable`: who waits for it is blocked, too."""
