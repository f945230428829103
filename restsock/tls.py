"""TLS from files, which are read again when they change.

    listen("0.0.0.0", 8443, tls=restsock.tls.server(certificate="hub.pem", key="hub.key"))
    connect("wss://hub.example/", tls=restsock.tls.client(ca="ca.pem"))

New certificates need no restart: once the files have changed, new connections use them (looked at
for each newcomer, at most once a second), and those that are open keep what they have. While the
files cannot be used, those that were read before are; they are tried again every second, and the
log says so.

TLS 1.2 and later only; ALPN says `http/1.1`. For anything else pass an `ssl.SSLContext` instead. If
its `minimum_version` was left open, that is set to TLS 1.2; one that was set lower is refused.
"""

from __future__ import annotations

import errno
import os
import re
import ssl
from abc import ABC, abstractmethod
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Literal, TypeAlias

from restsock._logging import PartLog
from restsock._watch import Watch

__all__ = [
    "ClientTLS",
    "ServerTLS",
    "TLSLike",
    "check_context",
    "check_for_url",
    "client",
    "server",
]

_log = PartLog("restsock.tls")

# What OpenSSL says of a peer that answers a TLS handshake with something else.
_NO_TLS = frozenset(("WRONG_VERSION_NUMBER", "RECORD_LAYER_FAILURE", "PACKET_LENGTH_TOO_LONG"))
# What it says of one that begins with something else.
_PLAIN_HTTP = frozenset(("HTTP_REQUEST", "HTTPS_PROXY_REQUEST"))
# What it says of files.
_WRONG_FILES = {
    "KEY_VALUES_MISMATCH": "it is not the key of this certificate",
    "NO_CERTIFICATE_OR_CRL_FOUND": "it holds no certificate in PEM",
}
# Alerts of TLS about a certificate (RFC 8446, section 6.2), as OpenSSL calls them.
_REFUSES_CERTIFICATE = re.compile(r"ALERT_(.*CERTIFICATE.*|UNKNOWN_CA|ACCESS_DENIED)")

_Path: TypeAlias = "str | os.PathLike[str]"


class _FromFiles(ABC):
    def __init__(self, *paths: _Path | None) -> None:
        self._watch = Watch(*(path for path in paths if path is not None), log=_log)
        self._context = self._make()

    @abstractmethod
    def _make(self) -> ssl.SSLContext:
        """A context from what the files hold now."""

    @property
    def renewable(self) -> bool:
        """Whether the files may change what comes next: whether there are any."""
        return bool(self._watch.paths)

    def context(self) -> ssl.SSLContext:
        """What the next connection is to use."""
        self._watch.renew(self._renew, self)
        return self._context

    def swap(self, other: _FromFiles) -> None:
        """Takes the files of another one, which is not to be used itself, for connections to come.

        Those that are open keep what they have. Raises nothing.
        """
        vars(self).update(vars(other))

    def _renew(self) -> None:
        self._context = self._make()


class ServerTLS(_FromFiles):
    """TLS for a listener, from PEM files. `restsock.tls.server` is its other name.

    Args:
        certificate: this listener's certificate, followed by those between it and its CA.
        key: its private key; `None` when it stands in the same file.
        client_ca: the CAs whose certificates dialers may show. Without it they are not asked for
            one. `restsock.auth.CertificateSubject` makes them principals.
        client_certificate: whether, with `client_ca`, they must have one.
        password: of the private key, where it has one.

    Raises:
        OSError: a file cannot be read, or does not hold what it should (`ssl.SSLError`).
        ValueError: the key needs a password, or an argument has no meaning.
    """

    def __init__(
        self,
        certificate: _Path,
        key: _Path | None = None,
        *,
        client_ca: _Path | None = None,
        client_certificate: Literal["required", "optional"] = "required",
        password: str | None = None,
    ) -> None:
        if client_certificate not in ("required", "optional"):
            raise ValueError(
                f"client_certificate must be required or optional, not {client_certificate!r}"
            )
        if client_certificate == "optional" and client_ca is None:
            raise ValueError(
                "client_certificate needs a client_ca: the CA of accepted certificates"
            )
        self._certificate = certificate
        self._key = key
        self._client_ca = client_ca
        self._required = client_certificate == "required"
        self._password = password
        super().__init__(certificate, key, client_ca)

    @property
    def requires_certificate(self) -> bool:
        """Whether nobody may connect without a certificate that `client_ca` has issued."""
        return self._client_ca is not None and self._required

    def _make(self) -> ssl.SSLContext:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        # Nothing here needs it, and a peer could keep this side busy with it.
        context.options |= ssl.OP_NO_RENEGOTIATION
        _load(context, self._certificate, self._key, self._password)
        if self._client_ca is not None:
            with _naming("client_ca", self._client_ca):
                context.load_verify_locations(cafile=self._client_ca)
            context.verify_mode = ssl.CERT_REQUIRED if self._required else ssl.CERT_OPTIONAL
        context.set_alpn_protocols(["http/1.1"])
        return context

    def __repr__(self) -> str:
        return f"tls.server({os.fspath(self._certificate)!r})"


class ClientTLS(_FromFiles):
    """TLS for a dialer, from PEM files. `restsock.tls.client` is its other name.

    The listener's certificate and name are always checked.

    Args:
        ca: the CAs to trust; `None` is those that this system trusts.
        certificate: the certificate to show to a listener that asks for one.
        key: its private key; `None` when it stands in the same file.
        server_hostname: the name that the listener's certificate has to be for, where that is not
            the host of the URL; also what it is asked for (SNI).
        password: of the private key, where it has one.

    Raises:
        OSError: a file cannot be read, or does not hold what it should (`ssl.SSLError`).
        ValueError: the key needs a password, or has no certificate.
    """

    def __init__(
        self,
        *,
        ca: _Path | None = None,
        certificate: _Path | None = None,
        key: _Path | None = None,
        server_hostname: str | None = None,
        password: str | None = None,
    ) -> None:
        if key is not None and certificate is None:
            raise ValueError("a key needs its certificate")
        self.server_hostname = server_hostname
        self._ca = ca
        self._certificate = certificate
        self._key = key
        self._password = password
        super().__init__(ca, certificate, key)

    def _make(self) -> ssl.SSLContext:
        with nullcontext() if self._ca is None else _naming("ca", self._ca):
            context = ssl.create_default_context(cafile=self._ca)
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        if self._certificate is not None:
            _load(context, self._certificate, self._key, self._password)
        context.set_alpn_protocols(["http/1.1"])
        return context

    def __repr__(self) -> str:
        ca = "" if self._ca is None else f"ca={os.fspath(self._ca)!r}"
        return f"tls.client({ca})"


TLSLike: TypeAlias = "ssl.SSLContext | ServerTLS | ClientTLS"
"""What `tls=` takes: a context, or files that become one."""

server = ServerTLS
client = ClientTLS


def check_context(tls: object, ssl_context: object = None, *, listener: bool) -> TLSLike | None:
    """Checks what was given as `tls`, or as `ssl_context`, which is the same.

    A context whose `minimum_version` is open (`MINIMUM_SUPPORTED`) gets TLS 1.2 as its minimum.
    Those that Python makes are like that where the system sets the bound: on Debian, for example.

    Raises:
        TypeError: it is no SSL context, or one for the other end.
        ValueError: it was set to speak versions of TLS that are broken, or both were given.
    """
    if tls is not None and ssl_context is not None:
        raise ValueError("tls and ssl_context are the same: give one of them")
    tls = ssl_context if tls is None else tls
    if tls is None or isinstance(tls, ServerTLS if listener else ClientTLS):
        return tls
    if not isinstance(tls, ssl.SSLContext):
        maker = "restsock.tls.server(...)" if listener else "restsock.tls.client(...)"
        raise TypeError(f"tls must be an ssl.SSLContext or {maker}, not {type(tls).__name__}")
    _raise_minimum(tls)
    return tls


def check_for_url(
    tls: object, ssl_context: object = None, *, secure: bool, scheme: str
) -> TLSLike | None:
    """Checks what was given for a URL. The default is for one with TLS.

    Args:
        tls: As given.
        ssl_context: Likewise.
        secure: Whether the URL has TLS.
        scheme: Of URLs that do.

    Raises:
        TypeError: As of `check_context`.
        ValueError: Likewise; or something was given, and the URL is one without TLS.
    """
    found = check_context(tls, ssl_context, listener=False)
    if secure:
        return found or client()
    if found is not None:
        given = "ssl_context=" if tls is None else "tls="
        raise ValueError(f"{given} needs a {scheme}:// URL")
    return None


def _raise_minimum(context: ssl.SSLContext) -> None:
    """Sees to it that the context speaks TLS 1.2 and later only."""
    lowest, wanted = ssl.TLSVersion.MINIMUM_SUPPORTED, ssl.TLSVersion.TLSv1_2
    if context.protocol is ssl.PROTOCOL_TLSv1_2:
        return  # and no other: it has no minimum
    one_version = context.protocol in (ssl.PROTOCOL_TLSv1, ssl.PROTOCOL_TLSv1_1)
    # The names for "as high as possible" and "as low as possible" are numbers below all others.
    too_low = lowest != context.minimum_version < wanted
    if (
        one_version
        or too_low
        or ssl.TLSVersion.MAXIMUM_SUPPORTED != context.maximum_version < wanted
    ):
        raise ValueError(
            "the SSL context is for versions of TLS before 1.2, too; "
            "set its minimum_version to TLSv1_2 or later"
        )
    if context.minimum_version == lowest:
        context.minimum_version = wanted


def explain(
    error: BaseException | None, whom: str = "the listener", plain: str | None = None
) -> str:
    """What an error of TLS means, where OpenSSL's words do not help; else an empty text.

    Args:
        error: any; those of others are explained by themselves.
        whom: what the other end is called.
        plain: the scheme of a URL that would be right where it does not speak TLS.
    """
    if not isinstance(error, ssl.SSLError):
        return ""
    reason = str(getattr(error, "reason", None) or "").upper()
    if reason in _NO_TLS:
        return f"{whom} does not speak TLS" + (f": use {plain}://" if plain else "")
    if reason in _PLAIN_HTTP:
        return "it speaks plain HTTP, and this listener has TLS: its URL should begin with wss://"
    if not _REFUSES_CERTIFICATE.search(reason):
        return ""
    words = reason.rpartition("ALERT_")[2].replace("_", " ").lower()
    return f"{whom} does not accept this side's certificate: {words}"


def context_of(tls: TLSLike) -> ssl.SSLContext:
    """What the next connection is to use."""
    return tls if isinstance(tls, ssl.SSLContext) else tls.context()


def name_of(tls: TLSLike, host: str) -> str:
    """Whose certificate the listener at this host has to show."""
    return getattr(tls, "server_hostname", None) or host


def _load(
    context: ssl.SSLContext, certificate: _Path, key: _Path | None, password: str | None
) -> None:
    def tell() -> str:
        # Without this, OpenSSL would ask on the terminal, and wait.
        if password is None:
            raise ValueError("the private key needs a password")
        return password

    # Each alone first: of two files OpenSSL does not say which it has failed with.
    with _naming("certificate", certificate):
        _hold(certificate, b"-----BEGIN CERTIFICATE", "no certificate in PEM")
        if key is None:
            _hold(
                certificate, b"PRIVATE KEY-----", "no private key; give the file that does as key="
            )
    what, file = ("certificate", certificate) if key is None else ("key", key)
    with _naming(what, file):
        _hold(file, b"PRIVATE KEY-----", "no private key in PEM")
        context.load_cert_chain(certificate, key, tell)


@contextmanager
def _naming(what: str, path: _Path) -> Iterator[None]:
    """Has an error say which file it was, what for, and what is wrong with it."""
    where = f"{what}: {os.fspath(path)}"
    try:
        yield
    except ssl.SSLError as exc:
        why = _WRONG_FILES.get(str(getattr(exc, "reason", "")), str(exc))
        raise ssl.SSLError(exc.errno, f"{where}: {why}") from exc
    except OSError as exc:
        why = "no such file" if exc.errno == errno.ENOENT else (exc.strerror or str(exc)).lower()
        error = type(exc)(f"{where}: {why}")
        error.errno = exc.errno
        raise error from exc


def _hold(path: _Path, marker: bytes, missing: str) -> None:
    if marker not in Path(path).read_bytes():
        raise ssl.SSLError(ssl.SSL_ERROR_SSL, f"it holds {missing}")
