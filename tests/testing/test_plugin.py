"""The fixture restsock_pair, in runs of pytest as users have them."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]

TESTS = """
import asyncio
import sys
import pytest

async def hello(request):
    from restsock import Response
    return Response(200, body="hello")

def test_nothing_is_loaded_before_it_is_used():
    assert "restsock._pytest" in sys.modules
    heavy = {"restsock.testing", "restsock.sync", "requests"}
    if not {"anyio.pytest_plugin", "pytest_trio"} & set(sys.modules):  # these load trio themselves
        heavy.add("trio")
    assert not heavy & set(sys.modules)

def test_from_a_thread(restsock_pair):
    client, server = restsock_pair(hello, name="edge-1")
    assert server.request("edge-1", "GET", "/").text == "hello"
    other = restsock_pair(hello)
    other.network.cut()
    assert other.server.request("client", "GET", "/", timeout=20).text == "hello"

def test_it_was_closed():
    import threading
    assert [each for each in threading.enumerate() if each.name.startswith("restsock")] == []
"""

ASYNC = {
    "pytest_trio": """
@pytest.mark.trio
async def test_on_trio(restsock_pair):
    async with restsock_pair.trio(hello) as (client, server):
        assert (await server.request("client", "GET", "/")).text == "hello"
""",
    "anyio": """
@pytest.fixture
def anyio_backend():
    return "asyncio"

@pytest.mark.anyio
async def test_on_asyncio(restsock_pair):
    async with restsock_pair.aio(hello) as (client, server):
        assert (await server.request("client", "GET", "/")).text == "hello"
""",
    "no:cacheprovider": """
def test_on_asyncio(restsock_pair):
    async def main():
        async with restsock_pair.aio(hello) as (client, server):
            assert (await server.request("client", "GET", "/")).text == "hello"
    asyncio.run(main())
""",
}


@pytest.mark.parametrize("plugin", ASYNC)
def test_the_fixture(tmp_path: Path, plugin: str) -> None:
    (tmp_path / "test_user.py").write_text(TESTS + ASYNC[plugin], encoding="utf-8")
    name = {"anyio": "anyio.pytest_plugin", "pytest_trio": "pytest_trio.plugin"}.get(plugin, plugin)
    command = [*("-m", "pytest", "-q", "-p", "restsock._pytest"), *("-p", name)]
    done = subprocess.run(
        [sys.executable, *command, "--rootdir", str(tmp_path), str(tmp_path)],
        cwd=tmp_path,
        env={
            **os.environ,
            "PYTHONPATH": str(ROOT),
            "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1",  # what is installed here, or is not
        },
        capture_output=True,
        text=True,
        timeout=50,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "4 passed" in done.stdout
