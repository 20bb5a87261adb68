"""Configuration for all tests."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest
from hypothesis import settings

from tests.integration.harness import require
from tests.processes import running

if TYPE_CHECKING:
    from collections.abc import Iterator

# Examples have no deadline: on a busy machine they take longer, and speed is measured by the benchmarks. In CI the
# library's own CI profile applies: the same examples every time.
settings.register_profile("patient", settings.default, deadline=None)
settings.load_profile("patient")


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup(item: pytest.Item) -> None:
    """Look for the programs that a test needs before its first fixture starts anything."""
    for mark in item.iter_markers("needs"):
        require(*mark.args)


@pytest.fixture(scope="session", autouse=True)
def _no_process_is_left() -> Iterator[None]:
    """Whatever tests and fixtures started has ended with them."""
    yield
    # The resource tracker of multiprocessing ends with this process, by design.
    children = [process for process in running() if process.parent == os.getpid()]
    assert [] == [child for child in children if "multiprocessing.resource_tracker" not in child.command]
