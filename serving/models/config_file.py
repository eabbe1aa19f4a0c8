"""`models.config`: TensorFlow Serving's text protobuf that lists the models to serve.

    model_config_list {
      config {
        name: "half"
        base_path: "/models/half"
        model_platform: "tensorflow"
        model_version_policy { specific { versions: 1 versions: 2 } }
        version_labels { key: "stable" value: 1 }
      }
    }

Files that TensorFlow Serving accepts work unchanged, except those that ask for another platform than TensorFlow. As
there, the default policy is the latest version, and `base_path` is absolute. A file without any list is refused, for it
is more likely half written than meant; `model_config_list {}` serves no model. What cannot be used raises SettingsError
with one line.

The message classes do not import TensorFlow.
"""

import logging
import os
from collections import Counter
from collections.abc import Mapping
from pathlib import Path

from tensorflow_serving.config import model_server_config_pb2 as pb

from serving.errors import SettingsError
from serving.models.scanner import Scanner
from serving.models.source import All, Latest, ModelConfig, ModelOnDisk, Policy, Settled, Specific, nothing_settled
from serving.models.text_proto import parse_message, read_text

logger = logging.getLogger(__name__)

PLATFORMS = ("", "tensorflow")
MODEL_TYPES = (pb.MODEL_TYPE_UNSPECIFIED, pb.TENSORFLOW)


def parse_config(text: str) -> tuple[ModelConfig, ...]:
    """Read the models from the text of a `models.config`, in its order."""
    message = parse_message(text, pb.ModelServerConfig())
    kind = message.WhichOneof("config")
    if kind is None:
        raise SettingsError("it lists no models; write model_config_list {} to serve none")
    if kind != "model_config_list":
        raise SettingsError(f"{kind} is not supported; list the models in model_config_list")
    models = tuple(_model(config, index) for index, config in enumerate(message.model_config_list.config, start=1))
    _check_unique([model.name for model in models])
    return models


def _model(config: pb.ModelConfig, index: int) -> ModelConfig:
    if not config.name:
        raise SettingsError(f"config {index} of model_config_list has no name")
    _check_platform(config)
    if config.HasField("logging_config"):
        logger.warning("model %s: logging_config is not supported and has no effect", config.name)
    return ModelConfig(config.name, _base_path(config), _policy(config), _labels(config))


def _check_platform(config: pb.ModelConfig) -> None:
    if config.model_platform not in PLATFORMS:
        raise SettingsError(f'model {config.name}: model_platform is "{config.model_platform}", expected "tensorflow"')
    if config.model_type not in MODEL_TYPES:
        raise SettingsError(f'model {config.name}: model_type is not TENSORFLOW; write model_platform: "tensorflow"')


def _base_path(config: pb.ModelConfig) -> Path:
    if not config.base_path:
        raise SettingsError(f"model {config.name}: base_path is missing")
    path = Path(config.base_path)
    if not path.is_absolute():
        raise SettingsError(f'model {config.name}: base_path "{path}" is not absolute; write the whole path')
    return path


def _policy(config: pb.ModelConfig) -> Policy:
    policy = config.model_version_policy
    match policy.WhichOneof("policy_choice"):
        case "all":
            return All()
        case "specific":
            return Specific(tuple(policy.specific.versions))
        case "latest":
            return Latest(policy.latest.num_versions or 1)
        case _:
            return Latest()


def _labels(config: pb.ModelConfig) -> dict[str, int]:
    labels = dict(config.version_labels)
    for label, version in labels.items():
        if not label:
            raise SettingsError(f"model {config.name}: a label of version {version} is empty")
        if version < 0:
            raise SettingsError(f'model {config.name}: label "{label}" has version {version}, which is below 0')
    return labels


def _check_unique(names: list[str]) -> None:
    for name, times in Counter(names).items():
        if times > 1:
            raise SettingsError(f"model {name} is listed {times} times; names must be unique")


Stamp = tuple[int, int, int]


class ConfigFileSource:
    """Serves the models that a `models.config` lists, and follows its edits.

    A file that cannot be used raises SettingsError at construction. Later it is logged, once per change of the file,
    and the last good one stays. Its text is kept in `last_good`, so that a process started while the file is broken
    serves what its siblings do.
    """

    def __init__(self, path: Path, scanner: Scanner, last_good: Path | None = None) -> None:
        self._path = path
        self._scanner = scanner
        self._last_good = last_good
        self._stamp = _stamp(path)
        try:
            self._adopt()
        except SettingsError as error:
            if last_good is None or not last_good.exists():
                raise
            logger.error("%s; the models listed before are served", error)
            self._configs = read_config(last_good)

    def poll(self, settled: Settled = nothing_settled) -> Mapping[str, ModelOnDisk]:
        """Look at the file if it changed, and at the models it lists."""
        self._follow_edits()
        return self._scanner.scan(self._configs, settled)

    def _follow_edits(self) -> None:
        stamp = _stamp(self._path)  # before reading, so that an edit meanwhile is seen by the next poll
        if stamp == self._stamp:
            return
        self._stamp = stamp
        try:
            self._adopt()
        except SettingsError as error:
            logger.error("%s; the models listed before stay", error)
        else:
            logger.info("%s was read again: %d models", self._path, len(self._configs))

    def _adopt(self) -> None:
        text = read_text(self._path)
        self._configs = _parse_text(text, self._path)
        if self._last_good is not None:
            draft = self._last_good.with_suffix(f".{os.getpid()}")
            draft.write_text(text, encoding="utf-8")
            draft.replace(self._last_good)


def read_config(path: Path) -> tuple[ModelConfig, ...]:
    """Read a `models.config`; errors begin with its path."""
    return _parse_text(read_text(path), path)


def _parse_text(text: str, path: Path) -> tuple[ModelConfig, ...]:
    try:
        return parse_config(text)
    except SettingsError as error:
        raise SettingsError(f"{path}: {error}") from error


def _stamp(path: Path) -> Stamp | None:
    try:
        status = path.stat()
    except OSError:
        return None
    return status.st_mtime_ns, status.st_size, status.st_ino
