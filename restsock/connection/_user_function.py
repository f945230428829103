"""Calling functions of others that may wait: those that tell or check who somebody is."""

from __future__ import annotations

import inspect
from collections.abc import Awaitable, Callable
from traceback import extract_tb
from typing import TYPE_CHECKING, Any

import trio

if TYPE_CHECKING:
    import asyncio

__all__ = ["call_user_function", "failure_of", "is_async"]


async def call_user_function(
    function: Callable[..., Any],
    *args: object,
    limiter: trio.CapacityLimiter | None = None,
    loop: asyncio.AbstractEventLoop | None = None,
) -> Any:
    """Calls a function, async or not, so that it holds up only the caller.

    An async function runs here, or on the loop of asyncio that it is for. Another one runs in a
    thread, unless it says that it never waits, by an attribute `waits` that is False. If cancelled,
    the thread is left to itself, and what comes of it is dropped.

    Args:
        function: anything that can be called.
        args: for it.
        limiter: bounds the threads.
        loop: that of an async function that is not for trio.
    """
    if is_async(function) or not getattr(function, "waits", True):
        result = function(*args)
    else:
        # In a list: trio would not have a thread return an awaitable, as a lambda may.
        (result,) = await trio.to_thread.run_sync(
            lambda: [function(*args)], abandon_on_cancel=True, limiter=limiter
        )
    if inspect.isawaitable(result):
        result = await (result if loop is None else _on_asyncio(loop, result))
    return result


async def _on_asyncio(loop: asyncio.AbstractEventLoop, awaitable: Awaitable[Any]) -> Any:
    """Awaits it there; if cancelled, has it cancelled.

    Raises:
        RuntimeError: the loop is closed.
    """
    import asyncio  # loaded: there is a loop of it

    done = trio.Event()
    token = trio.lowlevel.current_trio_token()

    async def run() -> Any:
        return await awaitable

    def tell(_: object) -> None:
        try:
            token.run_sync_soon(done.set)
        except trio.RunFinishedError:
            pass  # nothing waits for it any more

    task = run()
    try:
        future = asyncio.run_coroutine_threadsafe(task, loop)
    except RuntimeError:
        task.close()
        raise
    future.add_done_callback(tell)
    try:
        await done.wait()
    except trio.Cancelled:
        future.cancel()
        raise
    return future.result()


def failure_of(error: BaseException) -> str:
    """What failed, and where, without the words of the error: there may be secrets in them."""
    frames = extract_tb(error.__traceback__)
    places = [f"{frame.filename}:{frame.lineno} in {frame.name}" for frame in frames[-3:]]
    return f"{type(error).__name__} ({', '.join(reversed(places))})"


def is_async(function: Callable[..., Any]) -> bool:
    """Whether to call a function makes a coroutine."""
    return inspect.iscoroutinefunction(function) or inspect.iscoroutinefunction(
        getattr(function, "__call__", None)  # noqa: B004  # its kind is asked for, not whether it is there
    )
