"""Variables as constants: a copy of what a signature runs, in which nothing can change any more.

Kernels keep constant weights in the layout that they compute in; those of a variable they arrange anew in every run. So
a small convolutional network takes a third less time for one row. The copy takes time and memory, several times that
of the model, so only small models are frozen; and only signatures that change and draw nothing, of models in which no
other signature does.
"""

import logging
import time
from collections.abc import Callable
from pathlib import Path

from serving.capacity import directory_bytes
from serving.models.file_ops import INIT_SIGNATURE
from serving.models.servable import Servable
from serving.models.trial import SLOW_SECONDS, difference, made_up_rows, obstacle_by_looks

log = logging.getLogger(__name__)

VARIABLES = "variables"
"""The directory of a SavedModel that holds their values."""
TOLERANCE = 0.01
"""By how much a row may differ, as a part of what rows that run together may: some units in the last place."""


def freeze(
    servable: Servable,
    signature: str,
    path: Path,
    most_bytes: int,
    clock: Callable[[], float] = time.perf_counter,
) -> None:
    """Freeze a signature of the model at `path`, if that can be done and changes its answers by rounding at most."""
    has_variables = directory_bytes(path / VARIABLES) > 0
    if not has_variables or directory_bytes(path) > most_bytes or not _may_freeze(servable, signature):
        return
    rows = {name: made_up_rows(spec, 1) for name, spec in servable.signatures[signature].inputs.items()}
    started = clock()
    try:
        before = servable.run(signature, rows)
        if clock() - started > SLOW_SECONDS:
            return
        servable.freeze(signature)
        changed = difference(servable.run(signature, rows), [before], TOLERANCE)
    except Exception as error:  # whatever TensorFlow makes of the copy, the model can be served without
        changed = str(error).partition("\n")[0]
    if changed:
        servable.thaw(signature)
        log.debug("signature %s is served with its variables as they are: %s", signature, changed)


def _may_freeze(servable: Servable, signature: str) -> bool:
    if signature not in servable.signatures:
        return False
    natures = dict(servable.natures)
    natures.pop(INIT_SIGNATURE, None)  # which fills tables, if anybody calls it
    changes = any(nature.impure for nature in natures.values())
    its = servable.signatures[signature]
    return not (changes or natures[signature].loops or obstacle_by_looks(its, natures[signature]))
