"""Checks that the local exporter is alive: ``python -m exporter.healthcheck [--port 9439] [--path /-/ready]``.

For a container's health check or probe, which has neither password nor certificate. Exit code 0 if the exporter is
alive, otherwise 1 and one line of text. The module imports nothing else from the exporter: it starts every few seconds,
next to the exporter itself.
"""

from __future__ import annotations

import argparse
import errno
import http.client
import os
import signal
import socket
import ssl
import sys
from contextlib import closing, contextmanager
from http import HTTPStatus
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from types import FrameType

TIMEOUT: Final = 4.0
"""Seconds for the whole check."""

_PORT: Final = 9439
_ADDRESSES: Final = "DIFY_EXPORTER_WEB_LISTEN_ADDRESS"

_LONGEST: Final = 1_000
"""Bytes of the answer that are read."""

_NOBODY_THERE: Final = frozenset({errno.ECONNREFUSED, errno.EADDRNOTAVAIL, errno.EAFNOSUPPORT})


class _TurnedAway(Exception):
    """The port speaks TLS, agreed on a cipher and then closed the connection: it requires a client certificate."""


def main(arguments: Sequence[str] | None = None) -> str | None:
    """The problem in one line, or None. ``arguments``: by default those of the process."""
    parser = argparse.ArgumentParser(prog="python -m exporter.healthcheck", description="Check the exporter's health.")
    parser.add_argument(
        "--port",
        type=int,
        default=_configured_port(os.environ),
        help="port of the exporter on loopback; default: that of the first address in the variable "
        f"{_ADDRESSES}, else {_PORT}",
    )
    parser.add_argument("--path", default="/-/healthy", help="path to request (%(default)s)")
    options = parser.parse_args(arguments)
    try:
        with _deadline(TIMEOUT):
            status, text = _ask(options.port, options.path)
    except _TurnedAway:
        return None  # the exporter is alive, but reveals no more without a client certificate
    except TimeoutError:
        return f"no answer on port {options.port} within {TIMEOUT:g} s"
    except (OSError, http.client.HTTPException) as error:
        return f"no answer on port {options.port}: {_line(getattr(error, 'strerror', None) or str(error))}"
    # A server that asks for a password is alive.
    return None if status in {HTTPStatus.OK, HTTPStatus.UNAUTHORIZED} else f"{status}: {text}"


def _configured_port(environ: Mapping[str, str]) -> int:
    """The port that the exporter's environment names. It is checked by the exporter, not here."""
    first = environ.get(_ADDRESSES, "").partition(" ")[0]
    port = first.rpartition(":")[2]
    return int(port) if port.isdecimal() else _PORT


@contextmanager
def _deadline(seconds: float) -> Iterator[None]:
    """Raise TimeoutError after ``seconds``. A socket timeout would not do: it restarts with every byte received."""

    def end(_signal: int, _frame: FrameType | None) -> None:
        raise TimeoutError

    before = signal.signal(signal.SIGALRM, end)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


def _ask(port: int, path: str) -> tuple[int, str]:
    """Status and text of the answer from the first loopback address that accepts a connection."""
    try:
        return _ask_host("127.0.0.1", port, path)
    except ConnectionRefusedError as refused:
        try:
            return _ask_host("::1", port, path)
        except OSError as error:
            if error.errno in _NOBODY_THERE:
                raise refused from None
            raise


def _ask_host(host: str, port: int, path: str) -> tuple[int, str]:
    """Try plain HTTP first, so that the usual case is one request; a TLS port closes such a connection at once."""
    try:
        return _get(http.client.HTTPConnection(host, port), path)
    except (ConnectionRefusedError, TimeoutError):
        raise
    except (ConnectionError, http.client.HTTPException) as error:
        try:
            return _get_tls(host, port, path)
        except ssl.SSLError:
            raise error from None  # the port does not speak TLS either


def _get_tls(host: str, port: int, path: str) -> tuple[int, str]:
    # Not verified: the peer is this machine, no secret is sent, and few certificates are valid for loopback.
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    context.set_ciphers("DEFAULT")  # more than Python's default: every cipher that the web config file can select
    connection = http.client.HTTPConnection(host, port)
    plain = socket.create_connection((host, port))
    connection.sock = tls = context.wrap_socket(plain, do_handshake_on_connect=False)
    with closing(tls):
        try:
            tls.do_handshake()
        except (ssl.SSLError, ConnectionError):
            if tls.cipher() is None:
                raise
            raise _TurnedAway from None  # TLS 1.2: the server rejects the missing certificate during the handshake
        try:
            return _get(connection, path)
        except (ssl.SSLError, ConnectionError):
            raise _TurnedAway from None  # TLS 1.3: the server rejects it after the handshake


def _get(connection: http.client.HTTPConnection, path: str) -> tuple[int, str]:
    with closing(connection):
        connection.request("GET", path, headers={"Connection": "close"})
        response = connection.getresponse()
        return response.status, _line(response.read(_LONGEST).decode(errors="replace"))


def _line(text: str) -> str:
    """The text on one line, without characters that control a terminal."""
    return " ".join("".join(each if each.isprintable() else " " for each in text).split())


if __name__ == "__main__":
    sys.exit(main())
