"""The fast ways in: which of them reads the inputs of a signature."""

from collections.abc import Mapping

from serving.tensors.cost import MakeRoom, numbers_bytes, unbounded
from serving.tensors.outline import Outline
from serving.tensors.skim import FROM_BYTES, can_skim, skim
from serving.tensors.spec import Array, TensorSpec
from serving.tensors.typed import TypedReader

_GLANCE = 32
"""How far into a text an object is looked for, since one cannot be skimmed, and trying takes as long as reading it."""


class Reader:
    """Reads tensors for one signature, or leaves them to the careful way. May be used by several threads at once."""

    def __init__(self, specs: Mapping[str, TensorSpec]) -> None:
        only = next(iter(specs.values())) if len(specs) == 1 else None
        self._only = only if only is not None and can_skim(only.dtype) else None
        try:
            self._typed: TypedReader | None = TypedReader(specs)
        except ValueError:
            self._typed = None

    def read(self, found: Outline, make_room: MakeRoom = unbounded) -> dict[str, Array] | None:
        """The tensors of a request; None for whatever is unusual."""
        tensors = self._skim(found.text, make_room)
        if tensors is None:
            make_room(found.text)
            tensors = self._read_typed(found)
        return tensors

    def _skim(self, text: memoryview, make_room: MakeRoom) -> dict[str, Array] | None:
        only = self._only
        if only is None or only.dtype is None or len(text) < FROM_BYTES or b"{" in bytes(text[:_GLANCE]):
            return None
        make_room(b"", numbers_bytes(text))
        array = skim(text, only.dtype)
        return None if array is None else {only.name: array}

    def _read_typed(self, found: Outline) -> dict[str, Array] | None:
        if self._typed is None:
            return None
        return self._typed.rows(found.text) if found.key == "instances" else self._typed.columns(found.text)
