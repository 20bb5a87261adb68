"""What the command line shows a person."""

from __future__ import annotations

import sys
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING, NoReturn

import click

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

PATIENCE = 2.0
"""Seconds after which a round shows how far it is."""


def fail(message: str) -> NoReturn:
    """Say what is wrong and end with exit code 1."""
    click.echo(f"dify-exporter: {message}" if "\n" not in message else message, err=True)
    sys.exit(1)


@contextmanager
def show_progress() -> Iterator[Callable[[int, int], None]]:
    """Shows on a terminal how far a round is, when it takes longer than two seconds."""
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
