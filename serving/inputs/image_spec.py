"""`image_input.json` in a version's directory: how a picture becomes the input of a signature.

    {"color": "gray", "resize": "box", "invert": true, "scale": 0.0627450980392157}

- `color`: "gray" or "rgb"; has to be there
- `signature`: the one that takes pictures, which has a single input `[-1, h, w]`, `[-1, h, w, 1]` or `[-1, h, w, 3]`;
  the default one where it is not given
- `size`: `[h, w]`, where the signature leaves them open
- `resize`: "nearest", "box", "bilinear" (the default), "hamming", "bicubic" or "lanczos"
- `fit`: "stretch" (the default), or "crop" to keep the proportions and cut off what is too much at the edges
- `invert`: whether dark and light change places
- `scale`, `offset`, `mean`, `std`: a pixel of 0 to 255 becomes `(pixel * scale + offset - mean) / std`; `mean` and
  `std` are numbers, or lists with one for each color. An integer input takes pixels as they are, without any of these.

No picture library here.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from serving.errors import FailedPrecondition, InvalidArgument
from serving.tensors.echo import echo
from serving.tensors.parse import parse
from serving.tensors.spec import Array, Kind, TensorSpec

IMAGE_INPUT = "image_input.json"
MAX_FILE_BYTES = 64 * 1024
MAX_SIDE = 8192

CHANNELS = {"gray": 1, "rgb": 3}
RESIZE = ("nearest", "box", "bilinear", "hamming", "bicubic", "lanczos")
FIT = ("stretch", "crop")
_DEFAULTS = {
    "signature": "",
    "size": None,
    "resize": "bilinear",
    "fit": "stretch",
    "invert": False,
    "scale": 1,
    "offset": 0,
    "mean": 0,
    "std": 1,
}
_LEVELS = 256

Signatures = Mapping[str, Mapping[str, TensorSpec]]
"""The inputs of each signature."""


@dataclass(frozen=True, eq=False)
class ImageInput:
    """How pictures become the input `name` of a signature, of `shape` a picture.

    `levels` holds, for each color, the value that each level of 0 to 255 becomes, in the dtype of the input.
    """

    signature: str
    name: str
    shape: tuple[int, ...]
    color: str
    resize: str
    fit: str
    levels: Array
    document: Mapping[str, Any] = field(default_factory=dict)
    """All of it as JSON, for people."""


def read_image_input(version: Path, signatures: Signatures, default: str) -> ImageInput | None:
    """How a version takes pictures, None where it does not; FailedPrecondition says what is wrong with the file."""
    file = version / IMAGE_INPUT
    if not file.is_file():
        return None
    if file.stat().st_size > MAX_FILE_BYTES:
        raise FailedPrecondition(f"{IMAGE_INPUT}: it is larger than {MAX_FILE_BYTES} bytes")
    try:
        return understand(parse(file.read_bytes()), signatures, default)
    except InvalidArgument as error:
        raise FailedPrecondition(f"{IMAGE_INPUT}: {error.message}") from None


def understand(document: Any, signatures: Signatures, default: str) -> ImageInput:
    """What a document says for a model with these signatures; InvalidArgument names what is wrong in it."""
    _check_keys(document)
    asked = _DEFAULTS | document
    for key, (holds, expected) in _CHECKS.items():
        if not holds(asked[key]):
            raise InvalidArgument(f'"{key}" is {echo(asked[key])}, {expected} is expected')
    signature = asked["signature"] or default
    spec = _only_input(signature, signatures)
    sizes = _sizes(spec, asked["color"], asked["size"])
    shown = {**asked, "signature": signature, "input": spec.name, "size": list(sizes[:2])}
    levels = _levels(spec, asked, CHANNELS[asked["color"]])
    return ImageInput(signature, spec.name, sizes, asked["color"], asked["resize"], asked["fit"], levels, shown)


def _check_keys(document: Any) -> None:
    known = ["color", *_DEFAULTS]
    if not isinstance(document, dict):
        raise InvalidArgument("it is not a JSON object")
    unknown = sorted(document.keys() - set(known))
    if unknown:
        raise InvalidArgument(f"{echo(unknown[0])} is not known; known are {', '.join(known)}")
    if "color" not in document:
        raise InvalidArgument('"color" is missing: "gray" or "rgb"')


def _is_number(value: Any) -> bool:
    return type(value) in (int, float) and bool(np.isfinite(value))


def _is_number_or_list(value: Any) -> bool:
    return _is_number(value) or (type(value) is list and 0 < len(value) <= 3 and all(map(_is_number, value)))


def _is_size(value: Any) -> bool:
    return type(value) is list and len(value) == 2 and all(type(n) is int and 0 < n <= MAX_SIDE for n in value)


_CHECKS: dict[str, tuple[Callable[[Any], bool], str]] = {
    "color": (lambda value: isinstance(value, str) and value in CHANNELS, '"gray" or "rgb"'),
    "signature": (lambda value: isinstance(value, str), "the name of a signature"),
    "size": (lambda value: value is None or _is_size(value), f"[height, width] of 1 to {MAX_SIDE}"),
    "resize": (lambda value: value in RESIZE, f"one of {', '.join(RESIZE)}"),
    "fit": (lambda value: value in FIT, f"one of {', '.join(FIT)}"),
    "invert": (lambda value: type(value) is bool, "true or false"),
    "scale": (_is_number, "a number"),
    "offset": (_is_number, "a number"),
    "mean": (_is_number_or_list, "a number, or a list of one for each color,"),
    "std": (
        lambda value: _is_number_or_list(value) and bool(np.all(value)),
        "a number other than 0, or a list of such,",
    ),
}
"""What each value must be, and how to say so."""


def _only_input(signature: str, signatures: Signatures) -> TensorSpec:
    if signature not in signatures:
        raise InvalidArgument(f"the model has no signature {echo(signature)}; it has {', '.join(sorted(signatures))}")
    inputs = signatures[signature]
    if len(inputs) != 1:
        raise InvalidArgument(f"signature {echo(signature)} has {len(inputs)} inputs; pictures need a single one")
    return next(iter(inputs.values()))


def _sizes(spec: TensorSpec, color: str, size: list[int] | None) -> tuple[int, ...]:
    """The shape of a picture in the input: height, width, and the colors where the input has a dimension for them."""
    shape, channels = spec.shape, CHANNELS[color]
    has_colors = shape is not None and len(shape) == 4
    if shape is None or len(shape) not in (3, 4) or (has_colors and shape[3] not in (channels, None)):
        wanted = "[-1,h,w] or [-1,h,w,1]" if color == "gray" else "[-1,h,w,3]"
        raise InvalidArgument(f'input "{spec.name}" has shape {spec.shape_text()}; {color} pictures need {wanted}')
    if not has_colors and color == "rgb":
        raise InvalidArgument(f'input "{spec.name}" has shape {spec.shape_text()}; rgb pictures need [-1,h,w,3]')
    stated = shape[1:3]
    if size is None and None in stated:
        raise InvalidArgument(f'"size" is missing: input "{spec.name}" has shape {spec.shape_text()}')
    found = tuple(size or stated)
    if any(want not in (None, got) for want, got in zip(stated, found, strict=True)):
        raise InvalidArgument(f'"size" is {echo(size)}, but input "{spec.name}" has shape {spec.shape_text()}')
    height, width = found
    assert height is not None
    assert width is not None
    return (height, width, channels) if has_colors else (height, width)


def _levels(spec: TensorSpec, asked: Mapping[str, Any], channels: int) -> Array:
    """What each level of each color becomes, as [channels, 256]."""
    dtype = spec.dtype
    if dtype is None or dtype.kind not in (Kind.DECIMAL, Kind.INTEGER):
        raise InvalidArgument(f'input "{spec.name}" is of {spec.proto}; pictures are numbers')
    levels = np.arange(_LEVELS)[::-1] if asked["invert"] else np.arange(_LEVELS)
    if dtype.kind is Kind.INTEGER:
        if np.iinfo(dtype.numpy).max < _LEVELS - 1:
            raise InvalidArgument(f'input "{spec.name}" is of {dtype.name}, which does not hold 0 to 255')
        if any(asked[key] != _DEFAULTS[key] for key in ("scale", "offset", "mean", "std")):
            raise InvalidArgument(
                f'input "{spec.name}" is of {dtype.name}, which takes pixels as they are: '
                "no scale, offset, mean or std can be given"
            )
        return np.tile(levels, (channels, 1)).astype(dtype.numpy)
    mean, std = (_each(asked, key, channels) for key in ("mean", "std"))
    with np.errstate(over="ignore"):
        values = (levels * float(asked["scale"]) + float(asked["offset"]) - mean) / std
        made = values.astype(dtype.numpy)
    if not np.isfinite(made.astype(np.float64)).all():
        raise InvalidArgument(f"pixels become values that {dtype.name} does not hold")
    return np.asarray(made)


def _each(asked: Mapping[str, Any], key: str, channels: int) -> Array:
    """A number for each color, as [channels, 1]."""
    value = asked[key]
    if isinstance(value, list) and len(value) != channels:
        raise InvalidArgument(f'"{key}" has {len(value)} numbers, but {asked["color"]} has {channels} colors')
    return np.broadcast_to(np.array(value, np.float64).reshape(-1, 1), (channels, 1))
