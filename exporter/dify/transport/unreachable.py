"""Maps exceptions of sockets, ssl, urllib3 and requests to errors of the tree.

The texts of these exceptions are not passed on: they may contain headers and proxy passwords.
"""

from __future__ import annotations

import socket
import ssl
from typing import TYPE_CHECKING

import requests
import urllib3.exceptions

from exporter.dify.errors import ConnectFailed, DifyError, TimedOut, TLSFailed
from exporter.dify.transport.connection import Silence

if TYPE_CHECKING:
    from collections.abc import Iterator

FAILURES = (requests.RequestException, urllib3.exceptions.HTTPError, OSError, ValueError)
"""Exceptions of a request without a complete answer. ValueError: invalid URL or host name."""


def unreachable(where: str, error: Exception, timeout: float) -> DifyError:
    """The error of the tree for ``error``. ``where``: host and port, for the message."""
    chain = tuple(_chain(error))
    if any(isinstance(link, requests.exceptions.ProxyError) for link in chain):
        where = f"{where} through the proxy set in the environment"
    # A certificate error or a timeout explains the rest of the chain, wherever it occurs.
    for explain in (_by_kind, _by_errno):
        for link in chain:
            leaf = explain(link, where, timeout)
            if leaf is not None:
                return leaf
    if isinstance(error, ValueError):
        return ConnectFailed(f"{where}: invalid url ({type(error).__name__})")
    return ConnectFailed(f"{where}: connection closed, or the answer is not HTTP ({type(error).__name__})")


def _by_kind(link: BaseException, where: str, timeout: float) -> DifyError | None:
    leaf: DifyError | None = None
    match link:
        case ssl.SSLCertVerificationError():
            leaf = TLSFailed(f"{where}: certificate verification failed: {link.verify_message}; check ca_file")
        case TimeoutError() | urllib3.exceptions.ReadTimeoutError():
            leaf = TimedOut(f"{where}: no complete answer within {timeout:g} s")
        case ssl.SSLEOFError() | ssl.SSLZeroReturnError():
            leaf = ConnectFailed(f"{where}: connection closed")
        case ssl.SSLError():
            leaf = TLSFailed(f"{where}: TLS failed ({link.reason}); does the server use https?")
        case Silence():
            leaf = ConnectFailed(f"{where}: connection closed before an answer was received")
        case ConnectionResetError() | BrokenPipeError() if link.strerror:
            leaf = ConnectFailed(f"{where}: connection closed ({link.strerror})")
        case socket.gaierror():
            leaf = ConnectFailed(f"{where}: host name could not be resolved (DNS)")
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
    """The cause that urllib3 stores instead of chaining it when a connection to a proxy fails."""
    match error:
        case urllib3.exceptions.ProxyError():
            return error.original_error
        case urllib3.exceptions.SSLError(args=(BaseException() as reason, *_)):
            return reason
    return None
