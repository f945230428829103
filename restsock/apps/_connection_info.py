"""What an app is told about the connection of a request.

It is the same for every request of a connection, so it is collected once, under the lock of the
connection: the state of TLS must not be read while another thread changes it.
"""

from __future__ import annotations

import ssl
from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from weakref import WeakKeyDictionary

from restsock._addresses import PORTS, host_and_port
from restsock._principal import ConnectionInfo

if TYPE_CHECKING:
    from restsock.connection import Carrier
    from restsock.protocol import TLS

__all__ = ["ConnectionInfo", "describe", "server_address"]


@dataclass(frozen=True, slots=True)
class _Description:
    info: ConnectionInfo
    tls: dict[str, Any] | None


_known: WeakKeyDictionary[Carrier, _Description] = WeakKeyDictionary()


def describe(connection: Carrier | None) -> _Description:
    """Collects the description of a connection. For any thread."""
    assert connection is not None
    known = _known.get(connection)
    if known is None:
        info = ConnectionInfo(
            connection.id, connection.name, connection.metadata, connection.principal
        )
        with connection.lock:
            tls = None if connection.tls is None else _tls_extension(connection.tls)
        known = _known[connection] = _Description(info, tls)
    return known


# --- the tls extension ----------------------------------------------------------------------------

_VERSIONS = {"TLSv1": 0x0301, "TLSv1.1": 0x0302, "TLSv1.2": 0x0303, "TLSv1.3": 0x0304}

# Names of OpenSSL -> names of RFC 4514, section 3.
_SHORT = {
    "commonName": "CN",
    "localityName": "L",
    "stateOrProvinceName": "ST",
    "organizationName": "O",
    "organizationalUnitName": "OU",
    "countryName": "C",
    "streetAddress": "STREET",
    "domainComponent": "DC",
    "userId": "UID",
}


def _tls_extension(tls: TLS) -> dict[str, Any]:
    """The content of the `tls` extension of ASGI (ASGI, "TLS Extension", version 0.2).

    The client of a request is the peer, so the client certificate is that of the peer: at the
    dialing end, the listener's. Python's ssl module provides only the certificate itself, not its
    chain, and not the certificate of this side.

    Args:
        tls: TLS whose handshake is complete.
    """
    certificate = tls.object.getpeercert(binary_form=True)
    verified = tls.object.getpeercert() or {}
    cipher = tls.object.cipher()
    return {
        "server_cert": None,
        "client_cert_chain": (
            [ssl.DER_cert_to_PEM_cert(certificate)] if certificate is not None else []
        ),
        "client_cert_name": _distinguished_name(verified.get("subject", ())) or None,
        "client_cert_error": None,
        "tls_version": _VERSIONS.get(tls.object.version() or ""),
        "cipher_suite": None if cipher is None else _suite(tls.context, cipher[0]),
    }


def _suite(context: ssl.SSLContext, name: str) -> int | None:
    """The IANA number of a cipher suite."""
    for cipher in context.get_ciphers():
        if cipher["name"] == name:
            return int(cipher["id"]) & 0xFFFF  # OpenSSL adds a flag to the IANA number
    return None


def _distinguished_name(subject: Iterable[Any]) -> str:
    """A subject from the ssl module in the form of RFC 4514: the last part first."""
    parts = [
        "+".join(f"{_SHORT.get(kind, kind)}={_escaped(value)}" for kind, value in relative)
        for relative in subject
    ]
    return ",".join(reversed(parts))


def _escaped(value: str) -> str:
    """A value in a distinguished name (RFC 4514, section 2.4)."""
    text = "".join("\\" + c if c in '\\"+,;<>' else c for c in value).replace("\0", "\\00")
    if text.startswith(("#", " ")):
        text = "\\" + text
    if text.endswith(" ") and len(value) > 1:
        text = text[:-1] + "\\ "
    return text


def server_address(host: bytes, scheme: str) -> tuple[str, int]:
    """The host and port of a request.

    They come from Host, since in a tunnel no socket address means anything to the caller. Host was
    checked when the head was parsed.

    Args:
        host: The value of Host.
        scheme: `"http"` or `"https"`, which gives the default port.
    """
    name, port = host_and_port(host.decode("latin-1"))
    return name, PORTS[scheme] if port is None else port
