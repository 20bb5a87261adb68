"""Certificates of private authorities: what curl accepts is accepted, whatever the version of Python refuses."""

from __future__ import annotations

import ssl
import subprocess
from typing import TYPE_CHECKING, Any, NamedTuple

import pytest
from urllib3.util import create_urllib3_context

from exporter.dify import TLSFailed
from exporter.dify.transport import environment
from exporter.dify.transport.failures import unreachable
from exporter.dify.transport.messages import Route
from tests.dify.conftest import BATCH, DATASET, MakeClient, Upstream, always, http_answer
from tests.integration.harness import tool

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

EC = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-noenc", "-days", "2")
CA = "basicConstraints=critical,CA:TRUE"
NAMES = "subjectAltName=IP:127.0.0.1"


class Files(NamedTuple):
    """What a server presents, and the authorities that its clients are told to trust."""

    chain: Path
    authorities: Path


def _issue(folder: Path, name: str, extensions: str, issuer: Path | None) -> Path:
    """A PEM file with key and certificate, signed by ``issuer`` or by itself, with exactly these extensions."""
    made, config = folder / f"{name}.pem", folder / f"{name}.cnf"
    config.write_text(f"[req]\ndistinguished_name=d\n[d]\n[e]\n{extensions}\n")
    signed_by = ["-CA", str(issuer), "-CAkey", str(issuer)] if issuer else []
    command = [tool("openssl"), "req", "-x509", *EC, *signed_by, "-config", str(config), "-extensions", "e"]
    done = subprocess.run(
        [*command, "-subj", f"/CN={name}", "-keyout", str(made)], check=True, capture_output=True, text=True
    )
    made.write_text(made.read_text() + done.stdout)
    return made


def _without_key_usage(folder: Path) -> Files:
    root = _issue(folder, "root", f"{CA}\nsubjectKeyIdentifier=hash", None)
    return Files(_issue(folder, "leaf", f"{NAMES}\nauthorityKeyIdentifier=keyid", root), root)


def _without_key_identifiers(folder: Path) -> Files:
    root = _issue(folder, "root", f"{CA}\nkeyUsage=critical,keyCertSign\nsubjectKeyIdentifier=none", None)
    return Files(_issue(folder, "leaf", f"{NAMES}\nauthorityKeyIdentifier=none", root), root)


def _with_constraints_that_are_not_critical(folder: Path) -> Files:
    root = _issue(folder, "root", "basicConstraints=CA:TRUE\nkeyUsage=keyCertSign", None)
    return Files(_issue(folder, "leaf", NAMES, root), root)


def _intermediate_alone(folder: Path) -> Files:
    """The operator trusts the authority of the department, not that of the company."""
    root = _issue(folder, "root", f"{CA}\nkeyUsage=critical,keyCertSign", None)
    department = _issue(folder, "department", f"{CA}\nkeyUsage=critical,keyCertSign", root)
    return Files(_issue(folder, "leaf", NAMES, department), department)


KINDS = (
    _without_key_usage,
    _without_key_identifiers,
    _with_constraints_that_are_not_critical,
    _intermediate_alone,
)


@pytest.fixture(params=["defaults of this Python", "defaults of 3.11", "defaults of 3.13"])
def _defaults(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """The verification that urllib3 sets by default, which depends on the version of Python."""
    create = create_urllib3_context

    def with_flags(**arguments: Any) -> ssl.SSLContext:
        context = create(**arguments)
        if not request.param.endswith("this Python"):
            context.verify_flags = ssl.VERIFY_X509_TRUSTED_FIRST
        if request.param.endswith("3.13"):
            context.verify_flags |= ssl.VERIFY_X509_STRICT | ssl.VERIFY_X509_PARTIAL_CHAIN
        return context

    monkeypatch.setattr(environment, "create_urllib3_context", with_flags)


@pytest.fixture
def serve(tmp_path: Path) -> Iterator[Callable[[Callable[[Path], Files]], tuple[Upstream, Files]]]:
    """Serve with the certificates that the argument issues."""
    servers = []

    def start(issue: Callable[[Path], Files]) -> tuple[Upstream, Files]:
        files = issue(tmp_path)
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(files.chain)
        server = Upstream(context)
        servers.append(server)
        server.play(always(http_answer(200, {"data": []})))
        return server, files

    yield start
    for server in servers:
        server.stop()


@pytest.mark.usefixtures("_defaults")
@pytest.mark.parametrize("issue", KINDS)
def test_what_curl_accepts_is_accepted(
    issue: Callable[[Path], Files],
    serve: Callable[[Callable[[Path], Files]], tuple[Upstream, Files]],
    connect: MakeClient,
) -> None:
    """An operator who has tried the URL and the authority with curl has no other answer from the exporter."""
    server, files = serve(issue)
    url = f"https://{server.address}/v1"
    command = [tool("curl"), "--silent", "--noproxy", "*", "--cacert", str(files.authorities), url]
    assert b'{"data": []}' == subprocess.run(command, check=True, capture_output=True).stdout
    assert [] == connect(url, ca_file=files.authorities).indexing_status(DATASET, BATCH).value


def _of_another_name(folder: Path) -> Files:
    leaf = _issue(folder, "leaf", "subjectAltName=DNS:dify.example", None)
    return Files(leaf, leaf)


def _of_another_authority(folder: Path) -> Files:
    files = _without_key_usage(folder)
    return files._replace(authorities=_issue(folder, "other", CA, None))


@pytest.mark.parametrize(
    ("issue", "remedy"),
    [
        (_of_another_name, "set url to a name that the certificate contains"),
        (_of_another_authority, "set ca_file to a PEM file with the authority that signed it"),
    ],
)
def test_a_refused_certificate_has_a_remedy(
    issue: Callable[[Path], Files],
    remedy: str,
    serve: Callable[[Callable[[Path], Files]], tuple[Upstream, Files]],
    connect: MakeClient,
) -> None:
    """The remedy depends on what is wrong with the certificate."""
    server, files = serve(issue)
    with pytest.raises(TLSFailed, match=f"certificate verification failed: .*; {remedy}"):
        connect(f"https://{server.address}/v1", ca_file=files.authorities).indexing_status(DATASET, BATCH)


def test_an_expired_certificate_has_a_remedy() -> None:
    """A wrong clock has the same effect as an old certificate."""
    error = ssl.SSLCertVerificationError()
    error.verify_code, error.verify_message = 10, "certificate has expired"
    failure = unreachable(Route("https://dify.example/v1"), error, 10.0)
    assert "certificate has expired; is the clock of this machine right? Otherwise" in str(failure)
