"""Where things are."""

from pathlib import Path

BENCH = Path(__file__).parent
ROOT = BENCH.parent
APPS = BENCH / "apps"
ENVIRONMENTS = BENCH / ".envs"
MODELS = BENCH / ".models"
RESULTS = BENCH / "results"
IMAGES = ROOT / "docs" / "images"
