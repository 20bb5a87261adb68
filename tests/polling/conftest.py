"""Fixtures of the polling tests."""

from __future__ import annotations

import pytest

from tests.polling.fake_server import PollerHarness


@pytest.fixture
def harness() -> PollerHarness:
    """A poller with the default pace."""
    return PollerHarness()
