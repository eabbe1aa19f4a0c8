"""Pictures as tests send them."""

import io
import struct
import zlib
from typing import Any

import numpy as np
from PIL import Image


def encoded(pixels: Any, form: str = "PNG", **options: Any) -> bytes:
    """Pixels, uint8 [h, w] or [h, w, c], or an image of Pillow's, as the bytes of a file."""
    image = pixels if isinstance(pixels, Image.Image) else Image.fromarray(np.asarray(pixels, np.uint8))
    file = io.BytesIO()
    image.save(file, form, **options)
    return file.getvalue()


def chunk(name: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))


def bare_png(width: int, height: int, depth: int = 8, color: int = 2, *more: bytes) -> bytes:
    """A PNG that states a size and has hardly any pixels."""
    head = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, depth, color, 0, 0, 0))
    return (
        b"\x89PNG\r\n\x1a\n" + head + b"".join(more) + chunk(b"IDAT", zlib.compress(b"\0" * 64)) + chunk(b"IEND", b"")
    )
