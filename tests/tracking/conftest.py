"""Fixtures of the tracking tests."""

from __future__ import annotations

import pytest

from tests.polling.fake_server import PollerHarness


@pytest.fixture
def harness() -> PollerHarness:
    """A poller with default intervals."""
    return PollerHarness()
