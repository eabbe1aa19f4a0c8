"""Freezing: the same answers from constants as from variables, and only where nothing can change."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from serving.models.frozen import freeze
from serving.models.nature import Nature
from serving.models.runtime import Device, session_config
from serving.models.servable import Servable
from serving.models.signature import DEFAULT_SIGNATURE, Signature
from serving.models.trial import difference, made_up_rows
from serving.tensors.spec import Array, TensorSpec
from tests import saved_models
from tests.saved_models import Shelf

CONFIG = session_config(Device(None, "CPU"), threads=1)
PURE = Nature(impure="", loops=False)
ENOUGH = 1 << 20


@pytest.fixture(scope="module")
def shelf(tmp_path_factory: pytest.TempPathFactory) -> Shelf:
    return Shelf(tmp_path_factory.mktemp("models"))


class Recorded:
    """A servable that notes how it is wired, and whose answers freezing may change."""

    def __init__(self, natures: Mapping[str, Nature], shift: float = 0.0) -> None:
        its = {"x": TensorSpec("x", "DT_FLOAT", (None, 2))}
        self.signatures = {name: Signature(name, its, its, "") for name in natures}
        self.natures = natures
        self.frozen = False
        self._shift = shift

    def run(self, signature: str, inputs: Mapping[str, Array]) -> dict[str, Array]:
        return {"x": inputs["x"] + self._shift * self.frozen}

    def freeze(self, signature: str) -> None:
        self.frozen = True

    def thaw(self, signature: str) -> None:
        self.frozen = False


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """A model with 100 bytes of variables."""
    (tmp_path / "variables").mkdir()
    (tmp_path / "variables" / "data").write_bytes(b"v" * 100)
    return tmp_path


def is_frozen(servable: Any, path: Path, most_bytes: int = ENOUGH) -> bool:
    freeze(servable, DEFAULT_SIGNATURE, path, most_bytes)
    return bool(servable.frozen)


def test_a_pure_signature_is_frozen(path: Path) -> None:
    assert is_frozen(Recorded({DEFAULT_SIGNATURE: PURE}), path)


@pytest.mark.parametrize("shift", [1e-5, 0.01])
def test_a_copy_with_other_answers_than_by_rounding_is_not_used(path: Path, shift: float) -> None:
    assert not is_frozen(Recorded({DEFAULT_SIGNATURE: PURE}, shift), path)
    assert is_frozen(Recorded({DEFAULT_SIGNATURE: PURE}, 1e-7), path)


@pytest.mark.parametrize(("most_bytes", "frozen"), [(99, False), (100, True), (101, True), (0, False)])
def test_only_so_many_bytes_of_variables_are_frozen(path: Path, most_bytes: int, frozen: bool) -> None:
    assert is_frozen(Recorded({DEFAULT_SIGNATURE: PURE}), path, most_bytes) is frozen


def test_constants_count_too_since_they_are_copied_as_well(path: Path) -> None:
    (path / "saved_model.pb").write_bytes(b"c" * 1000)
    assert not is_frozen(Recorded({DEFAULT_SIGNATURE: PURE}), path, most_bytes=1099)


def test_a_model_of_which_a_row_takes_long_stays_as_it_is(path: Path) -> None:
    servable, looks = Recorded({DEFAULT_SIGNATURE: PURE}), iter([0.0, 0.31])
    freeze(servable, DEFAULT_SIGNATURE, path, ENOUGH, looks.__next__)  # type: ignore[arg-type]
    assert not servable.frozen


def test_a_model_without_variables_stays_as_it_is(tmp_path: Path) -> None:
    assert not is_frozen(Recorded({DEFAULT_SIGNATURE: PURE}), tmp_path)


@pytest.mark.parametrize(
    "natures",
    [
        {DEFAULT_SIGNATURE: Nature("AssignVariableOp", loops=False)},
        {DEFAULT_SIGNATURE: PURE, "train": Nature("AssignVariableOp", loops=False)},
        {DEFAULT_SIGNATURE: Nature("", loops=True)},
        {"other": PURE},
    ],
)
def test_what_may_change_is_not_frozen(path: Path, natures: Mapping[str, Nature]) -> None:
    assert not is_frozen(Recorded(natures), path)


def test_the_signature_that_fills_tables_does_not_count(path: Path) -> None:
    assert is_frozen(Recorded({DEFAULT_SIGNATURE: PURE, "__saved_model_init_op": Nature("Fills", loops=False)}), path)


def test_a_copy_that_fails_is_not_used(path: Path) -> None:
    class Failing(Recorded):
        def freeze(self, signature: str) -> None:
            super().freeze(signature)
            raise ValueError("Gather expects a resource\nand more")

    assert not is_frozen(Failing({DEFAULT_SIGNATURE: PURE}), path)


@pytest.mark.parametrize(
    "factory",
    [
        saved_models.conv,
        saved_models.mlp,
        saved_models.keras3_exported,
        saved_models.keras3_saved,
        saved_models.optimizer_slots,
        saved_models.vocabulary,
        saved_models.several_inputs,
        saved_models.mixture,
    ],
)
def test_a_frozen_model_answers_as_before_and_after(shelf: Shelf, factory: Callable[..., Any]) -> None:
    servable = Servable(shelf(factory), CONFIG, timeout_seconds=30.0)
    inputs = servable.signatures[DEFAULT_SIGNATURE].inputs
    rows = {name: made_up_rows(spec, 1) for name, spec in inputs.items()}
    as_loaded = servable.run(DEFAULT_SIGNATURE, rows)
    servable.freeze(DEFAULT_SIGNATURE)
    frozen = servable.run(DEFAULT_SIGNATURE, rows)
    servable.thaw(DEFAULT_SIGNATURE)
    assert difference(frozen, [as_loaded]) == difference(servable.run(DEFAULT_SIGNATURE, rows), [as_loaded]) == ""
    servable.close()


def test_a_frozen_signature_does_not_see_its_variables_change(shelf: Shelf) -> None:
    """Which shows that it is frozen indeed, and why only what changes nothing may be."""
    servable = Servable(shelf(saved_models.counter), CONFIG, timeout_seconds=30.0)
    before = servable.run("get", {})["count"]
    servable.freeze("get")
    servable.run("increment", {})
    assert servable.run("get", {})["count"] == before
    servable.thaw("get")
    assert servable.run("get", {})["count"] == before + 1
    servable.close()


def test_rows_of_any_number_run_on_constants(shelf: Shelf) -> None:
    servable = Servable(shelf(saved_models.conv), CONFIG, timeout_seconds=30.0)
    spec = servable.signatures[DEFAULT_SIGNATURE].inputs
    rows = {name: made_up_rows(its, 4) for name, its in spec.items()}
    before = servable.run(DEFAULT_SIGNATURE, rows)
    servable.freeze(DEFAULT_SIGNATURE)
    for name, array in servable.run(DEFAULT_SIGNATURE, rows).items():
        np.testing.assert_allclose(array, before[name], rtol=1e-4)
    servable.close()
