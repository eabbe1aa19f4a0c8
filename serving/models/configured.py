"""The source of models that the settings ask for."""

from serving.models.config_file import ConfigFileSource
from serving.models.directory import DirectorySource
from serving.models.scanner import Scanner
from serving.models.source import Source
from serving.settings import Settings


def make_source(settings: Settings) -> Source:
    """A source that polls what the settings name."""
    scanner = Scanner(settings.model_poll_seconds)
    if settings.model_config_file is not None:
        last_good = settings.runtime_dir and settings.runtime_dir / "models.config"
        return ConfigFileSource(settings.model_config_file, scanner, last_good)
    return DirectorySource(settings.model_dir, settings.model_name, scanner)
