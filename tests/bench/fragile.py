"""Subjects that break, each in a way of its own, at an input that holds a ``b``."""

from __future__ import annotations

import os
import signal
import threading
import time


class Sturdy:
    """Bears everything."""

    separator = b""

    def __init__(self) -> None:
        self.seeds = [b"a", b"aaa"]
        self.words = (b"b",)

    def take(self, data: bytes) -> str:
        """Look for it."""
        if b"b" in data:
            self.end()
        return str(len(data))

    def end(self) -> None:
        """Nothing happens."""

    def close(self) -> None:
        """Nothing to end."""


class Raising(Sturdy):
    """Raises what nobody has documented."""

    def end(self) -> None:
        """As a bug does."""
        raise KeyError("b")


class Leaving(Sturdy):
    """Takes the process with it, and says nothing."""

    def end(self) -> None:
        """No handler hears of it."""
        os._exit(3)


class Crashing(Sturdy):
    """Reads memory that is not its own."""

    def end(self) -> None:
        """As code in C does."""
        signal.raise_signal(signal.SIGSEGV)


class Endless(Sturdy):
    """Never ends."""

    def end(self) -> None:
        """Wait for what does not come."""
        threading.Event().wait()


class Slow(Sturdy):
    """Computes for longer than it may."""

    def end(self) -> None:
        """2.2 s of CPU."""
        begun = time.process_time()
        while time.process_time() < begun + 2.2:
            pass


class Greedy(Sturdy):
    """Takes more memory than one input may."""

    def end(self) -> None:
        """128 MiB, and touched; given back before the input ends."""
        bytearray(b"x") * (128 * 1024**2)


class Leaking(Sturdy):
    """Takes more memory than all inputs may."""

    def end(self) -> None:
        """40 MiB each time, and touched."""
        self.seeds.append(b"x" * (40 * 1024**2))
