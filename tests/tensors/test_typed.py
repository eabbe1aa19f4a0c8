"""What is read by the types of a signature; that it is read right is held in tests/rest/test_predict.py."""

from typing import Any

import pytest

from serving.tensors.spec import TensorSpec
from serving.tensors.typed import TypedReader

IMAGE = TensorSpec("image", "DT_STRING", (None,))
ID = TensorSpec("id", "DT_INT64", (None,))


def read(text: str, *specs: TensorSpec, in_rows: bool = True) -> Any:
    """The values of each tensor, None where the text is left to the careful way."""
    reader = TypedReader({spec.name: spec for spec in specs})
    tensors = (reader.rows if in_rows else reader.columns)(memoryview(text.encode()))
    return tensors and {name: array.tolist() for name, array in tensors.items()}


@pytest.mark.parametrize(
    "text", ['[{"b64": "aGk="}, {"b64": "eQ=="}]', '[{"image": {"b64": "aGk="}}, {"image": {"b64": "eQ=="}}]']
)
def test_rows_of_base64_are_read(text: str) -> None:
    assert read(text, IMAGE) == {"image": [b"hi", b"y"]}


def test_rows_of_base64_beside_other_values_are_read() -> None:
    text = '[{"image": {"b64": "aGk="}, "id": 1}, {"id": 2, "image": "y"}]'
    assert read(text, IMAGE, ID) == {"image": [b"hi", b"y"], "id": [1, 2]}


@pytest.mark.parametrize(
    ("text", "spec", "value"),
    [
        ('[{"b64": "aGk="}, "y"]', IMAGE, [b"hi", b"y"]),
        ('{"image": [{"b64": "aGk="}]}', IMAGE, [b"hi"]),
        ('{"b64": "aGk="}', TensorSpec("image", "DT_STRING", ()), b"hi"),
        ('[["x", {"b64": "aGk="}]]', TensorSpec("image", "DT_STRING", (None, None)), [[b"x", b"hi"]]),
    ],
)
def test_columns_of_base64_are_read(text: str, spec: TensorSpec, value: Any) -> None:
    assert read(text, spec, in_rows=False) == {"image": value}


@pytest.mark.parametrize("value", ["aGk", "a Gk=", "aG-_", "a", "===="])
def test_unusual_base64_is_left_to_the_careful_way(value: str) -> None:
    assert read(f'[{{"b64": "aGk="}}, {{"b64": "{value}"}}]', IMAGE) is None


def test_a_mixture_of_rows_is_left_to_the_careful_way() -> None:
    assert read('[{"b64": "aGk="}, {"image": "y"}]', IMAGE) is None
    assert read('[{"image": "y"}, {"b64": "aGk="}]', IMAGE) is None
    assert read("[]", IMAGE) is None
