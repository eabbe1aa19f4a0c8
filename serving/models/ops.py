"""Which operations a SavedModel holds, and which of them it may not.

The rule is the list in `allowed_ops.txt`. It is applied to every node of every graph of the file and of its function
library, reached or not, and to every string in an attribute that is itself a serialized graph. What the operations that
are allowed to touch the model's own files do with them is checked in `file_ops`.
"""

import math
import re
from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from google.protobuf.message import DecodeError
from tensorflow.core.framework import graph_pb2, types_pb2
from tensorflow.python.framework import op_def_registry

ALLOWED_OPS_FILE = Path(__file__).with_name("allowed_ops.txt")

FILLS = {"InitializeTableFromTextFile": 1, "InitializeTableFromTextFileV2": 1}
RESTORES = {"Restore": 0, "RestoreSlice": 0, "RestoreV2": 0}
"""Operations on the model's own files, and which of their inputs names the file."""
FILE_OPS = frozenset((*FILLS, *RESTORES, "Save", "SaveSlices", "SaveV2", "MergeV2Checkpoints"))

MAX_DEPTH = 8
"""How deep graphs may be nested in the strings of others."""
SHORTEST_GRAPH = 8
"""Bytes below which a string cannot hold a node with a name and an operation."""

Condition = tuple[str, "re.Pattern[str]"]
"""An attribute and what its text must match."""


@dataclass(frozen=True)
class Refusal:
    """An operation that is not allowed, and where it stands."""

    op: str
    place: str

    def __str__(self) -> str:
        return f"{self.op} ({self.place})"


@dataclass(frozen=True)
class AllowList:
    """The operations that are allowed, by name, with the condition of those that have one."""

    names: Mapping[str, Condition | None]
    named: frozenset[str] = frozenset()
    """Those that the operator allowed, without conditions."""

    def allows(self, node: Any) -> bool:
        if node.op in self.named:
            return True
        if node.op not in self.names:
            return False
        condition = self.names[node.op]
        return condition is None or _holds(condition, node)


def allow_list(named: Collection[str] = ()) -> AllowList:
    """The list of the file and what the operator adds to it."""
    return AllowList(_listed(), frozenset(named))


@cache
def _listed() -> Mapping[str, Condition | None]:
    return parse_allowed(ALLOWED_OPS_FILE.read_text())


def parse_allowed(text: str) -> dict[str, Condition | None]:
    """Read the format of `allowed_ops.txt`."""
    allowed: dict[str, Condition | None] = {}
    for line in text.splitlines():
        if line.startswith("#"):
            continue
        if "=" not in line:
            allowed |= dict.fromkeys(line.split())
            continue
        op, _, condition = line.partition(" ")
        attribute, _, pattern = condition.partition("=")
        allowed[op] = (attribute, re.compile(pattern, re.DOTALL))
    return allowed


def _holds(condition: Condition, node: Any) -> bool:
    """Whether the attribute matches; an absent one has the default of TensorFlow, which names no file."""
    attribute, pattern = condition
    if attribute not in node.attr:
        return True
    return pattern.fullmatch(node.attr[attribute].s.decode(errors="replace")) is not None


def refused_ops(meta_graphs: Iterable[Any], allowed: AllowList) -> Iterator[Refusal]:
    """Every operation of these MetaGraphDefs that is not allowed."""
    for meta_graph in meta_graphs:
        yield from _refused_in_graph(meta_graph.graph_def, allowed, "", 0)


def count_ops(meta_graphs: Iterable[Any]) -> Counter[str]:
    """How often each operation stands in these MetaGraphDefs and their functions."""
    return Counter(node.op for meta_graph in meta_graphs for node, _ in _nodes(meta_graph.graph_def))


def _nodes(graph: Any) -> Iterator[tuple[Any, str]]:
    """Every node of a graph and of its functions, with the name of the function."""
    for node in graph.node:
        yield node, ""
    for function in graph.library.function:
        for node in function.node_def:
            yield node, function.signature.name


def _refused_in_graph(graph: Any, allowed: AllowList, outer: str, depth: int) -> Iterator[Refusal]:
    functions = {function.signature.name for function in graph.library.function}
    for node, function in _nodes(graph):
        if not _may_stand(node, functions, allowed, depth):
            yield Refusal(_cut(node.op), _place(node, function, outer))
        for inner in _graphs(node.attr):
            yield from _refused_inside(inner, allowed, _place(node, function, outer), depth)
    for found in graph.library.function:
        for inner in _graphs(found.attr):
            yield from _refused_inside(inner, allowed, f"function {_cut(found.signature.name)!r}{outer}", depth)


def _may_stand(node: Any, functions: Collection[str], allowed: AllowList, depth: int) -> bool:
    if depth and node.op in FILE_OPS:
        return node.op in allowed.named  # no file is a string's own
    if allowed.allows(node):
        return True
    if not _is_known(node.op):
        # A function may be called by its name. And a text may happen to read as a graph, of operations nobody knows.
        return bool(depth) or node.op in functions
    return False


def _refused_inside(graph: Any, allowed: AllowList, place: str, depth: int) -> Iterator[Refusal]:
    if depth == MAX_DEPTH:
        yield Refusal("a graph", f"more than {MAX_DEPTH} deep in the strings of others")
        return
    yield from _refused_in_graph(graph, allowed, f" of a graph in {place}", depth + 1)


def _graphs(attributes: Mapping[str, Any]) -> Iterator[Any]:
    """The graphs that are serialized in the strings of attributes."""
    for text in _strings(attributes):
        if len(text) >= SHORTEST_GRAPH and (graph := _as_graph(text)) is not None:
            yield graph


def _strings(attributes: Mapping[str, Any]) -> Iterator[bytes]:
    """The strings in attributes, in their tensors, and in the attributes given to functions that they name."""
    todo = [attributes]
    for found in todo:  # grows on the way
        for value in found.values():
            kind = value.WhichOneof("value")
            if kind == "s":
                yield value.s
            elif kind == "tensor":
                yield from _strings_of_tensor(value.tensor)
            elif kind == "func":
                todo.append(value.func.attr)
            elif kind == "list":
                yield from value.list.s
                for tensor in value.list.tensor:
                    yield from _strings_of_tensor(tensor)
                todo += [function.attr for function in value.list.func]


def _strings_of_tensor(tensor: Any) -> Iterator[bytes]:
    tensors = [tensor]
    for found in tensors:  # grows on the way
        yield from found.string_val
        if found.tensor_content and found.dtype == types_pb2.DT_STRING:
            yield from _string_list(found.tensor_content, math.prod(size.size for size in found.tensor_shape.dim))
        for variant in found.variant_val:
            yield variant.metadata
            tensors += variant.tensors


def _string_list(content: bytes, count: int) -> Iterator[bytes]:
    """The strings of a tensor in TensorFlow's other form: the lengths of all as varints, then their bytes."""
    lengths: list[int] = []
    place = 0
    while len(lengths) < count and place < len(content):
        length, place = _varint(content, place)
        lengths.append(length)
    for length in lengths:
        yield content[place : place + length]
        place += length


def _varint(content: bytes, place: int) -> tuple[int, int]:
    """A number, seven bits a byte and the lowest first, and the place behind it."""
    value = shift = 0
    for byte in content[place : place + 10]:
        value |= (byte & 0x7F) << shift
        shift += 7
        if byte < 0x80:
            break
    return value, place + shift // 7


def _as_graph(text: bytes) -> Any:
    """The GraphDef with nodes that a string holds; None when it holds none."""
    try:
        graph = graph_pb2.GraphDef.FromString(text)
    except DecodeError:
        return None
    return graph if any(node.op for node, _ in _nodes(graph)) else None


def _is_known(op: str) -> bool:
    return op_def_registry.get(op) is not None


def _place(node: Any, function: str, outer: str) -> str:
    inside = f" of function {_cut(function)!r}" if function else ""
    return f"node {_cut(node.name)!r}{inside}{outer}"


def _cut(name: str) -> str:
    return name if len(name) <= 80 else name[:77] + "..."
