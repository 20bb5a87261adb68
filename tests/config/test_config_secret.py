"""A secret shows itself only to those who ask by name."""

from __future__ import annotations

from exporter.config import Config, Secret, Server

KEY = "dataset-0123456789"


def test_a_secret_has_no_readable_form() -> None:
    """Neither by itself nor within a configuration."""
    secret = Secret(KEY)
    config = Config(servers=(Server("main", "https://api.dify.ai/v1", secret),))
    assert KEY not in f"{secret} {secret!r} {config} {config!r}"
    assert secret.reveal() == KEY


def test_equal_secrets_are_equal() -> None:
    """A reload notices a new key, and none where it stayed."""
    assert len({Secret(KEY), Secret(KEY), Secret("other")}) == 2
    assert Secret(KEY) != KEY
