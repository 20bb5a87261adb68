"""Makes the C library return memory to the system after large answers.

glibc raises its thresholds when the first large block is freed: from then on up to 64 MiB stay at the top of each heap,
and there can be eight heaps per processor (mallopt(3), "Dynamic adjustment of the mmap threshold"). Measured with
occasional answers of 16 MiB, free blocks made up half of the process's memory.
"""

from __future__ import annotations

import ctypes
import os
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Mapping

_SETTINGS: Final = {
    -3: 1024**2,  # M_MMAP_THRESHOLD: larger blocks get mappings, which are returned to the system when they are freed
    -1: 1024**2,  # M_TRIM_THRESHOLD: bytes that may stay free at the top of the heap
    -8: 2,  # M_ARENA_MAX
}
"""Values by parameter, as numbered in glibc's <malloc.h>."""


def limit_retained_memory(environ: Mapping[str, str] = os.environ) -> bool:
    """Set the thresholds; call it before threads start. False without glibc, or if the environment configures malloc.

    ``environ``: settings of the operator (MALLOC_*, GLIBC_TUNABLES) take precedence.
    """
    if any(name.startswith("MALLOC_") or name == "GLIBC_TUNABLES" for name in environ):
        return False
    try:
        library = ctypes.CDLL(None)
        library.gnu_get_libc_version  # noqa: B018 musl also has mallopt, but there it does nothing
        mallopt = library.mallopt
    except (AttributeError, OSError):
        return False
    return all(mallopt(parameter, value) for parameter, value in _SETTINGS.items())
