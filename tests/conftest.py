"""What holds for all tests: examples of Hypothesis, SIGINT, and that logging stays as it was.

The environment variable `RESTSOCK_HYPOTHESIS` names the profile of Hypothesis:

quick   (default) few examples, the same ones each time: for the suite
long    many, and new ones each time: for a search
"""

from __future__ import annotations

import logging
import os
import signal
import sys
from collections.abc import Iterator

import pytest
from hypothesis import HealthCheck, settings

# Data generation is slow on a loaded machine, and no measure of the code under test.
_SLOW = [HealthCheck.too_slow, HealthCheck.data_too_large]
settings.register_profile(
    "quick",
    max_examples=60,
    derandomize=True,
    deadline=None,
    database=None,
    suppress_health_check=_SLOW,
)
settings.register_profile(
    "long", max_examples=5000, deadline=None, print_blob=True, suppress_health_check=_SLOW
)
settings.load_profile(os.environ.get("RESTSOCK_HYPOTHESIS", "quick"))


def pytest_configure(config: pytest.Config) -> None:
    """Python 3.10 calls a TLS transport of asyncio unclosed that its peer has closed.

    Some of the foreign clients and servers of the tests have these; restsock has none.
    """
    if sys.version_info < (3, 11):
        ignored = "ignore:unclosed transport <asyncio.sslproto:ResourceWarning"
        config.addinivalue_line("filterwarnings", ignored)


@pytest.fixture(scope="session", autouse=True)
def _interruptible() -> Iterator[None]:
    """Has SIGINT raise `KeyboardInterrupt`, here and in the processes that tests start.

    A shell starts its background jobs with SIGINT ignored, and every process hands that on to those
    that it starts. Tests that interrupt something would wait until their time is up.
    """
    before = signal.getsignal(signal.SIGINT)
    if before is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.fixture(autouse=True)
def _logging_as_before() -> Iterator[None]:
    """What commands and hubs set up of logging ends with the test: levels, and where it goes."""
    root = logging.getLogger()
    level, handlers = root.level, root.handlers[:]
    yield
    root.setLevel(level)
    root.handlers[:] = handlers
    for name, logger in root.manager.loggerDict.items():
        if name.partition(".")[0] == "restsock" and isinstance(logger, logging.Logger):
            logger.setLevel(logging.NOTSET)
