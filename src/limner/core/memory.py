"""Memory of the CPU that was freed, kept for what comes next."""

import ctypes
import os
import platform
from functools import cache

MMAP_MAX, TRIM_THRESHOLD = -4, -1  # names of mallopt(3)
SAID = ("MALLOC_MMAP_MAX_", "MALLOC_MMAP_THRESHOLD_", "MALLOC_TRIM_THRESHOLD_", "GLIBC_TUNABLES")


@cache
def keep_freed_memory() -> None:
    """From now on this process keeps what it frees.

    glibc gives large blocks back to the system at once and asks for new ones, page by page, for
    the next layer's output: for a batch of 8 pictures of 128 pixels a fifth of the whole time.
    Nothing changes where the user has said in the environment what `malloc` shall do (SAID), nor
    with other C libraries.
    """
    if platform.libc_ver()[0] != "glibc" or any(name in os.environ for name in SAID):
        return
    library = ctypes.CDLL(None)
    library.mallopt(MMAP_MAX, 0)
    library.mallopt(TRIM_THRESHOLD, -1)
