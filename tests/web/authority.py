"""Test certificates, created with openssl."""

from __future__ import annotations

import shutil
import subprocess
from dataclasses import dataclass
from typing import TYPE_CHECKING

from tests.integration.harness import DEADLINE, tool

if TYPE_CHECKING:
    from pathlib import Path

EC = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-noenc")


@dataclass(frozen=True)
class Certificate:
    """A certificate and its key in PEM."""

    certificate: Path
    key: Path

    def copy(self, folder: Path, name: str) -> None:
        """Write NAME.pem and NAME.key to ``folder``, each with one rename."""
        for exposition, suffix in ((self.certificate, "pem"), (self.key, "key")):
            fresh = folder / f".{name}.{suffix}"
            shutil.copyfile(exposition, fresh)
            fresh.rename(folder / f"{name}.{suffix}")


class Authority:
    """A certificate authority; its own certificate is in ``certificate``."""

    def __init__(self, folder: Path, name: str) -> None:
        """Its files are written to ``folder``."""
        self._folder = folder
        self._signed = 0
        self.certificate = folder / "ca.pem"
        self._key = folder / "ca.key"
        _openssl(
            "req", "-x509", *EC, "-keyout", self._key, "-out", self.certificate, "-days", "2", "-subj", f"/CN={name}"
        )

    def sign(self, name: str, *more: str, validity: tuple[str, ...] = ("-days", "2")) -> Certificate:
        """Issue a certificate for ``name``; localhost includes 127.0.0.1. ``more``: names such as URI:spiffe://x.

        ``validity``: openssl's options.
        """
        self._signed += 1
        base = self._folder / f"{self._signed}-{name}"
        made = Certificate(base.with_suffix(".pem"), base.with_suffix(".key"))
        names = [f"DNS:{name}", *(["IP:127.0.0.1"] if name == "localhost" else []), *more]
        request = base.with_suffix(".csr")
        extensions = base.with_suffix(".ext")
        extensions.write_text(f"subjectAltName={','.join(names)}\n")
        _openssl("req", *EC, "-keyout", made.key, "-out", request, "-subj", f"/CN={name}")
        _openssl(
            *("x509", "-req", "-in", request, "-CA", self.certificate, "-CAkey", self._key, "-CAcreateserial"),
            *validity,
            *("-extfile", extensions, "-out", made.certificate),
        )
        return made


def _openssl(*arguments: str | Path) -> None:
    subprocess.run([tool("openssl"), *arguments], capture_output=True, check=True, timeout=DEADLINE)


def encrypted(key: Path, to: Path) -> None:
    """Write ``key`` to ``to``, encrypted with a password."""
    _openssl("pkey", "-in", key, "-aes256", "-passout", "pass:secret", "-out", to)
