"""How the workers of one server take over from each other, in memory that all of them share.

At a reload the parent starts new workers and tells the old ones to stop at once, long before the new have loaded their
models. An old worker that knows that it is being replaced serves on until one of the new takes connections.
"""

import mmap

_shared = memoryview(mmap.mmap(-1, 24)).cast("q")
_RELOADS, _SERVING, _STOPPING = range(3)


def begin() -> None:
    """Note a reload; called in the parent, before it starts the workers that replace the others."""
    _shared[_RELOADS] += 1
    _shared[_STOPPING] = 0


def current() -> int:
    """The generation of a worker that is started now."""
    return _shared[_RELOADS]


def serves(generation: int) -> None:
    """Note that a worker of a generation takes connections."""
    _shared[_SERVING] = max(_shared[_SERVING], generation)


def stops(generation: int) -> bool:
    """Note that a worker is told to stop; whether the server stops, and not only this worker makes room for another."""
    if generation == current():
        _shared[_STOPPING] = 1
    return bool(_shared[_STOPPING])


def is_replaced(generation: int) -> bool:
    """Whether a worker of a later generation takes connections."""
    return _shared[_SERVING] > generation
