"""A certificate for loopback, and the authority that callers trust."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from restsock.tls import ClientTLS, ServerTLS

HOST = "127.0.0.1"


class Certificates(NamedTuple):
    """The files, all PEM."""

    ca: Path
    certificate: Path
    key: Path


def files_in(folder: Path) -> Certificates:
    """Where `issue` writes them."""
    return Certificates(folder / "ca.pem", folder / "certificate.pem", folder / "key.pem")


def issue(folder: Path) -> Certificates:
    """Writes new ones into a folder, which is made if need be."""
    import trustme  # for those alone that want TLS

    folder.mkdir(parents=True, exist_ok=True)
    files = files_in(folder)
    authority = trustme.CA()
    issued = authority.issue_cert(HOST)
    authority.cert_pem.write_to_path(files.ca)
    issued.private_key_pem.write_to_path(files.key)
    files.certificate.write_bytes(b"".join(blob.bytes() for blob in issued.cert_chain_pems))
    return files


def listener_tls(folder: str | None) -> ServerTLS | None:
    """Of a listener of ours; `None` is plain ws."""
    import restsock.tls

    if folder is None:
        return None
    files = files_in(Path(folder))
    return restsock.tls.server(certificate=files.certificate, key=files.key)


def dialer_tls(folder: str | None) -> ClientTLS | None:
    """Of a dialer of ours; `None` is plain ws."""
    import restsock.tls

    return None if folder is None else restsock.tls.client(ca=files_in(Path(folder)).ca)
