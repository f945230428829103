"""Files of TLS that are missing or wrong: the error says which file, what for, and why."""

from __future__ import annotations

import logging
import ssl
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import trustme

import restsock
from restsock import _watch, tls


@pytest.fixture
def files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    ca = trustme.CA()
    one, other = ca.issue_cert("a.example"), ca.issue_cert("b.example")
    ca.cert_pem.write_to_path("ca.pem")
    one.private_key_and_cert_chain_pem.write_to_path("both.pem")
    one.cert_chain_pems[0].write_to_path("cert.pem")
    one.private_key_pem.write_to_path("key.pem")
    other.private_key_pem.write_to_path("other.pem")
    Path("junk.pem").write_text("hello")
    Path("empty.pem").touch()
    Path("dir.pem").mkdir()
    return tmp_path


SERVERS = [
    ({"certificate": "nope.pem"}, FileNotFoundError, "certificate: nope.pem: no such file"),
    (
        {"certificate": "cert.pem", "key": "nope.pem"},
        FileNotFoundError,
        "key: nope.pem: no such file",
    ),
    (
        {"certificate": "both.pem", "client_ca": "nope.pem"},
        FileNotFoundError,
        "client_ca: nope.pem: no such file",
    ),
    ({"certificate": "dir.pem"}, IsADirectoryError, "certificate: dir.pem: is a directory"),
    (
        {"certificate": "junk.pem"},
        ssl.SSLError,
        "certificate: junk.pem: it holds no certificate in PEM",
    ),
    (
        {"certificate": "empty.pem"},
        ssl.SSLError,
        "certificate: empty.pem: it holds no certificate in PEM",
    ),
    (
        {"certificate": "cert.pem"},
        ssl.SSLError,
        "certificate: cert.pem: it holds no private key; give the file that does as key=",
    ),
    (
        {"certificate": "cert.pem", "key": "junk.pem"},
        ssl.SSLError,
        "key: junk.pem: it holds no private key in PEM",
    ),
    (
        {"certificate": "cert.pem", "key": "other.pem"},
        ssl.SSLError,
        "key: other.pem: it is not the key of this certificate",
    ),
    (
        {"certificate": "both.pem", "client_ca": "key.pem"},
        ssl.SSLError,
        "client_ca: key.pem: it holds no certificate in PEM",
    ),
]
CLIENTS = [
    ({"ca": "nope.pem"}, FileNotFoundError, "ca: nope.pem: no such file"),
    ({"ca": "dir.pem"}, IsADirectoryError, "ca: dir.pem: is a directory"),
    ({"ca": "empty.pem"}, ssl.SSLError, "ca: empty.pem: it holds no certificate in PEM"),
    *((arguments, *rest) for arguments, *rest in SERVERS if "client_ca" not in arguments),
]


@pytest.mark.usefixtures("files")
@pytest.mark.parametrize(
    ("make", "arguments", "kind", "words"),
    [(tls.server, *case) for case in SERVERS] + [(tls.client, *case) for case in CLIENTS],
)
def test_which_file_and_why(
    make: Callable[..., object], arguments: dict[str, Any], kind: type[OSError], words: str
) -> None:
    with pytest.raises(kind) as caught:
        make(**arguments)
    assert str(caught.value) == words
    assert caught.value.errno is not None


def test_the_end_of_a_failure_is_as_loud_as_the_failure(
    files: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(_watch, "_INTERVAL", 0.0)
    caplog.set_level(logging.INFO)
    server = tls.server("cert.pem", "key.pem")
    good = (files / "key.pem").read_bytes()
    for contents in (b"broken", good, good + b"\n"):
        (files / "key.pem").write_bytes(contents)
        server.context()
    assert [record.levelname for record in caplog.records] == ["WARNING", "WARNING", "INFO"]


# --- the versions that a context of the caller's own may speak ------------------------------


def context_from(minimum: str, maximum: str = "MAXIMUM_SUPPORTED") -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        context.minimum_version = ssl.TLSVersion[minimum]
        context.maximum_version = ssl.TLSVersion[maximum]
    return context


def context_for(protocol: str) -> ssl.SSLContext:
    """For the one version that the protocol is."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        return ssl.SSLContext(getattr(ssl, protocol))


@pytest.mark.parametrize("listener", [False, True])
def test_a_minimum_that_was_left_open_becomes_tls_1_2(listener: bool) -> None:
    """As in the contexts that Python makes on Debian."""
    context = context_from("MINIMUM_SUPPORTED")
    assert tls.check_context(context, listener=listener) is context
    assert context.minimum_version == ssl.TLSVersion.TLSv1_2
    assert context.maximum_version == ssl.TLSVersion.MAXIMUM_SUPPORTED
    assert tls.check_context(context, listener=listener) is context  # and another time


@pytest.mark.parametrize("context", [context_from("TLSv1_2"), context_from("TLSv1_3")])
def test_a_minimum_that_will_do_stays(context: ssl.SSLContext) -> None:
    before = context.minimum_version
    tls.check_context(context, listener=False)
    assert context.minimum_version == before


def test_a_context_for_tls_1_2_alone_stays() -> None:
    tls.check_context(context_for("PROTOCOL_TLSv1_2"), listener=False)


@pytest.mark.parametrize(
    "context",
    [
        context_from("TLSv1"),
        context_from("TLSv1_1"),
        context_from("MINIMUM_SUPPORTED", "TLSv1_1"),
        context_for("PROTOCOL_TLSv1"),
        context_for("PROTOCOL_TLSv1_1"),
    ],
)
def test_a_version_that_was_set_too_low_is_refused(context: ssl.SSLContext) -> None:
    before = context.minimum_version
    with pytest.raises(ValueError, match="minimum_version to TLSv1_2"):
        tls.check_context(context, listener=False)
    assert context.minimum_version == before


def test_the_default_context_is_welcome() -> None:
    """However this Python was built."""
    context = ssl.create_default_context()
    restsock.connect("wss://hub/", tls=context)
    assert context.minimum_version == ssl.TLSVersion.TLSv1_2
