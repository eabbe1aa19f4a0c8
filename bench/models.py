"""The models that are served, and rows for them. Nothing here needs TensorFlow: bench/build.py writes the models.

Every model has one output, and rows that are drawn from a seed, so that every server is asked the same.
"""

import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np

from bench.places import BENCH, MODELS, ROOT

Array: TypeAlias = np.ndarray[Any, Any]
Inputs: TypeAlias = dict[str, Array]

TABLE_FLOATS = ("amount", "balance", "limit", "rate", "distance", "speed", "pressure", "ratio", "score", "hours")
TABLE_INTEGERS = ("age", "tenure", "orders", "returns", "logins", "devices")
TABLE_STRINGS = ("country", "currency", "channel", "merchant")
_BUILD = BENCH / "build.py"
_WORDS = ("FR", "DE", "IT", "EUR", "USD", "web", "shop", "phone", "books", "garden", "Größe", "日本")


@dataclass(frozen=True)
class Model:
    """A model by name, and `draw`, which gives its inputs for a number of rows."""

    name: str
    draw: Callable[[np.random.Generator, int], Inputs]
    unit: str = "row"
    """What a request has many of."""

    def inputs(self, rows: int, number: int) -> Inputs:
        """The inputs of request `number`, each with `rows` rows; the same for the same numbers."""
        return self.draw(np.random.default_rng((rows, number)), rows)


def _tiny(random: np.random.Generator, rows: int) -> Inputs:
    return {"x": random.random((rows, 4), np.float32)}


def _conv(random: np.random.Generator, rows: int) -> Inputs:
    return {"image": random.random((rows, 64, 64, 3), np.float32)}


def _large(random: np.random.Generator, rows: int) -> Inputs:
    return {"image": random.random((rows, 224, 224, 3), np.float32)}


def _table(random: np.random.Generator, rows: int) -> Inputs:
    floats = {name: random.uniform(0, 1000, rows).round(2).astype(np.float32) for name in TABLE_FLOATS}
    integers = {name: random.integers(0, 100, rows) for name in TABLE_INTEGERS}
    strings = {name: random.choice(np.array(_WORDS, object), rows) for name in TABLE_STRINGS}
    return floats | integers | strings


def _strings(random: np.random.Generator, rows: int) -> Inputs:
    texts = [" ".join(random.choice(_WORDS, 20)) for _ in range(rows)]
    return {"text": np.array(texts, object)}


def _wide(random: np.random.Generator, rows: int) -> Inputs:
    return {"x": random.random((1, rows), np.float32)}


TINY = Model("tiny", _tiny)  # an MLP, 4-16-3
CONV = Model("conv", _conv)  # three convolutions on 64x64x3, about a millisecond of a core
TABLE = Model("table", _table)  # 20 named scalars
STRINGS = Model("strings", _strings)  # one text of 20 words in, one out
LARGE = Model("large", _large)  # of the size of ResNet-50, on 224x224x3
WIDE = Model("wide", _wide, "number")  # sums one row of as many numbers as asked for: all cost is in the payload
ALL = {model.name: model for model in (TINY, CONV, TABLE, STRINGS, LARGE, WIDE)}


def _modified(path: Path) -> float:
    return path.stat().st_mtime if path.exists() else 0.0


def ensure(names: list[str]) -> Path:
    """Write the models that are missing or older than how they are built; return the directory that holds them all."""
    missing = [name for name in names if _modified(MODELS / name / "1" / "saved_model.pb") < _modified(_BUILD)]
    if missing:
        print(f"writing models: {', '.join(missing)}", flush=True)
        subprocess.run([sys.executable, "-m", "bench.build", *missing], cwd=ROOT, check=True, capture_output=True)
    return MODELS
