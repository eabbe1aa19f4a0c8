"""One target under atheris, in a process that ends with it: FUZZ_TARGET=NAME python -m tests.fuzz.fuzzer [ARGUMENT ...]

The arguments are libFuzzer's, which starts further processes with them; hence the name in the environment.
"""

import os
import sys

import atheris

with atheris.instrument_imports(include=["serving.rest", "serving.tensors"]):
    from tests.fuzz.targets import TARGETS, hold


def main() -> None:
    """Run until libFuzzer ends the process."""
    target = TARGETS[os.environ["FUZZ_TARGET"]]
    started = f"{sys.executable} -m tests.fuzz.fuzzer"  # what libFuzzer starts further processes by
    atheris.Setup([started, *sys.argv[1:]], lambda data: hold(target, data))
    atheris.Fuzz()


if __name__ == "__main__":
    main()
