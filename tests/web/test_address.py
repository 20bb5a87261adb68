"""Listening sockets."""

from __future__ import annotations

import errno
import socket

import pytest

from exporter.config import ListenAddress
from exporter.web import ListenError
from exporter.web.connections import open_all, open_sockets
from tests.integration.harness import free_port


@pytest.mark.parametrize(
    ("error", "remedy"),
    [
        (OSError(errno.EADDRINUSE, "x"), "address already in use; stop the program"),
        (PermissionError(errno.EACCES, "x"), "permission denied; ports below 1024"),
        (OSError(errno.EADDRNOTAVAIL, "x"), "this machine does not have that address"),
        (OSError(errno.EAFNOSUPPORT, "x"), "this machine does not support that address family"),
        (OSError(errno.EMFILE, "Too many open files"), "too many open files"),
    ],
)
def test_listen_errors_name_the_remedy(monkeypatch: pytest.MonkeyPatch, error: OSError, remedy: str) -> None:
    """An operating system error becomes one line with a remedy."""

    def refuse(*_args: object, **_options: object) -> socket.socket:
        raise error

    monkeypatch.setattr(socket, "create_server", refuse)

    with pytest.raises(ListenError, match=rf"^cannot listen on 127\.0\.0\.1:80: {remedy}[^\n]*$"):
        open_sockets(ListenAddress("127.0.0.1", 80))


def test_address_of_another_machine() -> None:
    """An address that does not belong to this machine is refused."""
    with pytest.raises(ListenError, match="does not have that address"):
        open_sockets(ListenAddress("192.0.2.1", 0))


@pytest.mark.parametrize("host", ["no-such-host.invalid", "a" * 64, "x" * 300 + ".invalid"])
def test_unknown_host(host: str) -> None:
    """A name that does not resolve is refused."""
    with pytest.raises(ListenError, match="host name could not be resolved"):
        open_sockets(ListenAddress(host, 0))


def _named(monkeypatch: pytest.MonkeyPatch, *hosts: str) -> None:
    """Resolve every name to ``hosts``."""

    def resolve(_host: str, port: int, **_options: object) -> list[tuple[object, ...]]:
        return [
            (socket.AF_INET6, 1, 6, "", (host, port, 0, 0)) if ":" in host else (socket.AF_INET, 1, 6, "", (host, port))
            for host in hosts
        ]

    monkeypatch.setattr(socket, "getaddrinfo", resolve)


def test_name_with_several_addresses(monkeypatch: pytest.MonkeyPatch) -> None:
    """All addresses of a name are listened on, with one port; addresses that the machine lacks are skipped."""
    _named(monkeypatch, "192.0.2.1", "127.0.0.1", "127.0.0.1", "127.0.0.2")

    sockets = open_sockets(ListenAddress("name", 0))

    names = [each.getsockname() for each in sockets]
    for each in sockets:
        each.close()
    assert ["127.0.0.1", "127.0.0.2"] == [host for host, _ in names]
    assert 1 == len({port for _, port in names})


def test_name_with_an_address_in_use(monkeypatch: pytest.MonkeyPatch) -> None:
    """If one of a name's addresses is in use, none is listened on."""
    _named(monkeypatch, "127.0.0.1", "127.0.0.2")
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    with socket.create_server(("127.0.0.2", port)):
        with pytest.raises(ListenError, match="already in use"):
            open_sockets(ListenAddress("name", port))

        socket.create_server(("127.0.0.1", port)).close()


def test_several_addresses() -> None:
    """All addresses are listened on, each with a port of its own."""
    opened = open_all([ListenAddress("127.0.0.1", 0), ListenAddress("127.0.0.2", 0)])

    for address, (only,) in opened.items():
        assert (address.host, address.port) == only.getsockname()
        only.close()
    assert ["127.0.0.1", "127.0.0.2"] == [address.host for address in opened]


def test_one_of_several_addresses_is_refused() -> None:
    """If one address cannot be listened on, none is."""
    port = free_port()
    with pytest.raises(ListenError, match=r"cannot listen on 192\.0\.2\.1:0: this machine does not have that address"):
        open_all([ListenAddress("127.0.0.1", port), ListenAddress("192.0.2.1", 0)])

    socket.create_server(("127.0.0.1", port)).close()


def test_overlapping_addresses() -> None:
    """An address that another one of the list includes is not in use by another program."""
    port = free_port()
    with pytest.raises(ListenError, match=rf"127\.0\.0\.1:{port}: address already in use: 0\.0\.0\.0:{port}, which is"):
        open_all([ListenAddress("0.0.0.0", port), ListenAddress("127.0.0.1", port)])  # noqa: S104 - for an instant


def test_all_addresses_without_ipv6(monkeypatch: pytest.MonkeyPatch) -> None:
    """On a machine without IPv6, an empty host means all IPv4 addresses."""
    monkeypatch.setattr(socket, "has_dualstack_ipv6", lambda: False)

    sockets = open_sockets(ListenAddress("", 0))

    assert ["0.0.0.0"] == [each.getsockname()[0] for each in sockets]  # noqa: S104 - on a free port, for an instant
    for each in sockets:
        each.close()
