"""Memory that was freed, given back to the system.

glibc keeps most of what is freed, in a heap for each thread, and large requests leave holes in all of them: a worker
would stay as large as the requests that met in it at the worst moment. Looking through the heaps takes a fraction of a
millisecond, and the pages that are needed again cost little every few seconds. What is free at the end of a heap that
is not the first one's is not found so; of that each heap may keep so much.
"""

import ctypes
import threading
import time

SECONDS = 5.0
"""How often it is done."""

_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3
"""As in malloc.h."""
_MMAP_BYTES = 32 * 1024 * 1024

_libc = ctypes.CDLL(None)


def give_back() -> None:
    """Give freed memory back now; nothing where the C library has no way to."""
    if hasattr(_libc, "malloc_trim"):
        _libc.malloc_trim(ctypes.c_size_t(0))


def keep_at_most(size: int) -> None:
    """Have each heap keep at most so many free bytes at its end, where glibc would come to keep 64 MiB.

    Once told, glibc no longer adapts the size from which on it takes memory from the system instead of a heap: that is
    set to 32 MiB, the most that it would have come to.
    """
    if hasattr(_libc, "mallopt"):
        _libc.mallopt(_M_MMAP_THRESHOLD, _MMAP_BYTES)
        _libc.mallopt(_M_TRIM_THRESHOLD, min(size, 2 * _MMAP_BYTES))


def give_back_regularly() -> None:
    """Do so from now on, in a thread that ends with the process."""
    threading.Thread(target=_run, name="heap", daemon=True).start()


def _run() -> None:
    while True:
        time.sleep(SECONDS)
        give_back()
