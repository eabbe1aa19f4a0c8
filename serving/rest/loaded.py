"""What is loaded now, for those who describe it: the OpenAPI document and the console."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from serving.errors import ServingError
from serving.inference import Inference, ModelChoice, check_classify, check_regress
from serving.models.about import About
from serving.models.lifecycle import Handle, State
from serving.models.signature import DEFAULT_SIGNATURE, Signature

_EXAMPLE_METHODS = {
    "classify": ("tensorflow/serving/classify", check_classify),
    "regress": ("tensorflow/serving/regress", check_regress),
}


@dataclass(frozen=True)
class LoadedVersion:
    """One available version. `labels` are the names that requests may call it by."""

    model: str
    version: int
    is_latest: bool
    labels: tuple[str, ...]
    signatures: Mapping[str, Signature]
    metadata: Mapping[str, Any]
    about: About

    def callable_signatures(self) -> dict[str, Signature]:
        """The signatures whose tensors can all travel, the default one first."""
        first = sorted(self.signatures.items(), key=lambda item: item[0] != DEFAULT_SIGNATURE)
        return {name: its for name, its in first if _travels(its)}

    def methods(self, signature: Signature) -> tuple[str, ...]:
        """What a signature is made for: predict, and classify or regress where it takes examples."""
        found = [] if _declares_otherwise(signature) else ["predict"]
        for method, (declared, check) in _EXAMPLE_METHODS.items():
            if signature.features or self.metadata[signature.name].get("method_name") == declared:
                try:
                    check(signature)
                except ServingError:
                    continue
                found.append(method)
        return tuple(found)


@contextmanager
def borrowed(models: Inference, name: str, version: int) -> Iterator[Handle | None]:
    """A version as long as the block lasts; None where this process does not have it just now."""
    try:
        handle = models.borrow(ModelChoice(name, version))
    except ServingError:
        yield None
        return
    with handle:
        yield handle


def loaded_versions(models: Inference) -> list[LoadedVersion]:
    """Every available version, by model, newest first."""
    found: list[LoadedVersion] = []
    for name, (statuses, labels, _) in models.models().items():
        latest = True
        for status in statuses:
            if status.state is not State.AVAILABLE:
                continue
            with borrowed(models, name, status.version) as handle:
                if handle is None:
                    continue
                names = tuple(sorted(label for label, version in labels.items() if version == status.version))
                found.append(describe_handle(handle, latest, names))
                latest = False
    return found


def describe_handle(handle: Handle, is_latest: bool = False, labels: tuple[str, ...] = ()) -> LoadedVersion:
    """A version that is borrowed. What is described outlives the loan, for it holds no memory of the model."""
    its = handle.servable
    return LoadedVersion(handle.model, handle.version, is_latest, labels, its.signatures, its.metadata, its.about)


def _declares_otherwise(signature: Signature) -> bool:
    """Whether the graph parses examples from what is declared to be numbers, which predict would refuse."""
    return bool(signature.features) and any(spec.proto != "DT_STRING" for spec in signature.inputs.values())


def _travels(signature: Signature) -> bool:
    return bool(signature.outputs) and all(
        spec.dtype is not None for spec in (*signature.inputs.values(), *signature.outputs.values())
    )
