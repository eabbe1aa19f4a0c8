"""One loaded SavedModel: its signatures, `run` and `close`.

Loaded into a session of its own and called through the session's callables, as TensorFlow Serving does: that loads
every kind of export (TF1 and TF2, tables, Keras with optimizer slots) and is several times faster than calling a
restored function object.

A signature's callable holds its own copy of the graph's constants and takes from 10 ms to make (5 s for 100 MB of
constants). So the default signature, which most clients call, gets its one at load, any other at its first run.
"""

import threading
from collections.abc import Callable, Collection, Mapping
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from serving import errors
from serving.caller import PATIENT, Caller
from serving.models.failures import check_shapes, clean_message, run_error
from serving.models.nature import Nature, natures
from serving.models.runtime import tf
from serving.models.signature import DEFAULT_SIGNATURE, Signature, read_signatures, signature_metadata
from serving.models.wiring import NEVER_STOPPED, Call, Wiring
from serving.tensors.spec import Array

LATE_SECONDS = 0.5
"""How long after its caller's time is over a run may be stopped by its signature's own time-out."""
SHORTEST_SECONDS = 0.001


class Servable:
    """One loaded SavedModel. `run` may be called by several threads at once; `close` only when none does."""

    def __init__(self, path: Path, config: Any, timeout_seconds: float) -> None:
        """Load the SavedModel at `path` into a session with the ConfigProto `config`.

        A run that takes longer than `timeout_seconds` is stopped. Raises whatever TensorFlow raises for a model that
        cannot be loaded; a signature that cannot be run is no reason, running it says why.
        """
        self._timeout_seconds = timeout_seconds
        self._making = threading.Lock()
        self._callables: dict[str, Call] = {}
        self._in_callers_thread: set[str] = set()
        self._tried_here: dict[str, Call] = {}
        """What trials ran in their own thread, until it is known which signatures go on to do so."""
        self._session = tf.compat.v1.Session(graph=tf.Graph(), config=config)
        try:
            meta_graph = _load(self._session, path)
            definitions = dict(sorted(meta_graph.signature_def.items()))
            self.natures: Mapping[str, Nature] = natures(meta_graph)
            self.signatures: Mapping[str, Signature] = read_signatures(meta_graph)
            self.metadata: Mapping[str, Any] = {
                name: signature_metadata(definition) for name, definition in definitions.items()
            }
            self._own_wirings: Mapping[str, Wiring] = {
                name: Wiring.of(definition) for name, definition in definitions.items()
            }
            self._wirings = dict(self._own_wirings)
            if DEFAULT_SIGNATURE in definitions:
                with suppress(errors.FailedPrecondition):
                    self._make(DEFAULT_SIGNATURE)
        except BaseException:
            self._session.close()
            raise

    def run(self, signature: str, inputs: Mapping[str, Array], caller: Caller = PATIENT) -> dict[str, Array]:
        """Run a signature on one tensor for each of its inputs, of any shape; one tensor for each of its outputs.

        Raises a ServingError with what TensorFlow said, cleaned, and with the inputs whose shape is not the stated one.
        A graph with loops is stopped when the caller's time is over.
        """
        call = self._callables.get(signature) or self._make(signature)
        seconds = self._timeout_seconds
        left = caller.seconds_left()
        if left < seconds - LATE_SECONDS and self.natures[signature].loops:
            seconds = max(left, SHORTEST_SECONDS)
            call = self._wirings[signature].stopped_after(self._session, seconds)
        return self._run(signature, call, seconds, inputs)

    def run_in_callers_thread(self, signatures: Collection[str]) -> None:
        """Run these signatures, and no others, in the thread that calls `run`: no hand-over to another and back.

        TensorFlow then cannot stop a run that takes too long, so this is only for what is known to be quick.
        """
        with self._making:
            for name in self._in_callers_thread - set(signatures):
                del self._callables[name]  # made anew, with the time-out, when it is run again
            for name in signatures:
                self._callables[name] = self._tried_here.get(name) or self._make_here(name)
            self._in_callers_thread = set(signatures)
            self._tried_here.clear()

    def freeze(self, signature: str) -> None:
        """Run a signature, before any request does, on a copy of its graph in which variables are constants.

        Raises whatever TensorFlow raises where it cannot make one.
        """
        self._rewire(signature, self._own_wirings[signature].frozen(self._session))

    def thaw(self, signature: str) -> None:
        """Run a signature on its own graph again."""
        self._rewire(signature, self._own_wirings[signature])

    def _rewire(self, signature: str, wiring: Wiring) -> None:
        with self._making:
            self._wirings[signature] = wiring
            self._callables.pop(signature, None)

    def runner(self, signature: str, timeout_seconds: float) -> Callable[[Mapping[str, Array]], dict[str, Array]]:
        """A function that runs a signature with a time-out of its own; what it needs goes when it does."""
        call = self._wirings[signature].tie(self._session, timeout_seconds)
        return partial(self._run, signature, call, timeout_seconds)

    def runner_here(self, signature: str) -> Callable[[Mapping[str, Array]], dict[str, Array]]:
        """A function that runs a signature as `run_in_callers_thread` will have it run, which keeps what this needs."""
        call = self._tried_here[signature] = self._make_here(signature)
        return partial(self._run, signature, call, NEVER_STOPPED)

    def _make_here(self, signature: str) -> Call:
        return self._wirings[signature].tie(self._session, NEVER_STOPPED)

    def _run(self, signature: str, call: Call, timeout_seconds: float, inputs: Mapping[str, Array]) -> dict[str, Array]:
        wiring = self._wirings[signature]
        if self.natures[signature].spatial:
            check_shapes(self.signatures[signature], inputs)
        fed = [inputs[name] for name in wiring.inputs]
        try:
            values = [*call(*fed), *fed]
        except tf.errors.OpError as error:
            raise run_error(error, self.signatures[signature], timeout_seconds, inputs) from None
        return {name: _as_array(values[place]) for name, place in wiring.places.items()}

    def close(self) -> None:
        """Give back the model's memory; what Python holds of the graph goes with the next collection. Twice is safe."""
        self._session.close()

    def _make(self, signature: str) -> Call:
        with self._making:  # two callables would take twice the memory
            if signature not in self._callables:
                wiring = self._wirings[signature]
                try:
                    self._callables[signature] = wiring.tie(self._session, self._timeout_seconds)
                except (tf.errors.OpError, KeyError, ValueError) as error:  # such as a tensor that the graph lacks
                    text = f'Signature "{signature}" cannot be run: {clean_message(error)}'
                    raise errors.FailedPrecondition(text) from None
            return self._callables[signature]


def _load(session: Any, path: Path) -> Any:
    """Load the SavedModel at `path` into an empty session; its MetaGraphDef."""
    if not tf.saved_model.contains_saved_model(str(path)):
        raise errors.NotFound("There is neither saved_model.pb nor saved_model.pbtxt in the version's directory")
    with session.graph.as_default():
        meta_graph = tf.compat.v1.saved_model.load(session, ["serve"], str(path))
        if meta_graph.HasField("object_graph_def"):
            _fill_from_copies(session)
    return meta_graph


def _fill_from_copies(session: Any) -> None:
    """Give the variables of a Keras 3 model that `tf.saved_model.save` wrote the values which only copies were given.

    For such a model Keras puts a copy of every variable, made as `tf.Variable(variable)`, in the graph, and the graph
    restores the copies while the signatures read the variables ("Could not find variable dense/kernel"). The assignment
    that makes a copy tells which is which. A filled variable shares the memory of its copy.
    """
    copies = [
        (op.inputs[1].op.inputs[0], op.inputs[0], op.inputs[1].dtype)
        for op in session.graph.get_operations()
        if op.type == "AssignVariableOp" and op.inputs[1].op.type == "ReadVariableOp"
    ]
    if not copies:
        return
    is_set = tf.raw_ops.VarIsInitializedOp
    known = session.run([(is_set(resource=variable), is_set(resource=copy)) for variable, copy, _ in copies])
    session.run(
        [
            tf.raw_ops.AssignVariableOp(resource=variable, value=tf.raw_ops.ReadVariableOp(resource=copy, dtype=dtype))
            for (variable, copy, dtype), (variable_set, copy_set) in zip(copies, known, strict=True)
            if copy_set and not variable_set
        ]
    )


def _as_array(value: Any) -> Array:
    """What TensorFlow returned as an array; scalars come as numpy scalars, a scalar string as bytes."""
    return np.array(value, object) if isinstance(value, bytes) else np.asarray(value)
