"""Replies that come in parts: when the last one has come, and when nobody wants them any more."""

from __future__ import annotations

import math
from collections.abc import AsyncIterable, AsyncIterator, Callable
from typing import TYPE_CHECKING, Any

import trio

from restsock.gateway._errors import CallFailed

if TYPE_CHECKING:
    from typing_extensions import Self

    from restsock.gateway._message import Reply

__all__ = ["Parts", "discard", "when_over"]


class Parts(AsyncIterator[Any]):
    """Hands on the parts of a reply, and tells once that they have ended, however they do.

    Args:
        parts: They.
        ended: Is told why, on the loop: `None` at their end and when nobody wants them any more.
        seconds: That each of them may take.
    """

    def __init__(
        self,
        parts: AsyncIterable[Any],
        ended: Callable[[BaseException | None], object],
        seconds: float = math.inf,
    ) -> None:
        self._parts = aiter_of(parts)
        self._ended: Callable[[BaseException | None], object] | None = ended
        self._seconds = seconds
        self._token = trio.lowlevel.current_trio_token()

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> Any:
        """The next one.

        Raises:
            CallFailed: It took too long.
        """
        try:
            with trio.move_on_after(self._seconds):
                return await self._parts.__anext__()
            raise CallFailed(504, "the next part did not come in time", may_have_run=True)
        except StopAsyncIteration:
            self._end(None)
            raise
        except BaseException as exc:
            self._end(exc)
            raise

    async def aclose(self) -> None:
        """Wants no more of them. Raises what their own `aclose` does."""
        try:
            await _aclose(self._parts)
        finally:
            self._end(None)

    def _end(self, error: BaseException | None) -> None:
        ended, self._ended = self._ended, None
        if ended is not None:
            ended(error)

    def __del__(self) -> None:
        # Nobody has asked for them, or for the last ones: this may be any thread's garbage.
        ended = getattr(self, "_ended", None)
        if ended is not None:
            try:
                self._token.run_sync_soon(ended, None)
            except trio.RunFinishedError:
                pass  # nothing is counted any more


def aiter_of(parts: AsyncIterable[Any]) -> AsyncIterator[Any]:
    """What iterates over them."""
    return parts.__aiter__()


async def _aclose(parts: AsyncIterator[Any]) -> None:
    aclose = getattr(parts, "aclose", None)
    if aclose is not None:
        await aclose()


def when_over(reply: Reply, ended: Callable[[BaseException | None], object]) -> Reply:
    """The same reply; tells once that it is over: at once, or with the last of its parts."""
    if reply.parts is None:
        ended(None)
        return reply
    return reply.replace(parts=Parts(reply.parts, ended))


async def discard(reply: Reply) -> None:
    """Wants no parts of a reply that nobody gets."""
    if reply.parts is not None:
        await _aclose(aiter_of(reply.parts))
