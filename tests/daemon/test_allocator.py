"""Memory that a large answer needed is returned to the system."""

from __future__ import annotations

import ctypes
import os
import platform
import subprocess
import sys
from typing import Any

import pytest

from exporter.daemon import allocator

PROGRAM = """
import os, threading
from exporter.daemon import allocator

def resident():
    return int(open("/proc/self/statm").read().split()[1]) * os.sysconf("SC_PAGE_SIZE")

def answer():
    # A body of 16 MiB as the client reads it; then something small that lives on.
    for _ in range(10):
        body = bytearray()
        for _ in range(256):
            body += bytes(65_536)
        bytes(body)
        small_objects.append(bytes(1_000))

small_objects = []
if {limited}:
    assert allocator.limit_retained_memory({{}})
before = resident()
threads = [threading.Thread(target=answer) for _ in range(4)]
[thread.start() for thread in threads]
[thread.join() for thread in threads]
print(resident() - before)
"""


def growth(*, limited: bool) -> int:
    """The bytes by which a process grows that reads large answers in four threads."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("MALLOC_")}
    program = (sys.executable, "-c", PROGRAM.format(limited=limited))
    done = subprocess.run(program, capture_output=True, text=True, check=True, env=environment)
    return int(done.stdout)


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="requires glibc")
def test_memory_of_large_answers_is_returned() -> None:
    """The process grows by a few MiB at most; with the C library's defaults it grows by many times as much."""
    assert growth(limited=True) < 6 * 1024**2 < growth(limited=False)


@pytest.mark.parametrize("name", ["MALLOC_ARENA_MAX", "MALLOC_TRIM_THRESHOLD_", "GLIBC_TUNABLES"])
def test_settings_of_the_environment_take_precedence(name: str) -> None:
    """Allocator limits set in the environment are not overridden."""
    assert not allocator.limit_retained_memory({name: "1"})


def test_other_c_libraries_are_not_configured(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing is set with musl, which has no such limits."""

    class Other:
        def mallopt(self, *_: int) -> int:
            raise AssertionError("not to be called")

    def other(_name: Any) -> Other:
        return Other()

    monkeypatch.setattr(ctypes, "CDLL", other)
    assert not allocator.limit_retained_memory({})
