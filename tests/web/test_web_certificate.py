"""The validity of the exporter's own certificate: read, logged and reported."""

from __future__ import annotations

import subprocess
import time
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import pytest

from exporter.clock import ManualClock
from exporter.web import WebConfigFile
from exporter.web.certificate import Validity, validity_of
from tests.integration.harness import DEADLINE, tool

if TYPE_CHECKING:
    from pathlib import Path

    from tests.web.authority import Authority

DAY = 86_400.0
TLS = "tls_server_config: {cert_file: server.pem, key_file: server.key}"


def _dates(certificate: Path) -> list[float]:
    """What openssl says about the validity."""
    command = [tool("openssl"), "x509", "-in", str(certificate), "-noout", "-dates"]
    shown = subprocess.run(command, capture_output=True, check=True, timeout=DEADLINE, text=True).stdout
    texts = [line.partition("=")[2].removesuffix(" GMT") for line in shown.splitlines()]
    return [datetime.strptime(text, "%b %d %H:%M:%S %Y").replace(tzinfo=UTC).timestamp() for text in texts]


@pytest.mark.parametrize("days", ["1", "825", "36500"], ids=["a day", "years", "beyond 2049"])
def test_validity(authority: Authority, days: str) -> None:
    """The dates are those of openssl, in both of the notations that certificates have for years."""
    certificate = authority.sign("localhost", validity=("-days", days)).certificate

    assert _dates(certificate) == list(validity_of(certificate.read_text()) or ())


def test_first_certificate_counts(authority: Authority) -> None:
    """A chain, and whatever else the file contains, does not matter."""
    made = authority.sign("localhost", validity=("-days", "7"))
    text = "".join(["# my certificate\n", *(path.read_text() for path in (made.key, made.certificate))])

    assert _dates(made.certificate) == list(validity_of(text + authority.certificate.read_text()) or ())


def test_damaged_certificates(authority: Authority) -> None:
    """Whatever is cut off or changed, reading the dates fails without an error."""
    lines = authority.certificate.read_text().splitlines()
    assert None is validity_of("")
    for kept in range(len(lines)):
        validity_of("\n".join([*lines[:kept], lines[-1]]))
    for number in range(1, len(lines) - 1):
        validity_of("\n".join([*lines[:number], "A" * 64, *lines[number + 1 :]]))


@pytest.mark.parametrize(
    ("days", "left", "problem"),
    [
        (365, 14.5, None),
        (365, 13.5, "expires on 2026-11-10 00:00 UTC: renew it"),
        (365, 0.1, "expires on 2026-11-10 00:00 UTC: renew it"),
        (365, 0, "expired on 2026-11-10 00:00 UTC: clients refuse it; renew it"),
        (365, -5, "expired on 2026-11-10 00:00 UTC: clients refuse it; renew it"),
        (10, 2.5, None),
        (10, 1.5, "expires on 2026-11-10 00:00 UTC: renew it"),
        (10, 10.5, "is not valid before 2026-10-31 00:00 UTC: clients refuse it; check the clock"),
    ],
)
def test_problem(days: float, left: float, problem: str | None) -> None:
    """Soon is 14 days, but for a short life a fifth of it: such certificates are renewed later."""
    end = datetime(2026, 11, 10, tzinfo=UTC).timestamp()

    assert problem == Validity(end - days * DAY, end).problem(end - left * DAY)


def test_expiry_is_logged_while_running(
    web_file: Path, capsys: pytest.CaptureFixture[str], authority: Authority
) -> None:
    """A certificate that expires while the exporter runs is logged twice: in time, and when it has expired."""
    web_file.write_text(TLS, encoding="utf-8")
    clock = ManualClock(start=time.time())
    web_config = WebConfigFile(web_file, clock=clock)
    assert () == web_config.warnings

    logged = []
    for days in (1.5, 0.2, 0.2, 0.2, 0.2):
        clock.advance(days * DAY)
        web_config.check()
        logged.append(capsys.readouterr().out)

    assert [0, 1, 0, 1, 0] == [text.count("tls_server_config.cert_file") for text in logged]
    assert "expires on" in logged[1]
    assert "expired on" in logged[3]

    authority.sign("localhost", validity=("-days", "30")).copy(web_file.parent, "server")
    for _ in range(3):
        web_config.check()
    assert "cert_file" not in capsys.readouterr().out
    assert None is web_config.problem


def test_expired_certificate_at_the_start(web_file: Path) -> None:
    """An expired certificate is served, because the clock may be wrong, with a warning."""
    web_file.write_text(TLS, encoding="utf-8")
    web_config = WebConfigFile(web_file, clock=ManualClock(start=time.time() + 3 * DAY))

    (warning,) = web_config.warnings
    assert "tls_server_config.cert_file: expired on " in str(warning)
    assert web_config.server_context() is not None
