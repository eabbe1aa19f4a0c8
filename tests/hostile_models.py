"""SavedModels that try to do what a model may not: each writes one at `path`.

All start from an honest model whose graph is changed, as someone would who passes a model on.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import tensorflow as tf
from tensorflow.core.framework.graph_pb2 import GraphDef
from tensorflow.core.framework.node_def_pb2 import NodeDef
from tensorflow.core.protobuf.saved_model_pb2 import SavedModel

from tests import saved_models

Tensor: TypeAlias = Any

SPEC = tf.TensorSpec([None], tf.float32, "x")


def rewrite(path: Path, change: Callable[[Any], object]) -> None:
    """Change the SavedModel that lies at `path`."""
    file = path / "saved_model.pb"
    saved = SavedModel.FromString(file.read_bytes())
    change(saved)
    file.write_bytes(saved.SerializeToString())


def save_function(path: Path, run: Callable[[Tensor], Tensor]) -> None:
    """Save a function of float `x` as the default signature."""
    module = tf.Module()
    module.run = tf.function(lambda x: {"y": run(x)}, input_signature=[SPEC])
    tf.saved_model.save(module, str(path), signatures=module.run)


def written_file(path: Path) -> Path:
    """The file that the models below write when they are run."""
    return path.parent / "written"


def _write(path: Path, x: Tensor) -> Tensor:
    return _write_to(written_file(path), x)


def _write_to(file: Path, x: Tensor) -> Tensor:
    with tf.control_dependencies([tf.io.write_file(str(file), "here")]):
        return tf.identity(x)


def writes_in_a_function(path: Path) -> None:
    inner = tf.function(lambda x: _write(path, x))
    save_function(path, inner)


def writes_into_itself(path: Path) -> None:
    save_function(path, lambda x: _write_to(path / "assets" / "more", x))


def writes_in_a_loop(path: Path) -> None:
    save_function(
        path, lambda x: tf.while_loop(lambda i, x: i < 1, lambda i, x: (i + 1, _write(path, x)), (tf.constant(0), x))[1]
    )


def writes_in_a_branch(path: Path) -> None:
    save_function(path, lambda x: tf.cond(tf.size(x) > 0, lambda: _write(path, x), lambda: x))


def writing_graph(op: str = "WriteFile") -> bytes:
    """A serialized graph with an operation that writes a file."""
    return _graph(NodeDef(name="write", op=op, input=["a", "b"]))


def writing_function() -> bytes:
    """A serialized graph with nothing but a function that writes a file."""
    graph = GraphDef()
    function = graph.library.function.add()
    function.signature.name = "f"
    function.node_def.add(name="write", op="WriteFile")
    return graph.SerializeToString()


def nested_graph(depth: int) -> bytes:
    """A graph that writes a file, in a string of a graph, and so on."""
    text = writing_graph()
    for _ in range(depth):
        node = NodeDef(name="outer", op="Const")
        node.attr["value"].tensor.CopyFrom(tf.make_tensor_proto([b"other", text]))
        text = _graph(node)
    return text


def packed_graph() -> bytes:
    """A graph that writes a file, in a string of a graph whose strings are packed as TensorFlow's kernels pack them."""
    texts = [b"other", writing_graph()]
    node = NodeDef(name="outer", op="Const")
    tensor = node.attr["value"].tensor
    tensor.dtype = tf.string.as_datatype_enum
    tensor.tensor_shape.dim.add(size=len(texts))
    tensor.tensor_content = bytes(map(len, texts)) + b"".join(texts)
    return _graph(node)


def _graph(*nodes: NodeDef) -> bytes:
    text: bytes = GraphDef(node=nodes).SerializeToString()
    return text


def data_set_from_a_graph(path: Path, text: bytes) -> None:
    """Run a data set whose graph is a string constant."""

    def run(x: Tensor) -> Tensor:
        rows = tf.raw_ops.DatasetFromGraph(graph_def=tf.constant(text))
        (first,) = tf.raw_ops.DatasetToSingleElement(dataset=rows, output_types=[tf.float32], output_shapes=[[]])
        return x + first

    save_function(path, run)


def graph_in_an_attribute(path: Path, text: bytes, where: str) -> None:
    """Carry a serialized graph in an attribute: of a node, of a list, of a function, of a function's call."""
    saved_models.half_plus_two(path)

    def change(saved: Any) -> None:
        graph = saved.meta_graphs[0].graph_def
        call = next(node for node in graph.node if node.op == "StatefulPartitionedCall")
        attributes = {
            "node": call.attr["_note"],
            "list": call.attr["_notes"],
            "function": graph.library.function[0].attr["_note"],
            "call": call.attr["f"].func.attr["_note"],
        }
        if where == "list":
            attributes[where].list.s.extend([b"other", text])
        else:
            attributes[where].s = text

    rewrite(path, change)


def in_a_second_graph(path: Path) -> None:
    saved_models.half_plus_two(path)

    def change(saved: Any) -> None:
        second = saved.meta_graphs.add()
        second.meta_info_def.tags.append("other")
        second.graph_def.node.add(name="write", op="WriteFile", input=["a", "b"])

    rewrite(path, change)


def in_an_unused_function(path: Path) -> None:
    saved_models.half_plus_two(path)

    def change(saved: Any) -> None:
        function = saved.meta_graphs[0].graph_def.library.function.add()
        function.signature.name = "unused"
        function.node_def.add(name="write", op="WriteFile")

    rewrite(path, change)


def function_called_like_an_op(path: Path) -> None:
    """Call a function that is named like an operation which writes files."""
    saved_models.half_plus_two(path)

    def change(saved: Any) -> None:
        graph = saved.meta_graphs[0].graph_def
        graph.library.function.add().signature.name = "WriteFile"
        graph.node.add(name="write", op="WriteFile")

    rewrite(path, change)


def node_with(path: Path, op: str, **strings: bytes) -> None:
    """Hold one more node, with these attributes."""
    saved_models.half_plus_two(path)

    def change(saved: Any) -> None:
        node = saved.meta_graphs[0].graph_def.node.add(name="more", op=op)
        for name, value in strings.items():
            node.attr[name].s = value

    rewrite(path, change)


# Operations on the model's own files, turned on other files.


def saves_when_run(path: Path) -> None:
    def run(x: Tensor) -> Tensor:
        save = tf.raw_ops.SaveV2(prefix=str(written_file(path)), tensor_names=["x"], shape_and_slices=[""], tensors=[x])
        with tf.control_dependencies([save]):
            return tf.identity(x)

    save_function(path, run)


def restores_when_run(path: Path) -> None:
    def run(x: Tensor) -> Tensor:
        (read,) = tf.raw_ops.RestoreV2(
            prefix="/secret/variables", tensor_names=["x"], shape_and_slices=[""], dtypes=[tf.float32]
        )
        return x + read

    save_function(path, run)


def restores_in_a_function_called_by_its_name(path: Path) -> None:
    """Read a checkpoint in a function that a node names as its operation."""
    saved_models.half_plus_two(path)

    def change(saved: Any) -> None:
        graph = saved.meta_graphs[0]
        function = graph.graph_def.library.function.add()
        function.signature.name = "read"
        function.node_def.add(name="read", op="RestoreV2", input=["a", "b", "c"])
        graph.graph_def.node.add(name="call", op="read")
        output = graph.signature_def["serving_default"].outputs["y"].name.partition(":")[0]
        next(node for node in graph.graph_def.node if node.name == output).input.append("^call")

    rewrite(path, change)


def restores_in_a_twin(path: Path) -> None:
    """Read a checkpoint in a function that TensorFlow may run in place of the one that is called."""
    saved_models.half_plus_two(path)

    def change(saved: Any) -> None:
        library = saved.meta_graphs[0].graph_def.library
        for function in library.function:
            if not any(node.op in ("SaveV2", "RestoreV2") for node in function.node_def):
                function.attr["api_implements"].s = b"same"
        twin = library.function.add()
        twin.signature.name = "twin"
        twin.attr["api_implements"].s = b"same"
        twin.node_def.add(name="read", op="RestoreV2", input=["a", "b", "c"])

    rewrite(path, change)


def restores_another_file(path: Path) -> None:
    """Restore the variables from a constant path instead of the file that TensorFlow names."""
    saved_models.half_plus_two(path)

    def change(saved: Any) -> None:
        for function in saved.meta_graphs[0].graph_def.library.function:
            for node in function.node_def:
                if node.op == "RestoreV2":
                    node.input[0] = "elsewhere:output:0"
                    constant = function.node_def.add(name="elsewhere", op="Const")
                    constant.attr["value"].tensor.CopyFrom(tf.make_tensor_proto("/secret/variables"))

    rewrite(path, change)


def saves_while_it_restores(path: Path) -> None:
    saved_models.half_plus_two(path)

    def change(saved: Any) -> None:
        graph = saved.meta_graphs[0]
        graph.graph_def.node.add(name="save_too", op="SaveV2", input=["saver_filename", "a", "b"])
        restore = next(node for node in graph.graph_def.node if node.name == graph.saver_def.restore_op_name)
        restore.input.append("^save_too")

    rewrite(path, change)


def table_of_another_file(path: Path) -> None:
    """Fill a table from a path in the graph that is no asset."""
    saved_models.vocabulary_of_tf1(path)
    rewrite(path, lambda saved: _forget_assets(saved.meta_graphs[0]))


def _forget_assets(graph: Any) -> None:
    graph.ClearField("asset_file_def")
    del graph.collection_def["saved_model_assets"]


def table_filled_when_run(path: Path) -> None:
    """Fill a table from an asset in a signature, where TensorFlow does not say where the asset is."""
    saved_models.vocabulary_of_tf1(path)

    def change(saved: Any) -> None:
        graph = saved.meta_graphs[0]
        fill = next(node for node in graph.graph_def.node if node.op == "InitializeTableFromTextFileV2")
        output = graph.signature_def["serving_default"].outputs["id"].name.partition(":")[0]
        next(node for node in graph.graph_def.node if node.name == output).input.append(f"^{fill.name}")

    rewrite(path, change)


def table_filled_by_a_client(path: Path) -> None:
    """Give a tensor as the initialisation's output, so that a client may ask for it, and name any file as input."""
    saved_models.vocabulary_of_tf1(path)

    def change(saved: Any) -> None:
        graph = saved.meta_graphs[0]
        fill = next(node for node in graph.graph_def.node if node.op == "InitializeTableFromTextFileV2")
        leak = graph.graph_def.node.add(name="leak", op="Identity", input=[fill.input[1], f"^{fill.name}"])
        leak.attr["T"].type = tf.string.as_datatype_enum
        init = graph.signature_def["__saved_model_init_op"]
        init.inputs["file"].name = f"{fill.input[1]}:0"
        init.outputs["__saved_model_init_op"].name = "leak:0"

    rewrite(path, change)


def asset_path_under_another_handle(path: Path) -> None:
    """Write the variable that holds a table's path by a second handle of the same name."""
    table_kept_as_variable(path)

    def change(saved: Any) -> None:
        graph = saved.meta_graphs[0].graph_def
        alias = graph.node.add()
        alias.CopyFrom(next(node for node in graph.node if node.op == "VarHandleOp"))
        alias.attr["shared_name"].s = alias.attr["shared_name"].s or alias.name.encode()
        alias.name = "alias"
        constant = graph.node.add(name="elsewhere", op="Const")
        constant.attr["value"].tensor.CopyFrom(tf.make_tensor_proto("/secret/words"))
        graph.node.add(name="again", op="AssignVariableOp", input=["alias", "elsewhere"])

    rewrite(path, change)


def asset_path_restored_by_default(path: Path) -> None:
    """Leave out the saver, so that TensorFlow makes one that restores every variable."""
    table_kept_as_variable(path)
    rewrite(path, lambda saved: saved.meta_graphs[0].ClearField("saver_def"))


def asset_elsewhere(path: Path, filename: str) -> None:
    saved_models.vocabulary(path)

    def change(saved: Any) -> None:
        saved.meta_graphs[0].asset_file_def[0].filename = filename

    rewrite(path, change)


def asset_path_from_the_checkpoint(path: Path) -> None:
    """Keep the path of a table's file in a variable that is given another value beside the asset's path."""
    module = tf.Module()
    module.table = tf.lookup.StaticHashTable(_table_file(path), -1)
    module.run = tf.function(lambda x: {"y": x + tf.cast(module.table.size(), tf.float32)}, input_signature=[SPEC])
    tf.saved_model.save(module, str(path), signatures=module.run)

    def change(saved: Any) -> None:
        graph = saved.meta_graphs[0].graph_def
        assign = next(node for node in graph.node if node.op == "AssignVariableOp")
        again = graph.node.add()
        again.CopyFrom(assign)
        again.name = "again"
        constant = graph.node.add(name="elsewhere", op="Const")
        constant.attr["value"].tensor.CopyFrom(tf.make_tensor_proto("/secret/words"))
        again.input[1] = "elsewhere"

    rewrite(path, change)


def _table_file(path: Path) -> Any:
    file = path.parent / "words.txt"
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text("apple\nbanana\n")
    index = tf.lookup.TextFileIndex
    return tf.lookup.TextFileInitializer(str(file), tf.string, index.WHOLE_LINE, tf.int64, index.LINE_NUMBER)


def table_kept_as_variable(path: Path) -> None:
    """An honest model: TensorFlow 2.21 keeps the path of this table's file in a variable."""
    module = tf.Module()
    module.table = tf.lookup.StaticHashTable(_table_file(path), -1)
    module.run = tf.function(
        lambda word: {"id": module.table.lookup(word)}, input_signature=[tf.TensorSpec([None], tf.string, "word")]
    )
    tf.saved_model.save(module, str(path), signatures=module.run)


def large_vocabulary(path: Path, words: int) -> None:
    """An honest model whose words are a constant of the graph."""
    texts = np.array([f"word {number}" for number in range(words)])
    save_function(path, lambda x: x + tf.cast(tf.size(tf.constant(texts)), tf.float32))
