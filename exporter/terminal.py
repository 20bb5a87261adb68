"""What commands print: on a terminal nothing acts as a control sequence, and errors are one line."""

from __future__ import annotations

import io
import os
import sys
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Any, NoReturn

import click

from exporter.daemon import flush_log
from exporter.web import ListenError
from exporter.yamlconf import ConfigError

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator


class _Command(click.Command):
    """A command whose ``--help`` reports that it cannot be printed."""

    def make_context(self, *args: Any, **extra: Any) -> click.Context:
        """Parse the arguments."""
        with _standard_output():
            return super().make_context(*args, **extra)


class ReportingGroup(_Command, click.Group):
    """Prints errors in files, addresses and the standard output that the user has given, and exits with code 1."""

    command_class = _Command

    def invoke(self, ctx: click.Context) -> Any:
        """Run the command."""
        if isinstance(sys.stdout, io.TextIOWrapper):
            sys.stdout.reconfigure(errors="backslashreplace")  # a name may have characters that the locale lacks
        try:
            return super().invoke(ctx)
        except (ConfigError, ListenError) as error:
            fail(str(error))


def say(text: str) -> None:
    """Print a line or several to standard output."""
    with _standard_output():
        click.echo(printable(text))


def write(chunks: Iterable[bytes]) -> None:
    """Write bytes to standard output."""
    if sys.stdout is None:
        fail("standard output is closed: nothing can be printed")
    with _standard_output():
        for chunk in chunks:
            sys.stdout.buffer.write(chunk)
        sys.stdout.buffer.flush()


def fail(message: str) -> NoReturn:
    """Print the error after everything that was logged, and exit with code 1."""
    flush_log()
    click.echo(printable(message if "\n" in message else f"dify-exporter: {message}"), err=True)
    sys.exit(1)


def printable(text: str) -> str:
    """``text`` with everything escaped that is not printable, except line breaks: servers choose names and ids."""
    return "".join(c if c.isprintable() or c == "\n" else repr(c)[1:-1] for c in text)


@contextmanager
def _standard_output() -> Iterator[None]:
    """Reports a failure to print. A reader that has ended, such as ``head``, is none."""
    try:
        yield
    except BrokenPipeError:
        raise
    except OSError as error:
        with suppress(OSError, ValueError):  # what remains is discarded: Python would try to print it at its end
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        fail(f"standard output cannot be written ({error.strerror}): the output is incomplete")
