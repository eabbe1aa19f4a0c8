"""The models of one directory, without any configuration: its layout says which there are."""

import os
from collections.abc import Mapping
from pathlib import Path

from serving.errors import SettingsError
from serving.models.scanner import Notices, Scanner, holds_saved_model, version_directories
from serving.models.source import ModelConfig, ModelOnDisk, Settled, nothing_settled

_PERMIT = "give the user that runs the server read and execute permission"


def check_directory(path: Path) -> None:
    """Raise SettingsError unless the directory can be listed and entered."""
    try:
        with os.scandir(path):
            pass
    except FileNotFoundError:
        raise SettingsError(f"model directory {path} does not exist: create or mount it, or name another") from None
    except NotADirectoryError:
        raise SettingsError(f"model directory {path} is not a directory: name the directory of the models") from None
    except OSError as error:
        raise SettingsError(f"model directory {path} cannot be read ({error.strerror}): {_PERMIT}") from None
    if not os.access(path, os.X_OK):
        raise SettingsError(f"model directory {path} cannot be entered: {_PERMIT}")


class DirectorySource:
    """Serves what is in one directory, in any of three layouts, recognised anew at each poll.

    - `saved_model.pb`: one model called `name`, without versions
    - `1/saved_model.pb`, `2/saved_model.pb`: one model called `name`, with versions
    - `half/1/`, `digits/7/`: a model for each child directory that has a version directory, called like the child

    An empty directory is none of them and yields nothing. Hidden children and `__pycache__` are no models.
    """

    def __init__(self, directory: Path, name: str, scanner: Scanner) -> None:
        self._directory = directory
        self._name = name
        self._scanner = scanner
        self._notices = Notices()
        self._models: dict[str, ModelOnDisk] = {}

    def poll(self, settled: Settled = nothing_settled) -> Mapping[str, ModelOnDisk]:
        """Look at the directory; where it cannot be listed, repeat the last answer."""
        self._notices.start_poll()
        try:
            configs = self._recognise()
        except OSError as error:
            self._notices.warn(f"cannot list {error.filename or self._directory}: {error.strerror}; nothing changes")
            return self._models
        self._models = self._scanner.scan(configs, settled)
        return self._models

    def _recognise(self) -> list[ModelConfig]:
        if holds_saved_model(self._directory):
            return [ModelConfig(self._name, self._directory, unversioned=True)]
        if any(holds_saved_model(paths[0]) for paths in version_directories(self._directory).values()):
            return [ModelConfig(self._name, self._directory)]
        return [ModelConfig(child.name, child) for child in sorted(self._directory.iterdir()) if self._is_model(child)]

    def _is_model(self, child: Path) -> bool:
        if child.name.startswith(".") or child.name == "__pycache__" or not child.name.isprintable():
            return False
        try:
            return child.is_dir() and bool(version_directories(child))
        except FileNotFoundError:
            return False
        except OSError:  # lost+found is no model; one that was served a poll ago still is
            return child.name in self._models
