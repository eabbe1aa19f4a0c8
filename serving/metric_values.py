"""The values of this worker's metrics, in files that all workers read; values can be taken out of them again.

The files are those of prometheus_client, whose own class for values neither forgets a value nor takes one out of a
file: each version of a model that ever was would stay in memory and among the metrics. The files of a worker have its
number in their names, and one that takes the place of another counts on in them.
"""

import json
import logging
import os
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from prometheus_client.mmap_dict import MmapedDict, mmap_key

log = logging.getLogger(__name__)

FILE_BYTES = 2**20
"""What prometheus_client makes its files of at first: room for some thousands of metrics."""

Labels = Mapping[str, str]

_lock = threading.Lock()
_files: dict[str, MmapedDict] = {}
"""The open files, by the kind of their metrics."""
_directory, _worker = Path(), "parent"


class Value:
    """One number of a metric, as prometheus_client wants them. May be used by several threads at once."""

    _multiprocess = True

    def __init__(
        self,
        typ: str,
        metric_name: str,
        name: str,
        labelnames: Sequence[str],
        labelvalues: Sequence[str],
        help_text: str,
        multiprocess_mode: str = "",
        **_: Any,
    ) -> None:
        self._kind = f"{typ}_{multiprocess_mode}" if typ == "gauge" else typ
        self._key = mmap_key(metric_name, name, list(labelnames), list(labelvalues), help_text)
        with _lock:
            self._value: float = _open(self._kind).read_value(self._key)[0]

    def inc(self, amount: float) -> None:
        with _lock:
            self._write(self._value + amount)

    def set(self, value: float, timestamp: float | None = None) -> None:
        with _lock:
            self._write(value)

    def get(self) -> float:
        return self._value

    def set_exemplar(self, exemplar: object) -> None:
        """Exemplars have no place in the files."""

    def get_exemplar(self) -> None:
        """There are none."""

    def _write(self, value: float) -> None:
        self._value = value
        _open(self._kind).write_value(self._key, value, 0.0)


def count_as(worker: int, directory: Path) -> list[Labels]:
    """Count as the worker of this number from now on, before anything is counted; what is counted already."""
    global _directory, _worker
    for file in files(directory, worker):
        if not is_readable(file):  # the one before was killed while it made the file
            file.unlink()
    _directory, _worker = directory, str(worker)
    with _lock:
        _files.clear()
        for kind in ("counter", "histogram", "gauge_livesum"):
            _reserve(_path(kind))
            _open(kind)
    return [labels_of(key) for file in files(directory, worker) for key in _keys(file)]


def forget(are_gone: Callable[[Labels], bool]) -> None:
    """Take the values with such labels out of the files; whoever holds one must not count with it any more.

    Raises OSError where there is no room for that: then some stay, and it may be tried again.
    """
    with _lock:
        for kind in _files:
            _take_out(kind, are_gone)


def files(directory: Path, worker: int) -> list[Path]:
    """The files of a worker."""
    return list(directory.glob(f"*_{worker}.db"))


def is_readable(file: Path) -> bool:
    """Whether a file is whole, which one is not whose worker was killed while it was made."""
    try:
        for _ in _keys(file):
            pass
    except Exception as error:  # whatever a half-written file makes the reader raise
        log.debug("metric file %s is left out: %s", file.name, error)
        return False
    return True


def labels_of(key: str) -> Labels:
    """The labels in the name that a value has in a file."""
    labels: Labels = json.loads(key)[2]
    return labels


def _keys(file: Path) -> Iterator[str]:
    for key, *_ in MmapedDict.read_all_values_from_file(str(file)):
        yield key


def _path(kind: str) -> Path:
    return _directory / f"{kind}_{_worker}.db"


def _open(kind: str) -> MmapedDict:
    if kind not in _files:
        _files[kind] = MmapedDict(str(_path(kind)))
    return _files[kind]


def _take_out(kind: str, are_gone: Callable[[Labels], bool]) -> None:
    """Replace a file by one without some values; readers have the one or the other."""
    old = _files[kind]
    draft = _path(kind).with_suffix(".new")
    draft.unlink(missing_ok=True)
    _allocate(draft, max(FILE_BYTES, _path(kind).stat().st_size))
    new = MmapedDict(str(draft))
    for key, value, timestamp in old.read_all_values():
        if not are_gone(labels_of(key)):
            new.write_value(key, value, timestamp)
    draft.replace(_path(kind))
    _files[kind] = new
    old.close()


def _reserve(file: Path) -> None:
    """Give a file its place on the disk now, if there is any."""
    try:
        _allocate(file, FILE_BYTES)
    except OSError as error:
        log.error("there may be no room for metrics, and the worker end when it counts: %s", error)


def _allocate(file: Path, size: int) -> None:
    """Give a file so much place on the disk: to count in memory that has none, once the disk is full, is fatal."""
    with file.open("ab") as opened:
        os.posix_fallocate(opened.fileno(), 0, size)
