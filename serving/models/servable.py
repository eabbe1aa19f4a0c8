"""One loaded SavedModel: its signatures, `run` and `close`.

Loaded into a session of its own and called through the session's callables, as TensorFlow Serving does: that loads
every kind of export (TF1 and TF2, tables, Keras with optimizer slots) and is several times faster than calling a
restored function object.

A signature's callable holds its own copy of the graph's constants and takes from 10 ms to make (5 s for 100 MB of
constants). So the default signature, which most clients call, gets its one at load, any other at its first run.
"""

import math
import re
import threading
from collections.abc import Callable, Collection, Mapping
from contextlib import suppress
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from google.protobuf import json_format
from tensorflow.core.framework import types_pb2
from tensorflow.core.protobuf import config_pb2, error_codes_pb2

from serving import errors
from serving.caller import PATIENT, TIMED_OUT, Caller
from serving.models.features import Features, float_features, parsed_features
from serving.models.nature import Nature, natures
from serving.models.runtime import tf
from serving.tensors.spec import Array, TensorSpec, shape_text

DEFAULT_SIGNATURE = "serving_default"

LATE_SECONDS = 0.5
"""How long after its caller's time is over a run may be stopped by its signature's own time-out."""
SHORTEST_SECONDS = 0.001

_ERRORS: dict[int, type[errors.ServingError]] = {
    tf.errors.CANCELLED: errors.Cancelled,
    tf.errors.INVALID_ARGUMENT: errors.InvalidArgument,
    tf.errors.NOT_FOUND: errors.NotFound,
    tf.errors.FAILED_PRECONDITION: errors.FailedPrecondition,
    tf.errors.OUT_OF_RANGE: errors.InvalidArgument,
    tf.errors.UNIMPLEMENTED: errors.Unimplemented,
    tf.errors.UNAVAILABLE: errors.Unavailable,
}


@dataclass(frozen=True, eq=False)
class Signature:
    """What can be called: the inputs it takes and the outputs it gives, by name."""

    name: str
    inputs: Mapping[str, TensorSpec]
    outputs: Mapping[str, TensorSpec]
    definition: str
    """The SignatureDef as text, for error messages."""
    float_features: frozenset[str] = frozenset()
    """Features of tf.train.Example that the graph parses as floats, where the input is such examples."""
    features: Features = field(default_factory=dict)
    """All features that the graph is seen to parse."""


@dataclass(frozen=True)
class _Wiring:
    """How a signature is tied to the graph. No part of the SignatureDef, for that keeps all of the graph in memory."""

    inputs: tuple[str, ...]
    feeds: tuple[str, ...]
    """The tensor fed for each of `inputs`."""
    fetches: tuple[str, ...]
    """The tensors to compute, each once; one that is fed cannot be fetched as well."""
    places: Mapping[str, int]
    """Where each output is found among the values fetched, followed by those fed."""
    obstacle: str
    """Why the signature cannot be run; "" when nothing is seen."""


class Servable:
    """One loaded SavedModel. `run` may be called by several threads at once; `close` only when none does."""

    def __init__(self, path: Path, config: Any, timeout_seconds: float) -> None:
        """Load the SavedModel at `path` into a session with the ConfigProto `config`.

        A run that takes longer than `timeout_seconds` is stopped. Raises whatever TensorFlow raises for a model that
        cannot be loaded; a signature that cannot be run is no reason, running it says why.
        """
        self._timeout_seconds = timeout_seconds
        self._making = threading.Lock()
        self._callables: dict[str, _Callable] = {}
        self._in_callers_thread: set[str] = set()
        self._tried_here: dict[str, _Callable] = {}
        """What trials ran in their own thread, until it is known which signatures go on to do so."""
        self._session = tf.compat.v1.Session(graph=tf.Graph(), config=config)
        try:
            meta_graph = _load(self._session, path)
            definitions = dict(sorted(meta_graph.signature_def.items()))
            self.natures: Mapping[str, Nature] = natures(meta_graph)
            self.signatures: Mapping[str, Signature] = read_signatures(meta_graph)
            self.metadata: Mapping[str, Any] = {name: _metadata(definition) for name, definition in definitions.items()}
            self._own_wirings = {name: _wiring(definition) for name, definition in definitions.items()}
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
            call = _stopped_after(self._session, self._wirings[signature], seconds)
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
        self._rewire(signature, _frozen(self._session, self._own_wirings[signature]))

    def thaw(self, signature: str) -> None:
        """Run a signature on its own graph again."""
        self._rewire(signature, self._own_wirings[signature])

    def _rewire(self, signature: str, wiring: _Wiring) -> None:
        with self._making:
            self._wirings[signature] = wiring
            self._callables.pop(signature, None)

    def runner(self, signature: str, timeout_seconds: float) -> Callable[[Mapping[str, Array]], dict[str, Array]]:
        """A function that runs a signature with a time-out of its own; what it needs goes when it does."""
        return partial(
            self._run, signature, _callable(self._session, self._wirings[signature], timeout_seconds), timeout_seconds
        )

    def runner_here(self, signature: str) -> Callable[[Mapping[str, Array]], dict[str, Array]]:
        """A function that runs a signature as `run_in_callers_thread` will have it run, which keeps what this needs."""
        call = self._tried_here[signature] = self._make_here(signature)
        return partial(self._run, signature, call, NEVER_STOPPED)

    def _make_here(self, signature: str) -> "_Callable":
        return _callable(self._session, self._wirings[signature], NEVER_STOPPED)

    def _run(
        self, signature: str, call: "_Callable", timeout_seconds: float, inputs: Mapping[str, Array]
    ) -> dict[str, Array]:
        wiring = self._wirings[signature]
        if self.natures[signature].spatial:
            _check_shapes(self.signatures[signature], inputs)
        fed = [inputs[name] for name in wiring.inputs]
        try:
            values = [*call(*fed), *fed]
        except tf.errors.OpError as error:
            raise _translated(error, self.signatures[signature], timeout_seconds, inputs) from None
        return {name: _as_array(values[place]) for name, place in wiring.places.items()}

    def close(self) -> None:
        """Give back the model's memory; what Python holds of the graph goes with the next collection. Twice is safe."""
        self._session.close()

    def _make(self, signature: str) -> "_Callable":
        with self._making:  # two callables would take twice the memory
            if signature not in self._callables:
                wiring = self._wirings[signature]
                try:
                    self._callables[signature] = _callable(self._session, wiring, self._timeout_seconds)
                except (tf.errors.OpError, KeyError, ValueError) as error:  # such as a tensor that the graph lacks
                    text = f'Signature "{signature}" cannot be run: {clean_message(error)}'
                    raise errors.FailedPrecondition(text) from None
            return self._callables[signature]


# What errors say.

_PREFIX = "Graph execution error:"
_ENDS = ("\nDetected at node", "\n\nOriginal stack trace", "\nHint: If you want to see")
_NODE = re.compile(r"\s*\[\[(?:\{\{.*?\}\}|[\w./<>-]+/_\d+)\]\]")
_DEVICE = re.compile(r"/job:\S*/(?=device:)")
_PATH = re.compile(r"(?<![\w.])/(?:[\w.@+-]+/)+[\w.@+-]*")
_SOURCE = re.compile(r",? (?:in file|at) (?:[\w.-]+/)+[\w.]+:\d+")
_OF_ONEDNN = re.compile(r"/mkl/|Input dims must be")
"""What its kernels say of shapes that they cannot compute, with a code that TensorFlow has for other things."""


def clean_message(error: BaseException) -> str:
    """What an error says, without graph nodes, stack and paths."""
    text = (error.message if isinstance(error, tf.errors.OpError) else str(error)).removeprefix(_PREFIX)
    for end in _ENDS:
        text = text.split(end)[0]
    text = _SOURCE.sub("", _DEVICE.sub("", _NODE.sub("", text)))
    text = _PATH.sub(lambda path: path.group().rsplit("/", 1)[-1] or "...", text)
    return " ".join(text.split())[:1024] or type(error).__name__


def error_code(error: BaseException) -> str:
    """The name of the TensorFlow status code that fits an error of loading."""
    if isinstance(error, errors.ServingError):
        return error.code
    if isinstance(error, tf.errors.OpError):
        return str(error_codes_pb2.Code.Name(error.error_code))
    return "INTERNAL"


def _translated(
    error: Any, signature: Signature, timeout_seconds: float, inputs: Mapping[str, Array]
) -> errors.ServingError:
    """The error of a run as one of ours."""
    if error.error_code == tf.errors.DEADLINE_EXCEEDED:
        return errors.DeadlineExceeded(
            f"{TIMED_OUT}: the model took longer than the {timeout_seconds:.3g} seconds allowed"
        )
    text = clean_message(error)
    if error.error_code == tf.errors.RESOURCE_EXHAUSTED:
        return errors.Unavailable(f"The model ran out of memory; try fewer rows at once. {text}")
    if error.error_code == tf.errors.ABORTED and _OF_ONEDNN.search(error.message):
        return errors.InvalidArgument(text + _unexpected_shapes(signature, inputs))
    if error.error_code == tf.errors.INVALID_ARGUMENT:
        text += _unexpected_shapes(signature, inputs)
    return _ERRORS.get(error.error_code, errors.ServingError)(text)


def _unexpected_shapes(signature: Signature, inputs: Mapping[str, Array]) -> str:
    """The inputs whose shape is not the one that the signature states, which may be why a run failed."""
    return "".join(
        f' (input "{name}" has shape {shape_text(inputs[name].shape)}, the signature states {spec.shape_text()})'
        for name, spec in signature.inputs.items()
        if not spec.accepts(inputs[name].shape)
    )


# Loading.


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


def read_signatures(meta_graph: Any) -> dict[str, Signature]:
    """The signatures of a MetaGraphDef by name, in the order of their names."""
    features = parsed_features(meta_graph)
    return {
        name: _signature(name, definition, features.get(name, {}))
        for name, definition in sorted(meta_graph.signature_def.items())
    }


def _signature(name: str, definition: Any, features: Features) -> Signature:
    floats = float_features(features)
    return Signature(name, _specs(definition.inputs), _specs(definition.outputs), str(definition), floats, features)


def _specs(infos: Mapping[str, Any]) -> dict[str, TensorSpec]:
    return {name: _spec(name, info) for name, info in sorted(infos.items())}


def _spec(name: str, info: Any) -> TensorSpec:
    shape = info.tensor_shape
    sizes = None if shape.unknown_rank else tuple(None if dim.size < 0 else dim.size for dim in shape.dim)
    proto = types_pb2.DataType.Name(info.dtype).removesuffix("_REF")  # a TF1 variable, whose values are what travels
    return TensorSpec(name, proto, sizes)


def _metadata(definition: Any) -> dict[str, Any]:
    """The SignatureDef as the JSON of its protobuf, with proto field names and defaults written out."""
    return json_format.MessageToDict(
        definition, preserving_proto_field_name=True, always_print_fields_with_no_presence=True
    )


# Calling.


def _wiring(definition: Any) -> _Wiring:
    feeds = {name: str(info.name) for name, info in sorted(definition.inputs.items())}
    outputs = {name: str(info.name) for name, info in sorted(definition.outputs.items())}
    fetches = [tensor for tensor in dict.fromkeys(outputs.values()) if tensor not in feeds.values()]
    values = [*fetches, *feeds.values()]
    places = {name: values.index(tensor) for name, tensor in outputs.items()}
    return _Wiring(tuple(feeds), tuple(feeds.values()), tuple(fetches), places, _obstacle(feeds, outputs))


def _obstacle(feeds: Mapping[str, str], outputs: Mapping[str, str]) -> str:
    if not outputs:
        return "it has no outputs"
    composite = [name for name, tensor in (*feeds.items(), *outputs.items()) if not tensor]
    if composite:
        return f'"{composite[0]}" is not a plain tensor'
    names = {tensor: name for name, tensor in feeds.items()}
    twice = [f'"{name}" and "{names[tensor]}"' for name, tensor in feeds.items() if names[tensor] != name]
    return f"its inputs {twice[0]} are one and the same tensor" if twice else ""


def _frozen(session: Any, wiring: _Wiring) -> _Wiring:
    """Add what a signature runs to the session's graph once more, with constants for variables: how that is wired."""
    from tensorflow.python.framework.convert_to_constants import convert_variables_to_constants_from_session_graph

    graph = session.graph
    ends = [fetch.partition(":")[0] for fetch in wiring.fetches]
    definition = convert_variables_to_constants_from_session_graph(session, graph.as_graph_def(), ends)
    with graph.as_default():
        tensors = tf.graph_util.import_graph_def(
            definition, return_elements=[*wiring.feeds, *wiring.fetches], name="frozen"
        )
    names = tuple(tensor.name for tensor in tensors)
    return replace(wiring, feeds=names[: len(wiring.feeds)], fetches=names[len(wiring.feeds) :])


NEVER_STOPPED = math.inf
"""The time-out of runs in the caller's thread."""
_CALLERS_THREAD = -1


def _check_shapes(signature: Signature, inputs: Mapping[str, Array]) -> None:
    """Refuse tensors that oneDNN's convolutions do not bear: of another rank than is stated, or smaller.

    Rows and scalars, and sizes that a signature leaves open, may be any.
    """
    for name, spec in signature.inputs.items():
        stated, shape = spec.shape, inputs[name].shape
        if not stated:
            continue
        sizes = zip(stated[1:], shape[1:], strict=False)
        if len(stated) != len(shape) or any(want is not None and got < want for want, got in sizes):
            raise errors.InvalidArgument(f"The model cannot compute this shape{_unexpected_shapes(signature, inputs)}")


_Callable = Callable[..., list[Any]]
"""From the values fed to the list of values fetched."""


def _callable(session: Any, wiring: _Wiring, timeout_seconds: float) -> _Callable:
    """Tie a signature to the session; ValueError or what TensorFlow raises when that cannot be.

    The session's private callables skip most of `Session.run`, which takes ten times as long for a small model; where a
    TensorFlow no longer has them, the public way does the same.
    """
    if wiring.obstacle:
        raise ValueError(wiring.obstacle)
    if not wiring.fetches:
        return lambda *_: []
    options = (
        tf.compat.v1.RunOptions(inter_op_thread_pool=_CALLERS_THREAD)
        if timeout_seconds == NEVER_STOPPED
        else tf.compat.v1.RunOptions(timeout_in_ms=max(1, round(timeout_seconds * 1000)))
    )
    if not hasattr(session, "_make_callable_from_options"):
        return _public_callable(session, wiring, options)
    made: _Callable = session._make_callable_from_options(
        config_pb2.CallableOptions(feed=wiring.feeds, fetch=wiring.fetches, run_options=options)
    )
    return made


def _stopped_after(session: Any, wiring: _Wiring, seconds: float) -> _Callable:
    """A callable with its own time-out: it takes 0.2 ms more, and the first one a copy of the graph's constants."""
    if not wiring.fetches:
        return lambda *_: []
    return _public_callable(session, wiring, tf.compat.v1.RunOptions(timeout_in_ms=max(1, round(seconds * 1000))))


def _public_callable(session: Any, wiring: _Wiring, options: Any) -> _Callable:
    feeds, fetches = (
        [session.graph.get_tensor_by_name(name) for name in names] for names in (wiring.feeds, wiring.fetches)
    )

    def call(*values: Any) -> list[Any]:
        try:
            return list(session.run(fetches, dict(zip(feeds, values, strict=True)), options))
        except ValueError as error:  # a shape that is not the placeholder's, which the private callables let pass
            raise errors.InvalidArgument(clean_message(error)) from None

    return call


def _as_array(value: Any) -> Array:
    """What TensorFlow returned as an array; scalars come as numpy scalars, a scalar string as bytes."""
    return np.array(value, object) if isinstance(value, bytes) else np.asarray(value)
