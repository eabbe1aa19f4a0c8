"""What is known of a signature before it is run: whether it changes or draws something, may loop, bears every shape.

Found by walking the graph back from what a signature fetches, through every function on the way. An op counts as pure
when TensorFlow does not mark it stateful, or when it only reads what it is marked for.
"""

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

from tensorflow.python.framework import op_def_registry

_ONLY_READ = frozenset(
    (
        "Assert",
        "Case",
        "HashTable",
        "HashTableV2",
        "If",
        "LookupTableFind",
        "LookupTableFindV2",
        "LookupTableSize",
        "LookupTableSizeV2",
        "Placeholder",
        "ReadVariableOp",
        "ResourceGather",
        "ResourceGatherNd",
        "StatefulPartitionedCall",
        "VarHandleOp",
        "Variable",
        "VariableV2",
        "While",
    )
)
_SPATIAL = re.compile(r"Conv(?!ert)|Pool")
"""Names of convolutions and pools."""
_LOOPS = frozenset(("While", "StatelessWhile", "Enter", "RefEnter", "LoopCond", "NextIteration"))


@dataclass(frozen=True)
class Nature:
    """The nature of one signature."""

    impure: str
    """An op that changes or draws something; "" for none."""
    loops: bool
    """Whether the run may take any time."""
    spatial: bool = False
    """Whether it computes convolutions or pools, of which oneDNN's kernels do not bear every shape."""


def natures(meta_graph: Any) -> dict[str, Nature]:
    """The nature of every signature of a MetaGraphDef, by name."""
    nodes = {node.name: node for node in meta_graph.graph_def.node}
    functions = {function.signature.name: function for function in meta_graph.graph_def.library.function}
    return {
        name: _nature(_ops(nodes, functions, [output.name for output in definition.outputs.values()]))
        for name, definition in meta_graph.signature_def.items()
    }


def _nature(ops: Iterable[str]) -> Nature:
    names = sorted(set(ops))
    return Nature(
        impure=next((name for name in names if not _is_pure(name)), ""),
        loops=not _LOOPS.isdisjoint(names),
        spatial=any(map(_SPATIAL.search, names)),
    )


def _is_pure(name: str) -> bool:
    definition = op_def_registry.get(name)
    if definition is None:
        return False
    writes = any(argument.is_ref for argument in definition.input_arg)
    return not writes and (name in _ONLY_READ or not definition.is_stateful)


def _ops(nodes: dict[str, Any], functions: dict[str, Any], fetches: list[str]) -> Iterator[str]:
    """The ops that run for the fetches: what they need, and everything in the functions that these call."""
    names = [_node_name(fetch) for fetch in fetches]
    seen = set(names)
    entered: set[str] = set()
    for name in names:  # grows on the way
        node = nodes.get(name)
        if node is None:
            continue
        yield from _ops_of(node, functions, entered)
        for edge in node.input:
            before = _node_name(edge)
            if before not in seen:
                seen.add(before)
                names.append(before)


def _ops_of(node: Any, functions: dict[str, Any], entered: set[str]) -> Iterator[str]:
    todo = [node]
    for node in todo:  # grows on the way
        yield node.op
        for called in (node.op, *_named_functions(node)):
            if called in functions and called not in entered:
                entered.add(called)
                todo.extend(functions[called].node_def)


def _named_functions(node: Any) -> Iterator[str]:
    for value in node.attr.values():
        yield value.func.name
        yield from (function.name for function in value.list.func)


def _node_name(edge: str) -> str:
    return edge.removeprefix("^").partition(":")[0]
