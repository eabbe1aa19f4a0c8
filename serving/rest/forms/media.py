"""The media types that the server speaks."""

from functools import lru_cache

JSON = "application/json"
NPY = "application/x-npy"
CSV = "text/csv"
MULTIPART = "multipart/form-data"
JPEG = "image/jpeg"
PNG = "image/png"

MAX_HEADERS = 256
"""How many headers are remembered with what they mean."""


@lru_cache(MAX_HEADERS)
def media_type(header: str) -> str:
    """The media type that a header names, without its parameters."""
    return header.partition(";")[0].strip().lower()
