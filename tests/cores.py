"""Where servers and clients compute in tests that measure time: each on a core of its own.

So neither takes from the other. On a machine of one core they share it.
"""

import os
from collections.abc import Iterator
from contextlib import contextmanager

from tests.server import gunicorn

_CORES = sorted(os.sched_getaffinity(0))


def gunicorn_on_a_core(application: str = "wsgi:app") -> list[str]:
    """The command of a server that has the first core, and takes the machine for one of a single core."""
    return ["taskset", "--cpu-list", str(_CORES[0]), *gunicorn()[:-1], application]


@contextmanager
def clients_on_another() -> Iterator[None]:
    """Have this thread, and those that it starts meanwhile, compute on the last core."""
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {_CORES[-1]})
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)
