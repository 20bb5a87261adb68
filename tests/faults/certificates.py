"""TLS certificates for tests, made with openssl: a certificate authority and the certificates that it signs."""

from __future__ import annotations

import ssl
import subprocess
from typing import TYPE_CHECKING, NamedTuple

from tests.integration.harness import tool

if TYPE_CHECKING:
    from pathlib import Path

_KEY = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes")


class Certificates(NamedTuple):
    """``ca``: the authority that clients trust. The others are for servers; ``stranger`` is not signed by ``ca``."""

    ca: Path
    good: ssl.SSLContext
    expired: ssl.SSLContext
    misnamed: ssl.SSLContext
    stranger: ssl.SSLContext


def make(folder: Path) -> Certificates:
    """Create the certificates, valid for two days except ``expired``. Skips the test without openssl."""
    openssl = tool("openssl")
    folder.mkdir()

    def call(*arguments: str) -> None:
        subprocess.run((openssl, *arguments), cwd=folder, check=True, capture_output=True, text=True)

    def context(name: str) -> ssl.SSLContext:
        found = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        found.load_cert_chain(folder / f"{name}.pem", folder / f"{name}.key")
        return found

    def authority(name: str) -> None:
        subject = ("-subj", f"/CN={name}", "-days", "2")
        call("req", "-x509", *_KEY, *subject, "-keyout", f"{name}.key", "-out", f"{name}.pem")

    def signed(name: str, *, by: str, names: str, days: int = 2) -> ssl.SSLContext:
        (folder / f"{name}.ext").write_text(f"subjectAltName={names}\n")
        call("req", "-new", *_KEY, "-subj", f"/CN={name}", "-keyout", f"{name}.key", "-out", f"{name}.csr")
        issuer = ("-CA", f"{by}.pem", "-CAkey", f"{by}.key", "-CAcreateserial")
        files = ("-in", f"{name}.csr", "-out", f"{name}.pem", "-extfile", f"{name}.ext")
        call("x509", "-req", *issuer, *files, "-days", str(days))
        return context(name)

    authority("ca")
    authority("unknown")
    return Certificates(
        folder / "ca.pem",
        signed("good", by="ca", names="IP:127.0.0.1"),
        signed("expired", by="ca", names="IP:127.0.0.1", days=-1),
        signed("misnamed", by="ca", names="DNS:other.invalid"),
        signed("stranger", by="unknown", names="IP:127.0.0.1"),
    )
