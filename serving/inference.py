"""What every way in shares: find a model, look at it, run it.

The protocols (v1, v2) and the command line translate to and from these calls; nothing here knows HTTP or JSON.
"""

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

from serving import metrics
from serving.caller import PATIENT, Caller
from serving.errors import InvalidArgument, NotFound, PermissionDenied, Unavailable
from serving.models.control import ModelControl
from serving.models.examples import serialize_examples
from serving.models.lifecycle import Handle, State, Statuses, VersionStatus
from serving.models.manager import ModelManager
from serving.models.signature import DEFAULT_SIGNATURE, Signature
from serving.models.statistics import Statistics, Totals, row_count
from serving.tensors.decode import MAX_RANK
from serving.tensors.examples import Example
from serving.tensors.spec import DTYPES, Array, shape_text

CLASSIFY_OUTPUTS = ("classes", "scores")
_PROTOS = {dtype.numpy: dtype.proto for dtype in DTYPES.values()}


class Board(Protocol):
    """Where the statuses of all workers can be read."""

    def read(self) -> Statuses: ...

    def workers(self) -> list[Statuses]: ...


@dataclass(frozen=True)
class ModelChoice:
    """Which version of a model a request names: a number, a label, or, with neither, the latest."""

    name: str
    version: int | None = None
    label: str | None = None


def _everything(model: str) -> bool:
    return True


class Inference:
    """Runs, describes and controls models: no protocol reaches a model past this. May be used by several threads.

    `sees` says of a model's name whether it exists for the caller of the request in hand; here, below every protocol,
    so that no path to a model goes round it.
    """

    def __init__(
        self,
        manager: ModelManager,
        board: Board,
        timeout_seconds: float,
        statistics: Statistics | None = None,
        control: ModelControl | None = None,
        sees: Callable[[str], bool] | None = None,
        max_rank: int = MAX_RANK,
    ) -> None:
        """Without `control` models cannot be loaded or unloaded. Inputs may have up to `max_rank` dimensions."""
        self._manager = manager
        self._board = board
        self._timeout_seconds = timeout_seconds
        self._statistics = statistics or Statistics(None, 0)
        self._control = control
        self._sees = sees or _everything
        self._max_rank = max_rank
        self._leaving = ""

    def leave(self, reason: str) -> None:
        """Be ready no more, since this process is about to end."""
        self._leaving = reason

    def borrow(self, choice: ModelChoice) -> Handle:
        """Borrow the version that a request names; NotFound, or InvalidArgument for an unknown label."""
        hidden = not self._sees(choice.name)
        return self._manager.borrow(choice.name, choice.version, choice.label, self._timeout_seconds, hidden)

    def knows(self, name: str) -> bool:
        """Whether there is a model of that name, for whomever."""
        return self._manager.knows(name)

    def answers_in_loop(self, name: str, body_bytes: int) -> bool:
        """Whether a request of so many bytes to a model may be answered in an event loop."""
        return self._manager.answers_in_loop(name, body_bytes)

    def runs_in_loop(self, name: str) -> bool:
        """Whether a model is so quick that the event loop runs it itself."""
        return self._manager.runs_in_loop(name)

    def run(
        self, handle: Handle, signature: Signature, inputs: Mapping[str, Array], caller: Caller = PATIENT
    ) -> dict[str, Array]:
        """Run a signature on one tensor for each of its inputs; one tensor for each of its outputs."""
        _check_rank(inputs, self._max_rank)
        run_seconds, rows = metrics.run_metrics(handle.model, handle.version)
        counters = self._statistics.of(handle.model, handle.version)
        started = time.perf_counter_ns()
        try:
            outputs = handle.servable.run(signature.name, inputs, caller)
        except Exception:
            counters.failed(time.perf_counter_ns() - started)
            raise
        ns, row_number = time.perf_counter_ns() - started, row_count(inputs)
        counters.ran(row_number, ns)
        metrics.note(run_seconds, ns / 1e9)
        metrics.note(rows, row_number)
        return outputs

    def note_conversion(self, handle: Handle, input_ns: int, output_ns: int) -> None:
        """Count the time that it took to read the tensors of a request that succeeded, and to write the answer's."""
        self._statistics.of(handle.model, handle.version).converted(input_ns, output_ns)

    def statistics(self, model: str, version: int) -> Totals:
        """What requests to a model version have cost so far, in all workers."""
        return self._statistics.read(model, version)

    def classify(
        self, handle: Handle, signature: Signature, examples: list[Example], caller: Caller = PATIENT
    ) -> tuple[Array | None, Array | None]:
        """Class labels [b, k] of string and scores [b, k] of float32 for b examples; what the model lacks is None."""
        outputs = self._run_examples(handle, signature, examples, caller)
        classes, scores = (outputs.get(name) for name in CLASSIFY_OUTPUTS)
        if classes is not None:
            _check_matrix(classes, len(examples), "classes", "DT_STRING")
        if scores is not None:
            _check_matrix(scores, len(examples), "scores", "DT_FLOAT")
        if classes is not None and scores is not None and classes.shape != scores.shape:
            raise InvalidArgument(
                f"Tensors class and score should match in dim_size(1). Got {classes.shape[1]} vs. {scores.shape[1]}"
            )
        return classes, scores

    def regress(self, handle: Handle, signature: Signature, examples: list[Example], caller: Caller = PATIENT) -> Array:
        """One float32 value for each of b examples, as [b]."""
        outputs = self._run_examples(handle, signature, examples, caller)["outputs"]
        if not (outputs.ndim == 1 or (outputs.ndim == 2 and outputs.shape[1] == 1)):
            raise InvalidArgument(
                "Expected output Tensor shape to be either [batch_size] or [batch_size, 1] "
                f"but got {shape_text(outputs.shape)}"
            )
        if len(outputs) != len(examples):
            raise InvalidArgument(
                f"Input batch size did not match output batch size: {len(examples)} vs. {len(outputs)}"
            )
        if _proto(outputs) != "DT_FLOAT":
            raise InvalidArgument(f"Expected output Tensor of DT_FLOAT.  Got: {_proto(outputs)}")
        return outputs.reshape(-1)

    def _run_examples(
        self, handle: Handle, signature: Signature, examples: list[Example], caller: Caller
    ) -> dict[str, Array]:
        return self.run(handle, signature, {"inputs": serialize_examples(examples, signature.float_features)}, caller)

    def statuses(self, choice: ModelChoice) -> tuple[VersionStatus, ...]:
        """The versions of a model in all workers, newest first, or the one that the request names."""
        found = self._board.read().get(choice.name, ()) if self._sees(choice.name) else ()
        if not found and choice.version is None:
            raise NotFound(f"Could not find any versions of model {choice.name}")
        version = choice.version
        if choice.label is not None:
            version = self._manager.version_of_label(choice.name, choice.label)
        if version is None:
            return found
        one = tuple(status for status in found if status.version == version)
        if not one:
            raise NotFound(f"Could not find version {version} of model {choice.name}")
        return one

    def available(self, choice: ModelChoice) -> tuple[int, ...]:
        """The versions that every worker has available, newest first, or the one that the request names.

        NotFound for what is not there or was unloaded, Unavailable, with the reason, for what is not loaded yet.
        """
        statuses = self.statuses(choice)
        versions = tuple([status.version for status in statuses if status.state is State.AVAILABLE])
        if not versions and _is_leaving(statuses):
            raise NotFound(f"Model {choice.name} has no available versions: {_reason(statuses)}")
        if not versions:
            raise Unavailable(f"Model {choice.name} is not ready: {_reason(statuses)}")
        return versions

    def all_available(self) -> list[tuple[str, int]]:
        """The name and number of every version that every worker has available."""
        return [
            (name, status.version)
            for name, (statuses, *_) in self.models().items()
            for status in reversed(statuses)
            if status.state is State.AVAILABLE
        ]

    def models(self) -> dict[str, tuple[tuple[VersionStatus, ...], Mapping[str, int], Mapping[str, Any]]]:
        """Every listed model that the caller sees: its versions, newest first, its labels, and how it is batched."""
        return {
            name: (its, self._manager.labels(name), self._manager.batching(name))
            for name, its in sorted(self._board.read().items())
            if self._sees(name)
        }

    def image_inputs(self, name: str) -> Mapping[str, Mapping[str, Any]]:
        """How pictures become the input of each version of a model that takes any, as JSON; the caller sees it."""
        return self._manager.image_inputs(name)

    @property
    def is_controlled(self) -> bool:
        """Whether models may be loaded and unloaded."""
        return self._control is not None

    def unloaded(self) -> dict[str, list[int]]:
        """The versions on disk, highest first, of each model that is unloaded by hand."""
        unloaded = {} if self._control is None else self._control.unloaded()
        return {name: versions for name, versions in unloaded.items() if self._sees(name)}

    def load(self, model: str) -> None:
        """Have every worker look at a model anew and serve it; PermissionDenied where models are not controlled."""
        self._controlled(model).load(model)

    def unload(self, model: str) -> None:
        """Have every worker serve a model no more; PermissionDenied where models are not controlled."""
        self._controlled(model).unload(model)

    def _controlled(self, model: str) -> ModelControl:
        if self._control is None:
            raise PermissionDenied(
                "Models cannot be loaded and unloaded here: the server runs without SERVING_ALLOW_MODEL_CONTROL=true"
            )
        if not self._sees(model):
            raise NotFound(f"Model {model} is not found")
        return self._control

    def unready(self) -> dict[str, str]:
        """Why the server is not ready: a reason by the name of each model that some worker cannot answer for.

        A worker that lists a model needs any one available version of it, whatever its other versions are at. A model
        in quarantine is no reason: were one request that ends workers to make every server unready, it would end all.
        """
        if self._leaving:
            return {"": self._leaving}
        if not self._manager.wait_until_settled(0):
            return {"": "the models are still being loaded"}
        workers = self._board.workers()
        if not any(workers):
            return {"": "no model was found"}
        reasons = {
            name: _reason(its)
            for statuses in workers
            for name, its in sorted(statuses.items())
            if not _has_available(its) and not (its and (_is_leaving(its) or _is_quarantined(its)))
        }
        shown = {name: reason for name, reason in reasons.items() if self._sees(name)}
        return shown if len(shown) == len(reasons) else shown | {"": "a model is not available"}


def find_signature(handle: Handle, name: str) -> Signature | None:
    """A signature by name, "" for the default one; None when the model has no such signature."""
    found: Signature | None = handle.servable.signatures.get(name or DEFAULT_SIGNATURE)
    return found


def check_classify(signature: Signature) -> None:
    """Refuse a signature that cannot classify: one input called `inputs`; `classes` and/or `scores` as outputs."""
    _check_example_input(signature, "classification")
    if len(signature.outputs) not in (1, 2):
        raise InvalidArgument(f"Expected one or two output Tensors, found {len(signature.outputs)}")
    if not any(name in signature.outputs for name in CLASSIFY_OUTPUTS):
        raise InvalidArgument(
            'Expected classification signature outputs to contain at least one of "classes" or "scores". '
            f"Signature was: {signature.definition}"
        )


def check_regress(signature: Signature) -> None:
    """Refuse a signature that cannot regress: one input called `inputs`, one output called `outputs`."""
    _check_example_input(signature, "regression")
    if len(signature.outputs) != 1:
        raise InvalidArgument("Expected one output Tensor.")
    if "outputs" not in signature.outputs:
        raise InvalidArgument(f"No regression outputs found in SignatureDef: {signature.definition}")


def _check_example_input(signature: Signature, what: str) -> None:
    if len(signature.inputs) != 1:
        raise InvalidArgument("Expected one input Tensor.")
    if "inputs" not in signature.inputs:
        raise InvalidArgument(f"No {what} inputs found in SignatureDef: {signature.definition}")


def _check_rank(inputs: Mapping[str, Array], most: int) -> None:
    for name, array in inputs.items():
        if array.ndim > most:
            raise InvalidArgument(
                f'input "{name}" has {array.ndim} dimensions, more than the {most} that SERVING_MAX_RANK allows'
            )


def _check_matrix(array: Array, rows: int, name: str, proto: str) -> None:
    if array.ndim != 2:
        raise InvalidArgument(f"Expected Tensor shape: [batch_size num_classes] but got {shape_text(array.shape)}")
    if _proto(array) != proto:
        raise InvalidArgument(f"Expected {name} Tensor of {proto}. Got: {_proto(array)}")
    if len(array) != rows:
        raise InvalidArgument(f"Expected {name} output batch size of {rows}. Got: {len(array)}")


def _proto(array: Array) -> str:
    """The DataType of what a model really answered, which need not be what its signature declares."""
    return _PROTOS.get(array.dtype, f"DT_{array.dtype.name.upper()}")


def _is_leaving(statuses: tuple[VersionStatus, ...]) -> bool:
    """Whether a model is being taken out of service, or has been."""
    return all(status.state in (State.UNLOADING, State.END) and not status.failed for status in statuses)


def _has_available(statuses: tuple[VersionStatus, ...]) -> bool:
    return any(status.state is State.AVAILABLE for status in statuses)


def _is_quarantined(statuses: tuple[VersionStatus, ...]) -> bool:
    return any(status.quarantined for status in statuses)


def _reason(statuses: tuple[VersionStatus, ...]) -> str:
    """Why a model has no available version, in a sentence."""
    if not statuses:
        return "no version was found"
    newest = statuses[0]
    return f"version {newest.version} is {newest.state}" + (f": {newest.error_message}" if newest.failed else "")
