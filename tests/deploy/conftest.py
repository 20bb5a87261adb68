"""Fixtures of the chart tests."""

from __future__ import annotations

import pytest

from tests.deploy.chart import FULL, Manifest, render, setting


@pytest.fixture(scope="session")
def default() -> list[Manifest]:
    """The objects rendered from the default values."""
    return render(*setting())


@pytest.fixture(scope="session")
def full() -> list[Manifest]:
    """The objects rendered with every value set."""
    return render("--values", str(FULL))


@pytest.fixture(params=["default", "full"])
def manifests(request: pytest.FixtureRequest) -> list[Manifest]:
    """The objects of either rendering."""
    found: list[Manifest] = request.getfixturevalue(request.param)
    return found
