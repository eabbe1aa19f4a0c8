"""A model of a running server, asked over HTTP by the commands."""

import http.client
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import IO, Any
from urllib.parse import urlencode, urlsplit

import click

from serving.errors import InvalidArgument, NotFound, ServingError, Unavailable

TIMEOUT_SECONDS = 300.0
MAX_KEY_CHARACTERS = 16384
"""A JSON Web Token is the longest thing that is sent as a key."""
DEFAULT_SIGNATURE = "serving_default"
JSON = "application/json"
PICTURES = {".png": "image/png", ".jpg": "image/jpeg", ".jpeg": "image/jpeg"}
MEDIA_TYPES = {".npy": "application/x-npy", ".csv": "text/csv"} | PICTURES
"""The type of a body by the suffix of its file; any other is JSON."""

key_option = click.option(
    "--key-file", type=click.File(), help="File with the API key, where the server asks for one; - is standard input."
)
"""Gives a command the argument `key_file`. A key on the command line or in the environment is seen by others."""


@dataclass(frozen=True)
class ModelUrl:
    """Where a model is served: `http://host:port/v1/models/NAME[/versions/V]`, with or without `:predict`."""

    scheme: str
    host: str
    path: str
    key: str = field(default="", repr=False)

    def connect(self) -> http.client.HTTPConnection:
        kind = http.client.HTTPSConnection if self.scheme == "https" else http.client.HTTPConnection
        return kind(self.host, timeout=TIMEOUT_SECONDS)


def is_url(text: str) -> bool:
    return text.startswith(("http://", "https://"))


def read_key(file: IO[str] | None) -> str:
    """The key that a file holds; "" without one, InvalidArgument for what is no key."""
    if file is None:
        return ""
    key = file.read(MAX_KEY_CHARACTERS + 1).strip()
    if not key or len(key) > MAX_KEY_CHARACTERS or not key.isascii() or not key.isprintable():
        raise InvalidArgument(f"{file.name} holds no key: a line of printable characters is expected")
    return key


def parse_url(text: str, key: str = "") -> ModelUrl:
    """Read the URL of a model, which is asked with this key; InvalidArgument when it is none."""
    parts = urlsplit(text)
    path = parts.path.removesuffix(":predict").rstrip("/")
    if parts.scheme not in ("http", "https") or not parts.netloc or not path.startswith("/v1/models/"):
        raise InvalidArgument(f"{text} is not the URL of a model: give http://HOST:PORT/v1/models/NAME")
    if parts.username is not None:
        raise InvalidArgument("give a key with --key-file, not in the URL, which others can see")
    return ModelUrl(parts.scheme, parts.netloc, path, key)


def predict(
    url: ModelUrl, connection: http.client.HTTPConnection, body: bytes, media_type: str = JSON, signature: str = ""
) -> Any:
    """The JSON that a model answers; a signature is named here for bodies that are not JSON."""
    query = f"?{urlencode({'signature_name': signature})}" if signature else ""
    return ask(url, connection, "POST", f"{url.path}:predict{query}", body, media_type)


def ask(
    url: ModelUrl,
    connection: http.client.HTTPConnection,
    method: str,
    path: str,
    body: bytes | None = None,
    media_type: str = JSON,
) -> Any:
    """The JSON that a server answers; a ServingError with its words when it is an error."""
    headers = {"Accept": JSON} | ({"Content-Type": media_type} if body is not None else {})
    if url.key:
        headers["Authorization"] = f"Bearer {url.key}"
    try:
        connection.request(method, path, body, headers)
        response = connection.getresponse()
        content = response.read()
    except (OSError, http.client.HTTPException) as error:
        raise Unavailable(f"cannot ask {connection.host}:{connection.port}: {error}") from None
    try:
        document = json.loads(content)
    except ValueError:
        raise ServingError(f"{connection.host}:{connection.port} answered {response.status} without JSON") from None
    if response.status != http.client.OK:
        raise ServingError(f"{response.status}: {document.get('error', content[:200])}")
    return document


def signature_of(url: ModelUrl, connection: http.client.HTTPConnection, name: str) -> Mapping[str, Any]:
    """The SignatureDef of a signature as the server's metadata has it, "" for the default one."""
    metadata = ask(url, connection, "GET", f"{url.path}/metadata")
    signatures: dict[str, Any] = metadata["metadata"]["signature_def"]["signature_def"]
    wanted = name or DEFAULT_SIGNATURE
    if wanted not in signatures:
        raise NotFound(f"the model has no signature {wanted}; it has {', '.join(sorted(signatures))}")
    found: Mapping[str, Any] = signatures[wanted]
    return found
