"""Lets the C library give memory back that a large answer needed.

glibc raises its limits after the first large block that is freed: from then on up to 64 MiB stay at the top of each
heap, of which there are up to eight a processor (mallopt(3), "Dynamic adjustment of the mmap threshold"). Measured with
answers of 16 MiB now and then, half of the process's memory was nothing but free blocks.
"""

from __future__ import annotations

import ctypes
import os
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Mapping

LARGE: Final = 1024**2
"""Bytes from which a block is mapped alone, and given back when it is freed."""

KEPT: Final = 1024**2
"""Bytes that may stay free at the top of the heap."""

ARENAS: Final = 2

_M_TRIM_THRESHOLD: Final = -1
_M_MMAP_THRESHOLD: Final = -3
_M_ARENA_MAX: Final = -8
"""Parameters in <malloc.h> of glibc."""


def give_back(environ: Mapping[str, str] = os.environ) -> bool:
    """Set the limits, before there are threads. False where it is not glibc, or the environment has limits of its own.

    ``environ``: MALLOC_* and GLIBC_TUNABLES are the operator's word.
    """
    if any(name.startswith("MALLOC_") or name == "GLIBC_TUNABLES" for name in environ):
        return False
    try:
        library = ctypes.CDLL(None)
        library.gnu_get_libc_version  # noqa: B018 musl has a mallopt, too, that does nothing
        mallopt = library.mallopt
    except (AttributeError, OSError):
        return False
    settings = ((_M_MMAP_THRESHOLD, LARGE), (_M_TRIM_THRESHOLD, KEPT), (_M_ARENA_MAX, ARENAS))
    return all(mallopt(parameter, value) for parameter, value in settings)
