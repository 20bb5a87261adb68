"""Password hashes, the values next to them, and private keys are never shown."""

from __future__ import annotations

import textwrap
from typing import TYPE_CHECKING

import pytest

from exporter.yamlconf import ConfigError

if TYPE_CHECKING:
    from tests.web.authority import Certificate
    from tests.web.conftest import LoadWebConfig

HASH = "$2y$04$0EmpVwoRsYiHhFf9CnFd9e5i0UiR3eJqcLtBPxBqYpXYAHlc2Hk0O"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (
            f"basic_auth_users:\n  {HASH}: alice",
            ":2: basic_auth_users.'…': a bcrypt hash is used as a user name: write name: hash",
        ),
        (f"basic_auth_users: {{{HASH}: {HASH}}}", ":1: basic_auth_users.'…': a bcrypt hash is used as a user"),
        (f"basic_auth_users: {{'{HASH}: alice': }}", ":1: basic_auth_users.'…': has no value: give it one or"),
        (f"basic_auth_users: {{{HASH}: 'x${{NOT_SET}}alice'}}", ":1: basic_auth_users.'…': needs the environment"),
        (f"basic_auth_users: {{{HASH}: [alice]}}", ":1: basic_auth_users.'…': is a list: write one value"),
        (f"basic_auth_users: {{a: {HASH}, {HASH}: b, {HASH}: b}}", ":1: basic_auth_users.'…': duplicates the key"),
        (f"basic_auth_users: {{{HASH.replace('$', '$$')}: alice}}", ":1: basic_auth_users.'…': a bcrypt hash is used"),
        (f"basic_auth_users: {{{HASH[1:]}: alice}}", ":1: basic_auth_users.'…': a bcrypt hash is used as"),
        (f"{HASH}: alice", ":1: unknown key '…'; the keys here are tls_server_config, "),
        (f"tls_server_config: {{{HASH}: alice}}", ":1: tls_server_config: unknown key '…'; the keys here are "),
        (f"rate_limit: {{{HASH}: [alice]}}", ":1: rate_limit.'…': is a list: write one value"),
        (f"tls_server_config: {{min_version: {HASH}}}", ":1: tls_server_config.min_version: '…' must be one of"),
        (f"tls_server_config: {{cert_file: {HASH}}}", ":1: tls_server_config.cert_file: '…' names a file that"),
        (
            f"http_server_config: {{headers: {{X-Frame-Options: {HASH}}}}}",
            ":1: http_server_config.headers.X-Frame-Options: '…' must be deny or sameorigin",
        ),
    ],
)
def test_misplaced_hash_is_not_shown(load_web_config: LoadWebConfig, text: str, expected: str) -> None:
    """A hash in the wrong place, such as a user name, appears in no part of an error; neither does its value."""
    with pytest.raises(ConfigError) as caught:
        load_web_config(text)
    message = str(caught.value)

    assert f"web.yml{expected}" in message
    assert HASH[-9:] not in message
    assert "alice" not in message


def test_hashes_are_not_shown(load_web_config: LoadWebConfig) -> None:
    """The representation of the settings in a log or a traceback contains no hash."""
    found = load_web_config(f"basic_auth_users: {{alice: {HASH}}}")

    assert HASH not in repr(found.settings)


@pytest.mark.parametrize("key", ["cert_file", "key_file", "client_ca_file", "min_version"])
def test_pasted_private_key_is_not_shown(load_web_config: LoadWebConfig, localhost: Certificate, key: str) -> None:
    """A key used in place of a file name is masked, whichever line of it a message would begin with."""
    pem = localhost.key.read_text()
    for pasted in (pem, "\n" + pem):
        with pytest.raises(ConfigError) as caught:
            load_web_config(f"tls_server_config:\n  {key}: |2\n{textwrap.indent(pasted, '    ')}")
        message = str(caught.value)

        assert f"web.yml:2: tls_server_config.{key}: '…'" in message
        assert not [line for line in pem.splitlines() if line in message]
