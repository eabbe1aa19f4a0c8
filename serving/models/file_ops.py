"""What a SavedModel does with files when it is loaded and run: only its own, and only at load.

Some operations that touch files are in every honest model: `RestoreV2` reads the variables, `SaveV2` stands where they
were once written, `InitializeTableFromTextFileV2` fills a table from an asset. So these are allowed, but

- what restores runs only as part of the model's restore operation, from the file name that TensorFlow feeds it;
- what fills tables runs only as part of the model's initialisation, from an asset, whose name TensorFlow feeds;
- what saves is never run.

That is found by walking the graph back from everything the server runs, through the functions on the way, and by
following the file name to where it comes from.
"""

from collections import Counter
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import PurePosixPath
from typing import Any

from tensorflow.core.protobuf import meta_graph_pb2

from serving.models.ops import FILE_OPS, FILLS, RESTORES, Refusal

INIT_SIGNATURE = "__saved_model_init_op"
_INIT_COLLECTIONS = ("saved_model_main_op", "legacy_init_op")
_ASSETS_COLLECTION = "saved_model_assets"

_CALLS = ("PartitionedCall", "StatefulPartitionedCall")
_ONLY_LOOKS = ("ReadVariableOp", "VarIsInitializedOp")


def misused_file_ops(meta_graph: Any, named: Collection[str] = ()) -> Iterator[Refusal]:
    """Every file operation that the server would run in another way than those above, but for those `named`."""
    library = _Library(meta_graph)
    saver = meta_graph.saver_def
    filename = frozenset((_tensor(saver.filename_tensor_name),)) if saver.filename_tensor_name else frozenset()
    assets = frozenset(_tensor(asset.tensor_info.name) for asset in asset_files(meta_graph))
    runs: tuple[tuple[str, Sequence[str], Mapping[str, int], frozenset[str]], ...] = (
        ("a signature", _signature_tensors(meta_graph, library), {}, frozenset()),
        ("the initialisation", _init_tensors(meta_graph), FILLS, assets),
        ("the restore", [saver.restore_op_name] if saver.restore_op_name else [], RESTORES, filename),
    )
    for what, roots, permitted, trusted in runs:
        for scope, node in _reached(_Scope(library, library.nodes, trusted, is_graph=True), roots):
            if node.op not in FILE_OPS or node.op in named:
                continue
            place = permitted.get(node.op)
            if place is None or len(node.input) <= place or not scope.trusts(node.input[place]):
                yield Refusal(node.op, f"{node.name[:80]!r}, on a file that is not the model's own, run by {what}")


def wrong_assets(meta_graph: Any) -> Iterator[str]:
    """The names of assets that lead out of the directory of assets."""
    for asset in asset_files(meta_graph):
        path = PurePosixPath(asset.filename)
        if path.is_absolute() or any(part.startswith("..") for part in path.parts):
            yield str(asset.filename)


def asset_files(meta_graph: Any) -> list[Any]:
    """The AssetFileDefs of a model, from where TensorFlow's loader takes them."""
    if meta_graph.asset_file_def:
        return list(meta_graph.asset_file_def)
    if _ASSETS_COLLECTION not in meta_graph.collection_def:
        return []
    found = []
    for value in meta_graph.collection_def[_ASSETS_COLLECTION].any_list.value:
        asset = meta_graph_pb2.AssetFileDef()
        if value.Unpack(asset):
            found.append(asset)
    return found


def _signature_tensors(meta_graph: Any, library: "_Library") -> list[str]:
    """What clients can ask for. The initialisation has a signature too, but one that gives nothing cannot be run."""
    tensors = {
        (name, key): output.name
        for name, definition in meta_graph.signature_def.items()
        for key, output in definition.outputs.items()
    }
    init = library.nodes.get(_producer(tensors.get((INIT_SIGNATURE, INIT_SIGNATURE), "")))
    if init is not None and init.op == "NoOp":
        del tensors[INIT_SIGNATURE, INIT_SIGNATURE]
    return list(tensors.values())


def _init_tensors(meta_graph: Any) -> list[str]:
    names = [
        name
        for key in _INIT_COLLECTIONS
        if key in meta_graph.collection_def
        for name in meta_graph.collection_def[key].node_list.value
    ]
    if INIT_SIGNATURE in meta_graph.signature_def:
        outputs = meta_graph.signature_def[INIT_SIGNATURE].outputs
        names += [outputs[INIT_SIGNATURE].name] if INIT_SIGNATURE in outputs else []
    return names


class _Library:
    """A graph and its functions, by name."""

    def __init__(self, meta_graph: Any) -> None:
        self.nodes = {node.name: node for node in meta_graph.graph_def.node}
        self.functions = {function.signature.name: function for function in meta_graph.graph_def.library.function}
        self.has_saver = meta_graph.HasField("saver_def")

    @cached_property
    def interchangeable(self) -> Mapping[bytes, list[str]]:
        """Functions by the interface that they say to implement: TensorFlow may run one for another."""
        found: dict[bytes, list[str]] = {}
        for name, function in self.functions.items():
            if "api_implements" in function.attr:
                found.setdefault(function.attr["api_implements"].s, []).append(name)
        return found

    @cached_property
    def handles(self) -> Counter[bytes]:
        """How many VarHandleOps of the graph and of the functions there are for each variable."""
        bodies = [self.nodes.values(), *(function.node_def for function in self.functions.values())]
        return Counter(_variable(node) for body in bodies for node in body if node.op == "VarHandleOp")

    @cached_property
    def users(self) -> Mapping[str, list[Any]]:
        """The nodes of the graph that use what a node computes, by its name."""
        found: dict[str, list[Any]] = {}
        for node in self.nodes.values():
            for edge in node.input:
                if not edge.startswith("^"):
                    found.setdefault(_producer(edge), []).append(node)
        return found


@dataclass(frozen=True)
class _Scope:
    """A graph, or a function as it is called: its nodes, and the tensors in it that are fed by TensorFlow's loader."""

    library: _Library
    nodes: Mapping[str, Any]
    trusted: frozenset[str]
    is_graph: bool = field(default=False)

    def trusts(self, edge: str) -> bool:
        """Whether the value of an edge is one of those fed, handed on or kept in a variable unchanged."""
        if not self.trusted:
            return False
        source = self._source(edge)
        if source in self.trusted:
            return True
        node = self.nodes.get(_producer(source))
        return node is not None and node.op == "ReadVariableOp" and self._holds_only_trusted(node.input[0])

    def _source(self, edge: str) -> str:
        """The tensor that an edge hands on."""
        seen: set[str] = set()
        while edge not in seen and _tensor(edge) not in self.trusted:
            seen.add(edge)
            node = self.nodes.get(_producer(edge))
            if node is None or node.op != "Identity" or not node.input:
                break
            edge = node.input[0]
        return _tensor(edge)

    def _holds_only_trusted(self, edge: str) -> bool:
        """Whether a variable of the graph is only ever given a trusted value: TensorFlow keeps paths of assets so."""
        handle = self.nodes.get(_producer(edge))
        if not self.is_graph or not self.library.has_saver or handle is None or handle.op != "VarHandleOp":
            return False
        if self.library.handles[_variable(handle)] != 1:
            return False
        return all(
            user.op in _ONLY_LOOKS or (user.op == "AssignVariableOp" and self._source(user.input[1]) in self.trusted)
            for user in self.library.users.get(handle.name, ())
        )


def _reached(graph: _Scope, roots: Sequence[str]) -> Iterator[tuple[_Scope, Any]]:
    """Every node that runs when the roots are fetched, with its scope; functions once for what is trusted in them."""
    names = [_producer(root) for root in roots]
    seen = set(names)
    entered: set[tuple[str, frozenset[str]]] = set()
    for name in names:  # grows on the way
        node = graph.nodes.get(name)
        if node is None:
            continue
        yield graph, node
        yield from _reached_by_calls(graph, node, entered)
        for before in map(_producer, node.input):
            if before not in seen:
                seen.add(before)
                names.append(before)


def _reached_by_calls(
    scope: _Scope, caller: Any, entered: set[tuple[str, frozenset[str]]]
) -> Iterator[tuple[_Scope, Any]]:
    todo = [(scope, caller)]
    for outer, node in todo:  # grows on the way
        for function, trusted in _called(outer, node):
            if (function, trusted) in entered:
                continue
            entered.add((function, trusted))
            body = outer.library.functions[function].node_def
            inner = _Scope(outer.library, {inside.name: inside for inside in body}, trusted)
            for inside in body:
                yield inner, inside
                todo.append((inner, inside))


def _called(scope: _Scope, node: Any) -> Iterator[tuple[str, frozenset[str]]]:
    """The functions that a node may call, with those of their arguments that are trusted."""
    functions = scope.library.functions
    if node.op in functions:
        yield node.op, _trusted_arguments(scope, node, functions[node.op])
    for key, value in node.attr.items():
        for name in (value.func.name, *(function.name for function in value.list.func)):
            if name not in functions:
                continue
            is_call = node.op in _CALLS and key == "f"
            yield name, _trusted_arguments(scope, node, functions[name]) if is_call else frozenset()
            if "api_implements" in functions[name].attr:
                for other in scope.library.interchangeable[functions[name].attr["api_implements"].s]:
                    yield other, frozenset()


def _trusted_arguments(scope: _Scope, node: Any, function: Any) -> frozenset[str]:
    arguments = function.signature.input_arg
    if any(argument.number_attr or argument.type_list_attr for argument in arguments):
        return frozenset()  # one argument is several inputs
    edges = [edge for edge in node.input if not edge.startswith("^")]
    return frozenset(
        _tensor(argument.name) for argument, edge in zip(arguments, edges, strict=False) if scope.trusts(edge)
    )


def _variable(handle: Any) -> bytes:
    shared: bytes = handle.attr["shared_name"].s if "shared_name" in handle.attr else b""
    return shared or handle.name.encode()


def _producer(edge: str) -> str:
    return edge.removeprefix("^").partition(":")[0]


def _tensor(name: str) -> str:
    """The name of a tensor with its number."""
    return name if ":" in name else f"{name}:0"
