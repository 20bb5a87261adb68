"""What the tests of the chart share."""

from __future__ import annotations

import pytest

from tests.deploy.chart import FULL, Manifest, render, setting


@pytest.fixture(scope="session")
def default() -> list[Manifest]:
    """The objects of the default values."""
    return render(*setting())


@pytest.fixture(scope="session")
def full() -> list[Manifest]:
    """The objects when every value is used."""
    return render("--values", str(FULL))


@pytest.fixture(params=["default", "full"])
def manifests(request: pytest.FixtureRequest) -> list[Manifest]:
    """The objects of either."""
    found: list[Manifest] = request.getfixturevalue(request.param)
    return found
