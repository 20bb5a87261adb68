"""Environment variables with which no request can succeed: found at startup, each with its name and remedy."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from exporter.config import Secret, ServerConfig
from exporter.dify import check_environment
from exporter.yamlconf import ConfigError

if TYPE_CHECKING:
    from pathlib import Path

SERVER = ServerConfig("main", "https://dify.example/v1", Secret("dataset-abc"), discover=True)
PLAIN = ServerConfig("plain", "http://api:5001/v1", Secret("dataset-abc"), discover=True)


@pytest.mark.parametrize("name", ["https_proxy", "HTTPS_PROXY", "ALL_PROXY"])
@pytest.mark.parametrize(
    ("value", "message"),
    [
        ("http://", "is not the URL of a proxy: write it like http://proxy:3128"),
        ("http://user:pa55word@proxy:port", "is not the URL of a proxy"),
        ("http://user:pa55word#1@proxy:3128", "is not the URL of a proxy"),
        ("proxy:3128", "is not the URL of a proxy"),
        ("http://proxy:99999", "is not the URL of a proxy"),
        ("http://[::1", "is not the URL of a proxy"),
        ("ftp://proxy:3128", "is not the URL of a proxy"),
        ('"http://proxy:3128"', "is not the URL of a proxy"),
        ("proxy.example 3128", "is not the URL of a proxy"),
        ("socks5://proxy:1080", "is a SOCKS proxy, which requires the package PySocks: install it, or name an HTTP"),
        ("socks5h://user:pa55word@proxy:1080", "is a SOCKS proxy"),
    ],
)
def test_a_proxy_that_cannot_be_used(monkeypatch: pytest.MonkeyPatch, name: str, value: str, message: str) -> None:
    """The message names the variable, never its password; before, each request failed with an invalid url."""
    monkeypatch.setenv(name, value)
    with pytest.raises(ConfigError) as caught:
        check_environment([SERVER, SERVER])
    [problem] = caught.value.problems
    assert ("environment", name) == (problem.file, problem.path)
    assert problem.message.startswith(message)
    assert "pa55word" not in str(problem)


@pytest.mark.parametrize(
    "value", ["", "proxy.example:3128", "http://proxy:3128", "https://user:p%23@[::1]:3128/", "HTTP://proxy"]
)
def test_a_proxy_that_can_be_used(monkeypatch: pytest.MonkeyPatch, value: str) -> None:
    """Every form that requests accept is accepted, without a connection."""
    monkeypatch.setenv("HTTPS_PROXY", value)
    check_environment([SERVER])


def test_only_variables_that_apply_to_a_server_matter(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A variable for another scheme, a host in NO_PROXY and an unused bundle of authorities prevent nothing."""
    monkeypatch.setenv("HTTPS_PROXY", "http://")
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(tmp_path / "none.pem"))
    check_environment([PLAIN])
    monkeypatch.setenv("NO_PROXY", "dify.example")
    monkeypatch.delenv("REQUESTS_CA_BUNDLE")
    check_environment([SERVER, PLAIN])


@pytest.mark.parametrize("name", ["REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE"])
def test_authorities_that_cannot_be_read(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, name: str) -> None:
    """The message names variable and file."""
    monkeypatch.setenv(name, str(tmp_path / "none.pem"))
    with pytest.raises(ConfigError) as caught:
        check_environment([SERVER])
    expected = f"environment: {name}: cannot read the certificate authorities in {tmp_path}/none.pem: No such file"
    assert str(caught.value).startswith(expected)
    assert str(caught.value).endswith("; correct it, or set ca_file of the server")
