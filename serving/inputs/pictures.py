"""PNG and JPEG pictures as tensors, by what a version's image_input.json says.

- What the bytes are decides, not what they are called.
- Bytes are counted by the size that a picture states, before it is decoded.
- A picture is turned as its EXIF orientation says. Color profiles are ignored.
- What is transparent lies on white.
- Of 16 bits a channel 8 would be lost, of an animation all but one picture, and colors for print (CMYK) mean nothing
  without the press: these are refused.
- A JPEG with further pictures behind the first, as phones make them, is the first. One that is drawn in more passes
  than anybody needs is refused: each would take as long as the picture.
"""

import io
import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

from serving.errors import InvalidArgument, PayloadTooLarge
from serving.inputs.image_spec import CHANNELS, ImageInput
from serving.tensors.spec import Array

Heed = Callable[[], None]
"""Called before each picture; raises what shall end the request."""
Need = Callable[[int], None]
"""Called with the bytes that will be needed in all, before they are; raises where there are not as many."""
COPIES = 3
"""How often a picture is in memory at most while it is brought into its form."""

Image.MAX_IMAGE_PIXELS = None  # our own limit, which is for all pictures of a request, stands before the decoding

_FORMATS = ("PNG", "JPEG")
_MODES = ("1", "L", "LA", "P", "PA", "RGB", "RGBA")
"""What Pillow calls black and white, gray, palettes and RGB, each with or without transparency, of 8 bits a channel."""
_TRANSPARENT = ("LA", "PA", "RGBA")
_JPEG_PASS = b"\xff\xda"
MAX_PASSES = 64
_PNG_DEPTH = slice(24, 25)
"""Where a PNG says how many bits a channel has; Pillow tells that of gray ones only."""


def decode_pictures(
    pictures: Sequence[bytes],
    wanted: ImageInput,
    max_bytes: int,
    heed: Heed = lambda: None,
    need: Need = lambda size: None,
) -> dict[str, Array]:
    """The input of so many rows. InvalidArgument says which picture is wrong, and how.

    PayloadTooLarge where the pictures, decoded, or the tensor would have more than `max_bytes` bytes.
    """
    levels = wanted.levels
    shape = (len(pictures), *wanted.shape)
    tensor_bytes, left = math.prod(shape) * levels.itemsize, max_bytes
    _less(max_bytes, tensor_bytes, f"the tensor of {len(pictures)} pictures")
    need(tensor_bytes)
    rows = np.empty(shape, levels.dtype)
    for number, data in enumerate(pictures):
        heed()
        image, now_left = _open(data, f"picture {number + 1}", left)
        need(tensor_bytes + COPIES * (left - now_left))
        left = now_left
        pixels = _pixels(image, wanted, f"picture {number + 1}")
        rows[number] = levels[0][pixels] if len(levels) == 1 else levels[np.arange(len(levels)), pixels]
    return {wanted.name: rows}


def _open(data: bytes, name: str, left: int) -> tuple[Any, int]:
    """A picture that is not decoded yet, and how many bytes those after it may have."""
    try:
        image = Image.open(io.BytesIO(data), formats=_FORMATS)
        frames = getattr(image, "n_frames", 1) if image.format == "PNG" else 1
    except UnidentifiedImageError:
        raise InvalidArgument(f"{name} is neither PNG nor JPEG") from None
    except Exception as error:  # Pillow raises any of a dozen kinds for damaged headers
        raise _damaged(name, error) from None
    if image.mode not in _MODES or (image.format == "PNG" and data[_PNG_DEPTH] == b"\x10"):
        raise InvalidArgument(f"{name} has 16 bits a channel or colors for print; send gray or RGB of 8 bits")
    if image.format != "PNG" and data.count(_JPEG_PASS) > MAX_PASSES:
        raise InvalidArgument(f"{name} is drawn in more than {MAX_PASSES} passes")
    if frames > 1:
        raise InvalidArgument(f"{name} is an animation of {frames} pictures")
    size = image.width * image.height * max(len(image.getbands()), CHANNELS["rgb"])
    return image, _less(left, size, f"{name} of {image.width} x {image.height} pixels")


def _less(left: int, size: int, what: str) -> int:
    if size > left:
        raise PayloadTooLarge(
            f"{what} would have {size} bytes, {left} are left; send fewer or smaller pictures or raise "
            "SERVING_MAX_DECOMPRESSED_BYTES"
        )
    return left - size


def _pixels(image: Any, wanted: ImageInput, name: str) -> Array:
    """The pixels of a picture in the size and the colors that are wanted, uint8."""
    try:
        image.load()
        image = ImageOps.exif_transpose(image)
        if image.mode in _TRANSPARENT or "transparency" in image.info:
            image = image.convert("RGBA")
            image = Image.alpha_composite(Image.new("RGBA", image.size, "white"), image)
        image = image.convert("L" if wanted.color == "gray" else "RGB")
    except Exception as error:  # as above, for what is behind the header
        raise _damaged(name, error) from None
    height, width = wanted.shape[:2]
    method = Image.Resampling[wanted.resize.upper()]
    if wanted.fit == "crop":
        image = ImageOps.fit(image, (width, height), method)
    elif image.size != (width, height):
        image = image.resize((width, height), method)
    pixels = np.asarray(image)
    return pixels if pixels.ndim == len(wanted.shape) else pixels[..., np.newaxis]


def _damaged(name: str, error: Exception) -> InvalidArgument:
    return InvalidArgument(f"{name} is damaged: {str(error)[:200] or type(error).__name__}")
