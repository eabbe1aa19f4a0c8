"""`inspect PATH`: what a SavedModel takes, gives and uses, read from its files without loading it."""

from pathlib import Path
from typing import Any

import click

from serving.commands.output import bytes_text, command, json_option, print_json, print_table, read_settings
from serving.commands.version import VersionPath, find_version

TAGS = ["serve"]


@command("inspect", needs_tensorflow=True)
@click.argument("path", type=click.Path(exists=True, file_okay=False, path_type=Path))
@json_option
def inspect(path: Path, as_json: bool) -> None:
    """Show signatures, operations, size and origin of the SavedModel at PATH (a version, or a model's directory)."""
    found = describe(find_version(path))
    if as_json:
        print_json(found)
    else:
        _print(found)


def describe(version: VersionPath) -> dict[str, Any]:
    """Everything that can be said of a version without loading it."""
    from serving.models.golden import golden_files
    from serving.models.manifest import MANIFEST
    from serving.models.ops import allow_list, count_ops, refused_ops
    from serving.models.provenance import read_saved_model
    from serving.models.warmup import WARMUP_FILE

    saved_model = read_saved_model(version.path)
    served = next((graph for graph in saved_model.meta_graphs if list(graph.meta_info_def.tags) == TAGS), None)
    files = [file for file in version.path.rglob("*") if file.is_file()]
    refused = refused_ops(saved_model.meta_graphs, allow_list(read_settings().allow_ops))
    return {
        "path": str(version.path),
        "model": version.model,
        "version": version.version,
        "files": len(files),
        "bytes": sum(file.stat().st_size for file in files),
        "manifest": (version.path / MANIFEST).is_file(),
        "golden_requests": len(golden_files(version.path)),
        "warm_up": (version.path / WARMUP_FILE).is_file(),
        "graphs": [sorted(graph.meta_info_def.tags) for graph in saved_model.meta_graphs],
        "tensorflow": served.meta_info_def.tensorflow_version if served else "",
        "signatures": _signatures(served) if served else {},
        "operations": dict(sorted(count_ops(saved_model.meta_graphs).items())),
        "refused_operations": sorted({refusal.op for refusal in refused}),
    }


def _signatures(meta_graph: Any) -> dict[str, Any]:
    from serving.models.file_ops import INIT_SIGNATURE
    from serving.models.nature import natures
    from serving.models.signature import read_signatures
    from serving.models.trial import obstacle_by_looks

    its_natures = natures(meta_graph)
    return {
        name: {
            "inputs": _specs(signature.inputs),
            "outputs": _specs(signature.outputs),
            "not_batched_because": obstacle_by_looks(signature, its_natures[name]),
        }
        for name, signature in read_signatures(meta_graph).items()
        if name != INIT_SIGNATURE
    }


def _specs(specs: Any) -> dict[str, Any]:
    return {
        name: {
            "dtype": spec.dtype.name if spec.dtype else spec.proto,
            "shape": None if spec.shape is None else [-1 if size is None else size for size in spec.shape],
        }
        for name, spec in specs.items()
    }


def _print(found: dict[str, Any]) -> None:
    extras = [text for key, text in (("manifest", "a manifest"), ("warm_up", "warm-up requests")) if found[key]]
    extras += [f"{found['golden_requests']} golden requests"] if found["golden_requests"] else []
    click.echo(f"{found['path']}: {found['files']} files, {', '.join([bytes_text(found['bytes']), *extras])}")
    graphs = "; ".join(" ".join(tags) or "no tags" for tags in found["graphs"])
    click.echo(f"made with TensorFlow {found['tensorflow'] or 'of an unknown version'}; graphs: {graphs}")
    for name, signature in found["signatures"].items():
        _print_signature(name, signature)
    operations = found["operations"]
    click.echo(f"\n{sum(operations.values())} nodes of {len(operations)} operations:")
    click.echo(click.wrap_text(", ".join(f"{op} {count}" for op, count in operations.items()), 118, "  ", "  "))
    refused = found["refused_operations"]
    click.echo(f"not allowed: {', '.join(refused)}" if refused else "all of them are allowed")


def _print_signature(name: str, signature: dict[str, Any]) -> None:
    obstacle = signature["not_batched_because"]
    click.echo(f"\nsignature {name}, " + (f"not batched: {obstacle}" if obstacle else "batched if a trial agrees"))
    rows = [
        (f"  {what}", tensor, spec["dtype"], "[?]" if spec["shape"] is None else str(spec["shape"]).replace(" ", ""))
        for what in ("inputs", "outputs")
        for tensor, spec in signature[what].items()
    ]
    if rows:
        print_table([(what.removesuffix("s"), *rest) for what, *rest in rows])
