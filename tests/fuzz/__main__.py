"""Fuzz the readers of bodies for some seconds each, guided by coverage: python -m tests.fuzz [--seconds 60] [NAME ...]

Needs atheris. What reaches new code is added to tests/fuzz/corpus; what fails is written to the working directory, and
is kept in tests/fuzz/corpus too once it is mended.
"""

import argparse
import os
import subprocess
import sys
import tempfile
from pathlib import Path

CORPUS = Path(__file__).parent / "corpus"
MAX_BYTES = 1024
"""Of an input, which may swell."""
LIMITS = (
    "-rss_limit_mb=4096",
    "-timeout=20",
    f"-max_len={MAX_BYTES}",
    f"-dict={Path(__file__).parent / 'dictionary'}",
)


def main() -> int:
    """Fuzz each target in a process of its own; 0 when nothing was found."""
    names = sorted(folder.name for folder in CORPUS.iterdir())
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz", description="Fuzz the readers of bodies.")
    parser.add_argument("names", nargs="*", default=names, metavar="NAME", help=f"of {', '.join(names)}")
    parser.add_argument("--seconds", type=int, default=60, help="for each")
    arguments = parser.parse_args()
    return max(fuzz(name, arguments.seconds) for name in arguments.names)


def fuzz(name: str, seconds: int) -> int:
    """Fuzz one target, and keep what reaches code that the corpus did not."""
    with tempfile.TemporaryDirectory() as found:
        print(f"== {name}", flush=True)
        status = run(name, f"-max_total_time={seconds}", found, str(CORPUS / name))
        return status or run(name, "-merge=1", str(CORPUS / name), found)


def run(name: str, *arguments: str) -> int:
    command = [sys.executable, "-m", "tests.fuzz.fuzzer", *LIMITS, *arguments]
    return subprocess.run(command, env={**os.environ, "FUZZ_TARGET": name}, check=False).returncode


if __name__ == "__main__":
    sys.exit(main())
