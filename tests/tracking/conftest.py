"""Fixtures of the tracking tests."""

from __future__ import annotations

import pytest

from tests.polling.fake_server import Rig


@pytest.fixture
def rig() -> Rig:
    """A poller with default intervals."""
    return Rig()
