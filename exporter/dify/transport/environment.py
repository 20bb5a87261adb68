"""What environment variables say about connections: proxies, and the authorities that sign certificates.

They are read once per server. What makes every request fail is found at startup, where the variable can be named.
"""

from __future__ import annotations

import errno
import os
import re
import ssl
import threading
from typing import TYPE_CHECKING

import requests
from requests.adapters import HTTPAdapter
from requests.utils import DEFAULT_CA_BUNDLE_PATH, select_proxy
from urllib3.util import create_urllib3_context

from exporter.dify.errors import TLSFailed
from exporter.yamlconf import ConfigError, Problem
from exporter.yamlconf.file_access import bounded, open_regular

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from pathlib import Path

    from exporter.config import ServerConfig

_AUTHORITIES = ("REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE")

_HOST = re.compile(r"[\w.:%\[\]-]+")

_NO_SOCKS = "is a SOCKS proxy, which requires the package PySocks: install it, or name an HTTP proxy"
_NO_PROXY_URL = (
    "is not the URL of a proxy: write it like http://proxy:3128 (special characters of a password as %XX), or unset it"
)


def read_environment(url: str, ca_file: Path | None) -> tuple[dict[str, str], str]:
    """The proxies for ``url`` by scheme, and the path of the trusted authorities, from environment variables.

    ``ca_file`` takes precedence over REQUESTS_CA_BUNDLE and CURL_CA_BUNDLE.
    """
    with requests.Session() as session:
        settings = session.merge_environment_settings(url, {}, None, None if ca_file is None else str(ca_file), None)
    verify = settings["verify"]
    return dict(settings["proxies"]), verify if isinstance(verify, str) else DEFAULT_CA_BUNDLE_PATH


def check_environment(servers: Iterable[ServerConfig]) -> None:
    """Raise ``ConfigError`` for variables with which no request to one of the servers can succeed."""
    problems = dict.fromkeys(problem for server in servers for problem in _problems(server))
    if problems:
        raise ConfigError(problems)


def _problems(server: ServerConfig) -> Iterator[Problem]:
    proxies, authorities = read_environment(server.url, server.ca_file)
    proxy = select_proxy(server.url, proxies)
    if proxy and (message := _refused(server.url, proxy, proxies)):
        yield Problem("environment", None, _variable(server.url, proxy), message)
    if server.ca_file is None and any(way and way.lower().startswith("https:") for way in (server.url, proxy)):
        try:
            load_authorities(authorities)
        except TLSFailed as failure:
            name = next((name for name in _AUTHORITIES if os.environ.get(name)), "")
            yield Problem("environment", None, name, f"{failure}; correct it, or set ca_file of the server")


def _refused(url: str, proxy: str, proxies: dict[str, str]) -> str | None:
    """Why no connection through ``proxy`` can be made, without making one. Never contains its password."""
    request = requests.Request("GET", url).prepare()
    try:
        pool = HTTPAdapter().get_connection_with_tls_context(request, verify=True, proxies=proxies)
    except (ValueError, requests.RequestException):
        return _NO_SOCKS if proxy.lower().startswith("socks") else _NO_PROXY_URL
    # requests takes anything for a host, such as the part of a quoted URL before the first colon.
    found = getattr(pool, "proxy", None)
    return None if found is None or _HOST.fullmatch(found.host or "") else _NO_PROXY_URL


def _variable(url: str, proxy: str) -> str:
    """The name of the variable that sets ``proxy`` for ``url``: HTTPS_PROXY, all_proxy or the like."""
    names = {f"{url.partition(':')[0]}_proxy", "all_proxy"}
    return next((name for name, value in os.environ.items() if name.lower() in names and value == proxy), "")


def load_authorities(place: str) -> ssl.SSLContext:
    """A TLS context that trusts the certificates in ``place``, a PEM file or a folder. Raises TLSFailed.

    It accepts what curl accepts, with every version of Python: certificates without a key usage or an authority key
    identifier, which private authorities issue and which Python refuses by default since 3.13, and a chain that ends at
    any certificate in ``place``, which Python accepts by default only since 3.13.
    """
    context = create_urllib3_context(cert_reqs=ssl.CERT_REQUIRED)
    context.check_hostname = True
    context.verify_flags = (context.verify_flags | ssl.VERIFY_X509_PARTIAL_CHAIN) & ~ssl.VERIFY_X509_STRICT

    def load() -> None:
        if os.path.isdir(place):  # noqa: PTH112 - the string is passed on unchanged
            context.load_verify_locations(capath=place)
        elif (stream := open_regular(place)) is None:
            raise OSError(errno.EINVAL, "it is a pipe or device, not a file")
        else:
            stream.close()
            context.load_verify_locations(cafile=place)

    try:
        bounded(place, load)
    except OSError as error:
        # This includes ssl.SSLError, an OSError with its own strerror.
        raise TLSFailed(f"cannot read the certificate authorities in {place}: {error.strerror}") from None
    return context


class TlsContextCache:
    """Caches the TLS context of a server, because loading the authorities takes some 20 ms. Thread-safe."""

    def __init__(self, authorities: str) -> None:
        self._authorities = authorities
        self._lock = threading.Lock()
        self._context: ssl.SSLContext | None = None

    def context(self) -> ssl.SSLContext:
        """The context, loaded on first use. Raises TLSFailed if the authorities cannot be read."""
        with self._lock:
            if self._context is None:
                self._context = load_authorities(self._authorities)
            return self._context

    def invalidate(self) -> None:
        """Load the authorities again on next use; after a failure, the file may have been replaced."""
        with self._lock:
            self._context = None
