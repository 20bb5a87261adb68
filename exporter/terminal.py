"""Terminal output of the command line."""

from __future__ import annotations

import sys
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING, NoReturn

import click

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

PATIENCE = 2.0
"""Seconds after which the progress of a round is shown."""


def fail(message: str) -> NoReturn:
    """Print the error and exit with code 1."""
    click.echo(f"dify-exporter: {message}" if "\n" not in message else message, err=True)
    sys.exit(1)


@contextmanager
def show_progress() -> Iterator[Callable[[int, int], None]]:
    """Shows the progress of a round on a terminal if the round takes longer than two seconds."""
    started = time.monotonic()
    terminal = sys.stderr.isatty()
    shown = False

    def show(done: int, targets: int) -> None:
        nonlocal shown
        if terminal and time.monotonic() - started > PATIENCE:
            shown = True
            click.echo(f"\r{done} of {targets} targets polled", nl=False, err=True)

    try:
        yield show
    finally:
        if shown:
            click.echo("\r" + " " * 60 + "\r", nl=False, err=True)
