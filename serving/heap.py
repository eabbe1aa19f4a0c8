"""Memory that was freed, given back to the system.

glibc keeps most of what is freed, in a heap for each thread, and large requests leave holes in all of them: a worker
would stay as large as the requests that met in it at the worst moment, and grow beyond what they may take together,
since what one thread has freed another cannot have. So it is given back every few seconds, and before large requests
take more than so much: looking through the heaps takes a fraction of a millisecond, and the pages that are needed again
cost little then.
"""

import ctypes
import threading
import time

SECONDS = 5.0
"""How often it is done."""

TAKEN_BYTES = 32 * 1024 * 1024
"""It is done as well when requests have taken so much since the last time."""

_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3
"""As in malloc.h."""
_MMAP_BYTES = 32 * 1024 * 1024

_libc = ctypes.CDLL(None)
_lock = threading.Lock()
_taken = 0


def give_back() -> None:
    """Give freed memory back now; nothing where the C library has no way to."""
    if hasattr(_libc, "malloc_trim"):
        _libc.malloc_trim(ctypes.c_size_t(0))


def take(size: int) -> None:
    """Say that so many bytes will be taken; called by the thread that will take them, which may give back others."""
    global _taken
    with _lock:
        _taken += size
        if _taken < TAKEN_BYTES:
            return
        _taken = 0
    give_back()


def keep(size: int) -> None:
    """Have each thread keep no more than so many bytes at the end of its heap, where `give_back` does not reach.

    By itself glibc keeps up to 64 MiB there. To say so fixes also what it takes from the system for itself: what is
    larger than 32 MiB, the most to which it comes by itself.
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
