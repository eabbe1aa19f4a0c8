"""What a tensor of a signature looks like."""

import ml_dtypes
import numpy as np
import pytest

from serving.tensors.spec import DTYPES, Kind, TensorSpec, shape_text


@pytest.mark.parametrize(
    ("proto", "name", "kind", "numpy"),
    [
        ("DT_HALF", "half", Kind.DECIMAL, np.float16),
        ("DT_BFLOAT16", "bfloat16", Kind.DECIMAL, ml_dtypes.bfloat16),
        ("DT_FLOAT", "float", Kind.DECIMAL, np.float32),
        ("DT_DOUBLE", "double", Kind.DECIMAL, np.float64),
        ("DT_INT8", "int8", Kind.INTEGER, np.int8),
        ("DT_INT64", "int64", Kind.INTEGER, np.int64),
        ("DT_UINT16", "uint16", Kind.INTEGER, np.uint16),
        ("DT_UINT64", "uint64", Kind.INTEGER, np.uint64),
        ("DT_BOOL", "bool", Kind.BOOLEAN, np.bool_),
        ("DT_STRING", "string", Kind.STRING, np.object_),
    ],
)
def test_a_dtype_is_found_by_the_name_of_its_enum_value(proto: str, name: str, kind: Kind, numpy: type) -> None:
    dtype = TensorSpec("x", proto, None).dtype
    assert dtype is not None
    assert (dtype.name, dtype.proto, dtype.kind, dtype.numpy) == (name, proto, kind, np.dtype(numpy))


def test_there_are_14_dtypes() -> None:
    assert len(DTYPES) == len({dtype.numpy for dtype in DTYPES.values()}) == 14
    assert all(proto == dtype.proto for proto, dtype in DTYPES.items())


@pytest.mark.parametrize("proto", ["DT_COMPLEX64", "DT_RESOURCE", "DT_VARIANT", "DT_QINT8", "DT_INVALID", ""])
def test_other_dtypes_cannot_travel(proto: str) -> None:
    assert TensorSpec("x", proto, None).dtype is None


@pytest.mark.parametrize(
    ("stated", "accepted", "refused"),
    [
        ((), [()], [(1,), (0,)]),
        ((None,), [(0,), (5,)], [(), (1, 1)]),
        ((None, 2), [(0, 2), (7, 2)], [(2,), (2, 3), (2, 2, 1)]),
        ((3, 0), [(3, 0)], [(0, 3), (3,)]),
        (None, [(), (1,), (2, 3, 4)], []),
    ],
)
def test_a_shape_is_accepted_where_the_stated_dimensions_agree(
    stated: tuple[int | None, ...] | None, accepted: list[tuple[int, ...]], refused: list[tuple[int, ...]]
) -> None:
    spec = TensorSpec("x", "DT_FLOAT", stated)
    assert all(spec.accepts(shape) for shape in accepted)
    assert not any(spec.accepts(shape) for shape in refused)


@pytest.mark.parametrize(
    ("shape", "text"), [((), "[]"), ((None,), "[-1]"), ((None, 8, 8), "[-1,8,8]"), ((0,), "[0]"), (None, "[?]")]
)
def test_a_stated_shape_is_written_with_minus_one_for_any(shape: tuple[int | None, ...] | None, text: str) -> None:
    assert TensorSpec("x", "DT_FLOAT", shape).shape_text() == text


@pytest.mark.parametrize(("shape", "text"), [((), "[]"), ((3,), "[3]"), ((2, 3), "[2,3]")])
def test_a_shape_is_written_without_blanks(shape: tuple[int, ...], text: str) -> None:
    assert shape_text(shape) == text
