"""Which features of tf.train.Example a model parses, found by following its input through the graph.

JSON does not say whether 1 is an integer or a float, and the op that parses examples refuses the wrong one; nor does a
signature say which features there are, which is what a form to fill in needs to know. The search
knows the two ops that exports hold, follows the input through ops that hand it on and into functions, and gives up
without a word where it is not sure: the feature is then left as the caller wrote it.
"""

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from tensorflow.core.framework import types_pb2

from serving.models.runtime import tf
from serving.tensors.spec import Array, TensorSpec

EXAMPLE_INPUT = "inputs"
"""What the only input of a signature made for classify and regress is called."""

_EXAMPLE_DTYPES = (types_pb2.DT_STRING, types_pb2.DT_FLOAT)  # some exporters declare a float where they mean examples
_HANDED_ON = ("Identity", "Reshape", "Squeeze", "ExpandDims", "StopGradient", "PlaceholderWithDefault")
_CALLS = ("PartitionedCall", "StatefulPartitionedCall")


Features = Mapping[str, TensorSpec]
"""Features by name. The shape of one of which an example may hold any number of values is None."""


def float_features(features: Features) -> frozenset[str]:
    """The names of the features that are parsed as floats."""
    return frozenset(name for name, spec in features.items() if spec.proto == "DT_FLOAT")


def parsed_features(meta_graph: Any) -> dict[str, Features]:
    """The features parsed as one dtype and as no other, by signature; signatures without any are left out."""
    inputs = {name: _example_tensor(definition) for name, definition in meta_graph.signature_def.items()}
    if not any(inputs.values()):
        return {}
    search = _Search(meta_graph.graph_def)
    found = {tensor: search.features(tensor) for tensor in set(inputs.values()) if tensor}
    return {name: found[tensor] for name, tensor in inputs.items() if found.get(tensor)}


def _example_tensor(definition: Any) -> str:
    """The tensor that may be examples; "" where the signature does not take any."""
    if len(definition.inputs) != 1 or EXAMPLE_INPUT not in definition.inputs:
        return ""
    info = definition.inputs[EXAMPLE_INPUT]
    return str(info.name) if info.dtype in _EXAMPLE_DTYPES else ""


@dataclass(frozen=True)
class _Body:
    """The nodes of a graph or of a function, by name, and who consumes what: pairs of a node and the input's place."""

    nodes: Mapping[str, Any]
    consumers: Mapping[str, list[tuple[Any, int]]]
    strings: Mapping[str, Array | None] = field(default_factory=dict)
    """The constants passed as a function's arguments, None where an argument is no string constant."""

    def string_constant(self, edge: str) -> Array | None:
        """The value of a string constant, also one handed on; None when it is anything else."""
        name = _producer(edge)
        while name not in self.strings:
            node = self.nodes.get(name)
            if node is None:
                return None
            if node.op == "Const" and node.attr["dtype"].type == types_pb2.DT_STRING:
                value: Array = tf.make_ndarray(node.attr["value"].tensor)
                return value
            if node.op != "Identity":
                return None
            name = _producer(node.input[0])
        return self.strings[name]


class _Search:
    """Follows tensors through one graph; no function is entered twice by the same argument."""

    def __init__(self, graph_def: Any) -> None:
        self._graph = _body(graph_def.node)
        self._functions = {function.signature.name: function for function in graph_def.library.function}
        self._entered: set[tuple[str, int]] = set()

    def features(self, tensor: str) -> Features:
        self._entered.clear()
        found = defaultdict[str, list[TensorSpec]](list)
        for spec in self._parsed(self._graph, _producer(tensor)):
            found[spec.name].append(spec)
        return {name: its[0] for name, its in sorted(found.items()) if len({spec.proto for spec in its}) == 1}

    def _parsed(self, body: _Body, start: str) -> Iterator[TensorSpec]:
        """Every feature parsed from the tensor that `start` produces."""
        names = [start]
        for name in names:  # grows on the way
            for node, place in body.consumers.get(name, ()):
                if node.op in _CALLS:
                    yield from self._parsed_in_function(body, node, place)
                elif place == 0 and node.op in _HANDED_ON:
                    names.append(node.name)
                elif place == 0 and node.op in _KEYS_OF:
                    yield from _features(node, body)

    def _parsed_in_function(self, body: _Body, call: Any, place: int) -> Iterator[TensorSpec]:
        name = call.attr["f"].func.name
        function = self._functions.get(name)
        if function is None or (name, place) in self._entered:
            return
        self._entered.add((name, place))
        arguments = [argument.name for argument in function.signature.input_arg]
        strings = {argument: body.string_constant(edge) for argument, edge in zip(arguments, _edges(call), strict=True)}
        yield from self._parsed(_body(function.node_def, strings), arguments[place])


def _body(nodes: Iterable[Any], strings: Mapping[str, Array | None] | None = None) -> _Body:
    consumers = defaultdict(list)
    by_name = {}
    for node in nodes:
        by_name[node.name] = node
        for place, edge in enumerate(_edges(node)):
            consumers[_producer(edge)].append((node, place))
    return _Body(by_name, consumers, strings or {})


def _edges(node: Any) -> list[str]:
    """The inputs of a node, without those that only order its run."""
    return [edge for edge in node.input if not edge.startswith("^")]


def _producer(edge: str) -> str:
    return edge.partition(":")[0]


def _features(node: Any, body: _Body) -> list[TensorSpec]:
    """What an op that parses examples reads, sparse features first; nothing when some key is not constant."""
    constants = [body.string_constant(edge) for edge in _KEYS_OF[node.op](node)]
    if any(constant is None for constant in constants):
        return []
    keys = [key.decode(errors="replace") for constant in constants if constant is not None for key in constant.ravel()]
    dtypes = [dtype for kind in _DTYPES for dtype in node.attr[kind].list.type]
    if len(keys) != len(dtypes):
        return []
    shapes = _shapes(node, len(keys))
    return [
        TensorSpec(key, types_pb2.DataType.Name(dtype), shape)
        for key, dtype, shape in zip(keys, dtypes, shapes, strict=True)
    ]


def _shapes(node: Any, count: int) -> list[tuple[int | None, ...] | None]:
    """The shape of each feature of the op: only dense ones have one, and they stand between sparse and ragged ones."""
    dense = [
        tuple(None if dim.size < 0 else dim.size for dim in shape.dim) for shape in node.attr["dense_shapes"].list.shape
    ]
    sparse = len(node.attr["sparse_types"].list.type)
    return [None] * sparse + dense + [None] * (count - sparse - len(dense))


_DTYPES = ("sparse_types", "Tdense", "ragged_value_types")


def _keys_of_v1(node: Any) -> list[str]:
    """ParseExample takes serialized, names, each sparse key, each dense key, the defaults."""
    return _edges(node)[2 : 2 + node.attr["Nsparse"].i + node.attr["Ndense"].i]


def _keys_of_v2(node: Any) -> list[str]:
    """ParseExampleV2 takes serialized, names, all sparse keys, all dense keys, all ragged keys, the defaults."""
    return _edges(node)[2:5]


_KEYS_OF = {"ParseExample": _keys_of_v1, "ParseExampleV2": _keys_of_v2}
