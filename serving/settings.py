"""Every setting of the server, read in one place from the environment.

A name is `SERVING_` and the field's name in capitals, but for HOST, PORT and WEB_CONCURRENCY, which other tools share.
A name that begins with SERVING_ and is not in the table is an error: a misspelt setting must not be ignored.
"""

import difflib
import ipaddress
import math
import os
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any, Literal

from serving.errors import SettingsError

PREFIX = "SERVING_"
MEBI = 1024 * 1024
REQUEST_MEMORY_SHARES = 5
"""Of the memory for requests a share is for bodies, one for texts and tensors, the others are for objects."""
KEPT_SHARES = 20
"""One of so many parts of the memory for requests is what threads may keep when these are answered."""


def _whole(minimum: int, maximum: int | None = None) -> Callable[[str], int]:
    def parse(text: str) -> int:
        value = int(text)
        if value < minimum or (maximum is not None and value > maximum):
            raise ValueError
        return value

    upper = "" if maximum is None else f" to {maximum}"
    parse.__doc__ = f"a whole number from {minimum}{upper}" if upper else f"a whole number, {minimum} or more"
    return parse


def _seconds(minimum: float) -> Callable[[str], float]:
    def parse(text: str) -> float:
        value = float(text)
        if not math.isfinite(value) or value < minimum:
            raise ValueError
        return value

    parse.__doc__ = f"a number of seconds, {minimum:g} or more"
    return parse


def _milliseconds(text: str) -> float:
    """a number of milliseconds, 0 or more"""
    return _seconds(0)(text)


def _choice(*choices: str) -> Callable[[str], str]:
    def parse(text: str) -> str:
        if text not in choices:
            raise ValueError
        return text

    parse.__doc__ = "one of " + ", ".join(choices)
    return parse


def _text(text: str) -> str:
    """some text, not empty"""
    if not text:
        raise ValueError
    return text


def _flag(text: str) -> bool:
    """true or false"""
    return {"true": True, "false": False}[text.lower()]


def _names(text: str) -> tuple[str, ...]:
    """a comma-separated list of names of operations such as PyFunc"""
    names = tuple(part.strip() for part in text.split(",") if part.strip())
    if not all(re.fullmatch(r"[A-Za-z_][\w>]*", name, re.ASCII) for name in names):
        raise ValueError
    return names


def _path(text: str) -> Path:
    """a path"""
    if not text:
        raise ValueError
    return Path(text)


def _origins(text: str) -> tuple[str, ...]:
    """a comma-separated list of origins such as https://app.example, or *"""
    origins = tuple(part.strip() for part in text.split(",") if part.strip())
    if any(part != "*" and "://" not in part for part in origins):
        raise ValueError
    return origins


def _hosts(text: str) -> tuple[str, ...]:
    """a comma-separated list of host names without ports such as models.example, or *"""
    hosts = tuple(part.strip().strip("[]") for part in text.split(",") if part.strip())
    if not all(re.fullmatch(r"\*|[\w.-]+|[0-9A-Fa-f:]+:[0-9A-Fa-f:.]*", part, re.ASCII) for part in hosts):
        raise ValueError
    return hosts


def setting(default: Any, parse: Callable[[str], Any], help: str, name: str = "") -> Any:
    """A field of Settings: its default, how its text is read, what it means, and its name where that is not derived."""
    return field(default=default, metadata={"parse": parse, "help": help, "name": name})


@dataclass(frozen=True)
class Settings:
    """What the operator asked for. Times are in seconds, sizes in bytes."""

    host: str = setting("127.0.0.1", _text, "address to listen on; 0.0.0.0 is every address", name="HOST")
    port: int = setting(5000, _whole(1, 65535), "TCP port to listen on", name="PORT")
    workers: int = setting(
        0, _whole(0), "worker processes; 0 fits them to cores, memory and GPUs", name="WEB_CONCURRENCY"
    )
    threads: int = setting(0, _whole(0), "request threads of a worker; 0 chooses")
    model_dir: Path = setting(Path("model"), _path, "directory of models: NAME/VERSION, VERSION, or one SavedModel")
    model_name: str = setting("model", _text, "name of the model when SERVING_MODEL_DIR holds just one")
    model_config_file: Path | None = setting(
        None, _path, "a models.config of TensorFlow Serving; used instead of SERVING_MODEL_DIR"
    )
    model_poll_seconds: float = setting(
        1.0, _seconds(0), "how often the models on disk are looked at; 0 is once, at start"
    )
    require_manifest: bool = setting(False, _flag, "load only versions with a manifest.json that lists their files")
    manifest_keys_file: Path | None = setting(
        None,
        _path,
        "public Ed25519 keys (PEM); with it a version is loaded only if one of them signed its manifest.json",
    )
    allow_ops: tuple[str, ...] = setting(
        (), _names, "operations that models may use beside those in serving/models/allowed_ops.txt"
    )
    check_golden: bool = setting(True, _flag, "load only versions that answer their golden requests as expected")
    request_timeout_seconds: float = setting(
        30.0, _seconds(0.001), "time that a request may take, from its arrival, before it is answered 504"
    )
    max_queued_requests: int = setting(
        512, _whole(1), "requests of a worker that may wait for a thread; more are answered 503"
    )
    batching_parameters_file: Path | None = setting(
        None, _path, "a batching_parameters file of TensorFlow Serving, for models without one of their own"
    )
    latency_target_ms: float = setting(
        0.0, _milliseconds, "keep batches so small that a request may wait for one and run in the next; 0 is no target"
    )
    freeze_max_bytes: int = setting(
        32 * MEBI, _whole(0), "largest model whose variables are made constants at load, on the CPU; 0 is none"
    )
    unready_seconds: float = setting(
        0.0, _seconds(0), "time at shutdown that the server says it is not ready before it takes no more connections"
    )
    drain_seconds: float = setting(30.0, _seconds(0), "time that requests in flight get to finish at shutdown")
    max_request_line_bytes: int = setting(4094, _whole(64, MEBI), "longest request line")
    max_headers: int = setting(100, _whole(1, 10_000), "most headers of a request")
    max_header_bytes: int = setting(8190, _whole(64, MEBI), "longest header: name and value")
    max_head_bytes: int = setting(64 * 1024, _whole(64, MEBI), "longest head of a request: its line and all headers")
    head_seconds: float = setting(5.0, _seconds(0.1), "time that the head of a request, or a TLS handshake, may take")
    body_seconds: float = setting(
        10.0, _seconds(0.1), "time that a body, or the reading of an answer, may take whatever its size"
    )
    body_seconds_per_mebibyte: float = setting(1.0, _seconds(0), "time that it may take beside that for each MiB")
    keep_alive_seconds: int = setting(5, _whole(1), "time that a connection stays open between two requests")
    max_body_bytes: int = setting(16 * MEBI, _whole(1), "largest request body, as it is sent")
    max_decompressed_bytes: int = setting(64 * MEBI, _whole(1), "largest request body, after decompression")
    max_json_depth: int = setting(100, _whole(67, 250), "most levels that JSON is nested")
    max_rank: int = setting(64, _whole(1, 64), "most dimensions of a tensor in a request")
    max_request_id_chars: int = setting(128, _whole(1, 1024), "longest X-Request-Id that is kept")
    request_memory_bytes: int = setting(
        0, _whole(0), "memory that the requests of a worker may take together; 0 is 40 times SERVING_MAX_BODY_BYTES"
    )
    memory_wait_seconds: float = setting(
        1.0, _seconds(0), "time that a request waits for memory that others have, before it is answered 503"
    )
    max_connections: int = setting(
        1000, _whole(1), "connections that a worker has at once; more wait until it has fewer"
    )
    non_finite: Literal["literal", "null", "error"] = setting(
        "literal",
        _choice("literal", "null", "error"),
        "NaN and infinities in answers: bare tokens as TensorFlow Serving writes, null, or an error",
    )
    cors_origins: tuple[str, ...] = setting((), _origins, "web origins whose pages may call the server; * is all")
    console: bool = setting(True, _flag, "serve the console at / to browsers")
    allowed_hosts: tuple[str, ...] = setting(
        (),
        _hosts,
        "names that requests may be for beside localhost; * is any, as it is without this on a public address",
    )
    upstream_status: bool = setting(
        False, _flag, "answer malformed paths and methods 400, as TensorFlow Serving does, instead of 404 and 405"
    )
    keys_file: Path | None = setting(
        None, _path, "file of API keys and grants, written by `python -m serving keys`; with it callers need a key"
    )
    allow_anonymous: bool = setting(
        False, _flag, "listen on a public address even where nobody is asked for a key, a token or a certificate"
    )
    jwt_jwks_file: Path | None = setting(
        None, _path, "public keys (JWKS) of the identity provider whose JSON Web Tokens are accepted"
    )
    jwt_issuer: str = setting("", _text, "`iss` of the tokens that are accepted")
    jwt_audience: str = setting("", _text, "`aud` of the tokens that are accepted")
    jwt_roles_claim: str = setting("roles", _text, "claim of a token that names its roles; a dot looks inside another")
    tls_cert_file: Path | None = setting(None, _path, "certificate chain (PEM) of the server; with it HTTPS is spoken")
    tls_key_file: Path | None = setting(None, _path, "private key (PEM) of that certificate")
    tls_client_ca_file: Path | None = setting(
        None, _path, "authorities (PEM) whose client certificates are accepted; with it callers are asked for one"
    )
    tls_client_cert: Literal["required", "optional"] = setting(
        "required", _choice("required", "optional"), "whether a connection without a client certificate is refused"
    )
    audit_file: Path | None = setting(None, _path, "file to append a line of JSON to for each request, for auditors")
    allow_model_control: bool = setting(
        False, _flag, "let callers load and unload models through /v2/repository/models/NAME/load and /unload"
    )
    access_log: bool = setting(True, _flag, "write a line for each request")
    log_format: str = setting("text", _choice("text", "json"), "form of the log lines")
    runtime_dir: Path | None = setting(
        None, _path, "directory that the workers share their metrics and model states in; gunicorn.conf.py makes one"
    )
    worker_index: int = setting(0, _whole(0), "number of this worker among its siblings; gunicorn.conf.py sets it")

    @classmethod
    def from_environ(cls, environ: Mapping[str, str] = os.environ) -> "Settings":
        """Read the settings from `environ`; a SettingsError of one line names the first thing wrong."""
        known = {environ_name(name): name for name in cls.__dataclass_fields__}
        for variable in environ:
            if variable.startswith(PREFIX) and variable not in known:
                raise SettingsError(_unknown(variable, list(known)))
        values = {name: _read(cls, name, environ[variable]) for variable, name in known.items() if variable in environ}
        return cls(**values)

    @property
    def listens_on_loopback(self) -> bool:
        """Whether only programs of this machine can reach the server."""
        return is_loopback(self.host)

    @property
    def bodies_bytes(self) -> int:
        """What the bodies that a worker holds as they came, and the answers that it has yet to send, may take."""
        return self.memory_for_requests // REQUEST_MEMORY_SHARES

    @property
    def texts_bytes(self) -> int:
        """What those bodies may take that are copied or decompressed to be read, and the tensors in them."""
        return self.memory_for_requests // REQUEST_MEMORY_SHARES

    @property
    def objects_bytes(self) -> int:
        """What the objects may take that JSON becomes while it is read, and answers until they are sent."""
        return self.memory_for_requests - self.bodies_bytes - self.texts_bytes

    @property
    def kept_bytes(self) -> int:
        """What the threads of a worker may keep, for the next requests, of the memory that they have freed."""
        return self.memory_for_requests // KEPT_SHARES

    @property
    def memory_for_requests(self) -> int:
        """What the requests of a worker may take together."""
        return self.request_memory_bytes or 40 * self.max_body_bytes

    @property
    def metrics_dir(self) -> Path | None:
        """Where the workers keep their metrics; None for a process alone."""
        return self.runtime_dir and self.runtime_dir / "metrics"

    @property
    def workers_dir(self) -> Path | None:
        """Where the workers tell each other the states of their models; None for a process alone."""
        return self.runtime_dir and self.runtime_dir / "workers"

    @property
    def limits_dir(self) -> Path | None:
        """Where the workers count what each key has used; None for a process alone."""
        return self.runtime_dir and self.runtime_dir / "limits"

    @property
    def control_dir(self) -> Path | None:
        """Where the workers find what administration has ordered; None for a process alone."""
        return self.runtime_dir and self.runtime_dir / "control"

    @property
    def runs_dir(self) -> Path | None:
        """Where the workers note what they have their models do; None for a process alone."""
        return self.runtime_dir and self.runtime_dir / "runs"

    @property
    def statistics_dir(self) -> Path | None:
        """Where the workers count what requests have cost; None for a process alone."""
        return self.runtime_dir and self.runtime_dir / "statistics"

    def rows(self) -> list[tuple[str, str, str, str]]:
        """Name, value, default and meaning of every setting, as text, in the order of the table."""
        return [
            (environ_name(f.name), _shown(getattr(self, f.name)), _shown(f.default), f.metadata["help"])
            for f in fields(self)
        ]


def is_loopback(host: str) -> bool:
    """Whether an address can only be reached from this machine."""
    try:
        return ipaddress.ip_address(host.strip("[]").partition("%")[0]).is_loopback
    except ValueError:
        return host == "localhost"


def environ_name(field_name: str) -> str:
    """The environment variable of a field of Settings."""
    given: str = Settings.__dataclass_fields__[field_name].metadata["name"]
    return given or PREFIX + field_name.upper()


def _read(cls: type[Settings], name: str, text: str) -> Any:
    parse = cls.__dataclass_fields__[name].metadata["parse"]
    try:
        return parse(text.strip())
    except (ValueError, KeyError):
        raise SettingsError(f"{environ_name(name)}={text!r} cannot be used: give {parse.__doc__}") from None


def _unknown(variable: str, known: list[str]) -> str:
    bare = {name.removeprefix(PREFIX): name for name in known}
    near = difflib.get_close_matches(variable.removeprefix(PREFIX), bare, n=1, cutoff=0)[0]
    return f"{variable} is not a setting; did you mean {bare[near]}? `python -m serving settings` lists them all"


def _shown(value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, tuple):
        return ",".join(value)
    return str(value).lower() if isinstance(value, bool) else str(value)
