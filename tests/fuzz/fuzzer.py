"""One target under atheris, in a process that ends with it: python -m tests.fuzz.fuzzer NAME [of libFuzzer ...]"""

import sys

import atheris

with atheris.instrument_imports(include=["serving.rest", "serving.tensors"]):
    from tests.fuzz.targets import TARGETS, hold


def main() -> None:
    """Run until libFuzzer ends the process."""
    target = TARGETS[sys.argv.pop(1)]
    atheris.Setup(sys.argv, lambda data: hold(target, data))
    atheris.Fuzz()


if __name__ == "__main__":
    main()
