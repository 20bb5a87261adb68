"""A secret is revealed only on explicit request."""

from __future__ import annotations

from exporter.config import Config, Secret, ServerConfig

KEY = "dataset-0123456789"


def test_a_secret_has_no_readable_form() -> None:
    """A secret is not readable in its own text form, nor in that of a configuration."""
    secret = Secret(KEY)
    config = Config(servers=(ServerConfig("main", "https://api.dify.ai/v1", secret),))
    assert KEY not in f"{secret} {secret!r} {config} {config!r}"
    assert secret.reveal() == KEY


def test_equal_secrets_are_equal() -> None:
    """A reload detects a changed key, and no change if the key is the same."""
    assert len({Secret(KEY), Secret(KEY), Secret("other")}) == 2
    assert Secret(KEY) != KEY
