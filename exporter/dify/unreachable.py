"""From the exceptions of sockets, ssl, urllib3 and requests to an error of the tree.

Their texts are not passed on: they may hold headers, and proxies' passwords.
"""

from __future__ import annotations

import socket
import ssl
from typing import TYPE_CHECKING

import requests
import urllib3.exceptions

from exporter.dify.connection import Silence
from exporter.dify.errors import ConnectFailed, DifyError, TimedOut, TLSFailed

if TYPE_CHECKING:
    from collections.abc import Iterator

FAILURES = (requests.RequestException, urllib3.exceptions.HTTPError, OSError, ValueError)
"""What a request can raise when there is no complete answer. ValueError: an URL or a host name that cannot be used."""


def unreachable(where: str, error: Exception, timeout: float) -> DifyError:
    """The leaf for ``error``. ``where``: host and port, for the message."""
    chain = tuple(_chain(error))
    if any(isinstance(link, requests.exceptions.ProxyError) for link in chain):
        where = f"{where} through the proxy of the environment"
    # The certificate and the deadline explain the rest of the chain, wherever they stand in it.
    for explain in (_by_kind, _by_errno):
        for link in chain:
            leaf = explain(link, where, timeout)
            if leaf is not None:
                return leaf
    if isinstance(error, ValueError):
        return ConnectFailed(f"{where}: url cannot be used ({type(error).__name__})")
    return ConnectFailed(f"{where}: connection cut, or the answer is not HTTP ({type(error).__name__})")


def _by_kind(link: BaseException, where: str, timeout: float) -> DifyError | None:
    leaf: DifyError | None = None
    match link:
        case ssl.SSLCertVerificationError():
            leaf = TLSFailed(f"{where}: certificate not accepted: {link.verify_message}; see ca_file")
        case TimeoutError() | urllib3.exceptions.ReadTimeoutError():
            leaf = TimedOut(f"{where}: no complete answer within {timeout:g} s")
        case ssl.SSLEOFError() | ssl.SSLZeroReturnError():
            leaf = ConnectFailed(f"{where}: connection cut")
        case ssl.SSLError():
            leaf = TLSFailed(f"{where}: TLS failed ({link.reason}); does the server speak https?")
        case Silence():
            leaf = ConnectFailed(f"{where}: connection cut before an answer came")
        case ConnectionResetError() | BrokenPipeError() if link.strerror:
            leaf = ConnectFailed(f"{where}: connection cut ({link.strerror})")
        case socket.gaierror():
            leaf = ConnectFailed(f"{where}: no such host, or no name service")
    return leaf


def _by_errno(link: BaseException, where: str, _timeout: float) -> DifyError | None:
    if isinstance(link, OSError) and link.errno is not None and link.strerror:
        return ConnectFailed(f"{where}: {link.strerror}")
    return None


def _chain(error: BaseException | None) -> Iterator[BaseException]:
    while error is not None:
        yield error
        error = error.__cause__ or error.__context__ or _wrapped(error)


def _wrapped(error: BaseException) -> BaseException | None:
    """What urllib3 carries along instead of raising from it, when a connection to a proxy fails."""
    match error:
        case urllib3.exceptions.ProxyError():
            return error.original_error
        case urllib3.exceptions.SSLError(args=(BaseException() as reason, *_)):
            return reason
    return None
