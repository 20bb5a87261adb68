"""Fixtures of the polling tests."""

from __future__ import annotations

import pytest

from tests.polling.fake_server import Rig


@pytest.fixture
def rig() -> Rig:
    """A poller with the default pace."""
    return Rig()
