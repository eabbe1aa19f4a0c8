"""Memory that was freed, given back to the system.

glibc keeps most of what is freed, in a heap for each thread, and large requests leave holes in all of them: a worker
would stay as large as the requests that met in it at the worst moment. Looking through the heaps takes a fraction of a
millisecond, and the pages that are needed again cost little every few seconds.
"""

import ctypes
import threading
import time

SECONDS = 5.0
"""How often it is done."""

_libc = ctypes.CDLL(None)


def give_back() -> None:
    """Give freed memory back now; nothing where the C library has no way to."""
    if hasattr(_libc, "malloc_trim"):
        _libc.malloc_trim(ctypes.c_size_t(0))


def give_back_regularly() -> None:
    """Do so from now on, in a thread that ends with the process."""
    threading.Thread(target=_run, name="heap", daemon=True).start()


def _run() -> None:
    while True:
        time.sleep(SECONDS)
        give_back()
