"""Messaging for threads: what is theirs alone."""

from __future__ import annotations

import gc
import os
import signal
import subprocess
import sys
import threading
import warnings
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

import restsock
import restsock.sync
from restsock.messaging import Message as TrioMessage
from restsock.messaging import Messaging as TrioMessaging
from restsock.messaging import MessagingClosed, MessagingError, MessagingOptions
from restsock.messaging._portal import MessagingPortal
from restsock.messaging.sync import Message, Messaging

ROOT = Path(__file__).parent.parent.parent
PATIENCE = 20.0
HURRIED = MessagingOptions(grace=0.05)


@contextmanager
def joined(dialer: Messaging, listener: Messaging) -> Iterator[None]:
    with (
        listener,
        dialer,
        restsock.sync.listen("127.0.0.1", 0, messaging=listener) as server,
        restsock.sync.connect(server.url, name="edge-1", messaging=dialer),
    ):
        yield


class Fatal(MessagingError):
    kind = "fatal"


# --- what waits ------------------------------------------------------------------------------


def test_a_wait_ends_in_time() -> None:
    options = MessagingOptions(outbox_messages=1, outbox_full="block")
    with Messaging(options=options) as messaging:
        channel = messaging.channel("c", delivery="at_least_once")
        channel.send(1, timeout=PATIENCE)
        with pytest.raises(TimeoutError, match=r"0\.01 s"):
            channel.send(2, timeout=0.01)
        with pytest.raises(TimeoutError):
            channel.drain(timeout=0.01)
        with pytest.raises(TimeoutError):
            messaging.messages("c").receive(timeout=0)
        assert messaging.statistics().outbox_messages == 1


def test_what_comes_after_the_time_is_not_lost() -> None:
    dialer, listener = Messaging(), Messaging()
    with joined(dialer, listener), listener.messages("c") as stream:
        with pytest.raises(TimeoutError):
            stream.receive(timeout=0)
        dialer.channel("c").send(1)
        assert stream.receive(timeout=PATIENCE).body == 1


def test_what_comes_in_the_moment_of_a_ctrl_c_is_not_lost(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    dialer, listener = Messaging(), Messaging()
    with joined(dialer, listener), listener.messages("c") as stream:
        dialer.channel("c").send(1)
        run = MessagingPortal.run

        def interrupted(*args: Any) -> None:
            run(*args)
            raise KeyboardInterrupt

        with monkeypatch.context() as patch:
            patch.setattr(MessagingPortal, "run", interrupted)
            with pytest.raises(KeyboardInterrupt):
                stream.receive()
        assert stream.receive(timeout=PATIENCE).body == 1


@pytest.mark.skipif(sys.platform == "win32", reason="signals to a thread are POSIX")
def test_ctrl_c_ends_a_wait_and_nothing_else() -> None:
    dialer, listener = Messaging(), Messaging()
    interrupted = threading.Event()

    @listener.on("readings")
    def interrupt(message: Message) -> None:
        if message.body == "interrupt":
            signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGINT)
            assert interrupted.wait(PATIENCE)

    with joined(dialer, listener):
        channel = dialer.channel("readings", delivery="at_least_once")
        with pytest.raises(KeyboardInterrupt):
            channel.send("interrupt")
            channel.drain()
        interrupted.set()
        channel.send("more")
        channel.drain(timeout=PATIENCE)


def test_a_close_ends_what_waits_in_other_threads() -> None:
    dialer, listener = Messaging(), Messaging(options=HURRIED)
    stream = listener.messages("readings")
    release, iterating = threading.Event(), threading.Event()

    @listener.on("busy")
    def keep_busy(message: Message) -> None:
        release.wait(PATIENCE)

    def iterate() -> list[Any]:
        bodies = []
        for message in stream:
            bodies.append(message.body)
            message.ack()
            iterating.set()
        return bodies

    with ThreadPoolExecutor() as pool, joined(dialer, listener):
        taken = pool.submit(iterate)
        dialer.channel("readings").send(1)
        assert iterating.wait(PATIENCE)
        channel = dialer.channel("busy", delivery="at_least_once")
        channel.send(1)
        draining = pool.submit(channel.drain)
        listener.close()
        assert taken.result(PATIENCE) == [1]
        dialer.close()
        with pytest.raises(MessagingClosed):
            draining.result(PATIENCE)
        with pytest.raises(MessagingClosed):
            channel.send(2)
        with pytest.raises(EOFError):
            stream.receive()
        listener.close()
        release.set()


def test_leaving_waits_for_handlers_but_not_by_an_error() -> None:
    for error in (None, ZeroDivisionError):
        dialer, listener = Messaging(), Messaging()
        begun, release, ended = threading.Event(), threading.Event(), threading.Event()

        @listener.on("c")
        def handle(
            message: Message, begun: Any = begun, release: Any = release, ended: Any = ended
        ) -> None:
            begun.set()
            release.wait(PATIENCE)
            ended.set()

        try:
            with joined(dialer, listener):
                dialer.channel("c").send(1)
                assert begun.wait(PATIENCE)
                if error is not None:
                    raise error
                release.set()
            assert ended.is_set()
        except ZeroDivisionError:
            assert not ended.is_set()
        release.set()


def test_a_fatal_error_of_a_handler_ends_it() -> None:
    dialer, listener = Messaging(), Messaging()

    @listener.on("c")
    def fail(message: Message) -> None:
        raise Fatal("the disk is gone")

    with pytest.raises(Fatal, match="the disk is gone"):
        with joined(dialer, listener):
            dialer.channel("c").send(1)
            for _ in listener.messages("other"):
                pass
    with pytest.raises(MessagingClosed):
        listener.channel("c").send(1)


# --- who calls -------------------------------------------------------------------------------


def test_handlers_on_the_loop_wait_for_nothing_themselves() -> None:
    dialer, listener = Messaging(), Messaging()
    seen: list[Any] = []

    @listener.on("trio", loop="trio")
    async def on_trio(message: TrioMessage) -> None:
        assert isinstance(message, TrioMessage)
        seen.append(listener.sessions.named("edge-1"))
        listener.channel("x", to="edge-1").send_nowait(1)
        for call in (lambda: listener.channel("x").send(1), listener.close):
            with pytest.raises(restsock.RestsockError, match="own loop"):
                call()
        await message.reply("done", channel="done")

    with joined(dialer, listener), dialer.messages("done") as done:
        dialer.channel("trio").send(1)
        assert done.receive(timeout=PATIENCE).body == "done"
        assert seen == [*listener.sessions]


def test_hooks_may_block() -> None:
    dialer, listener = Messaging(), Messaging()
    told: list[Any] = []
    dead = threading.Event()

    @dialer.on_dead_letter
    def on_dead_letter(letter: Any) -> None:
        told.append(dialer.channel("again").send(letter.record.id, timeout=PATIENCE))
        dead.set()
        raise ZeroDivisionError  # of a program: the messages go on

    @listener.on("c")
    def refuse(message: Message) -> None:
        message.nack("no", final=True)

    with joined(dialer, listener):
        dialer.channel("c", delivery="at_least_once").send(1)
        assert dead.wait(PATIENCE)
        assert len(told) == 1


def test_a_messaging_of_another_api_is_refused() -> None:
    with pytest.raises(RuntimeError, match="not open here"):
        restsock.sync.listen("127.0.0.1", 0, messaging=TrioMessaging())


# --- the end ---------------------------------------------------------------------------------


def test_what_is_dropped_is_closed_with_a_warning(tmp_path: Path) -> None:
    messaging = Messaging().__enter__()
    stream = messaging.messages("c")
    with pytest.warns(ResourceWarning, match="never closed"):
        del messaging
    with pytest.raises(EOFError):
        stream.receive(timeout=PATIENCE)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        del stream
        Messaging()  # it was not opened
        gc.collect()


FORKED = """
import os, sys, warnings
import restsock
from restsock.messaging.sync import Messaging
warnings.simplefilter("ignore", DeprecationWarning)

with Messaging() as messaging:
    channel = messaging.channel("c", delivery="at_least_once")
    stream = messaging.messages("c")
    child = os.fork()
    if not child:
        for call in (
            lambda: channel.send(1),
            lambda: channel.send_nowait(1),
            channel.drain,
            stream.receive,
            messaging.sessions.select,
            messaging.statistics,
        ):
            try:
                call()
            except restsock.RestsockError as error:
                assert "fork" in str(error), error
            else:
                raise AssertionError("no error")
        stream.close()
        messaging.close()
        with Messaging() as own:
            own.channel("c", delivery="at_least_once").send(1)
        print("child done", flush=True)
        sys.exit(0)
    _, status = os.waitpid(child, 0)
    assert status == 0, status
    channel.send(1)
print("parent done", flush=True)
"""

FORGOTTEN = """
from restsock.messaging import SQLiteStore
from restsock.messaging.sync import Messaging
messaging = Messaging(SQLiteStore("out.db")).__enter__()
messaging.channel("c", delivery="at_least_once").send(1)
print("forgotten", flush=True)
"""

LOADED = """
import sys
import restsock.sync, restsock.aio
assert "restsock.messaging" not in sys.modules
import restsock.messaging.sync
print("loaded", flush=True)
"""


def run_script(script: str, folder: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-W", "error::ResourceWarning", "-c", script],
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=40,
        check=False,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )


@pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork here")
def test_fork(tmp_path: Path) -> None:
    done = run_script(FORKED, tmp_path)
    assert done.returncode == 0, done.stderr
    assert done.stdout.split("\n") == ["child done", "parent done", ""]


@pytest.mark.parametrize("script", [FORGOTTEN, LOADED])
def test_programs(script: str, tmp_path: Path) -> None:
    done = run_script(script, tmp_path)
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() in ("forgotten", "loaded")
    assert done.stderr == ""
