"""A model of a running server, asked over HTTP by the commands."""

import http.client
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

from serving.errors import InvalidArgument, NotFound, ServingError, Unavailable

TIMEOUT_SECONDS = 300.0
DEFAULT_SIGNATURE = "serving_default"


@dataclass(frozen=True)
class ModelUrl:
    """Where a model is served: `http://host:port/v1/models/NAME[/versions/V]`, with or without `:predict`."""

    scheme: str
    host: str
    path: str

    def connect(self) -> http.client.HTTPConnection:
        kind = http.client.HTTPSConnection if self.scheme == "https" else http.client.HTTPConnection
        return kind(self.host, timeout=TIMEOUT_SECONDS)


def is_url(text: str) -> bool:
    return text.startswith(("http://", "https://"))


def parse_url(text: str) -> ModelUrl:
    """Read the URL of a model; InvalidArgument when it is none."""
    parts = urlsplit(text)
    path = parts.path.removesuffix(":predict").rstrip("/")
    if parts.scheme not in ("http", "https") or not parts.netloc or not path.startswith("/v1/models/"):
        raise InvalidArgument(f"{text} is not the URL of a model: give http://HOST:PORT/v1/models/NAME")
    return ModelUrl(parts.scheme, parts.netloc, path)


def ask(connection: http.client.HTTPConnection, method: str, path: str, body: bytes | None = None) -> Any:
    """The JSON that a server answers; a ServingError with its words when it is an error."""
    try:
        connection.request(method, path, body, {"Content-Type": "application/json"} if body is not None else {})
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
    metadata = ask(connection, "GET", f"{url.path}/metadata")
    signatures: dict[str, Any] = metadata["metadata"]["signature_def"]["signature_def"]
    wanted = name or DEFAULT_SIGNATURE
    if wanted not in signatures:
        raise NotFound(f"the model has no signature {wanted}; it has {', '.join(sorted(signatures))}")
    found: Mapping[str, Any] = signatures[wanted]
    return found
