"""A certificate for loopback, and the authority that callers trust."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

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
