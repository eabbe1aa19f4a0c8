"""Every body that fuzzing found worth keeping, read again: each reaches some code that the others do not."""

from pathlib import Path

import pytest

from tests.fuzz.targets import TARGETS, hold, swell

CORPUS = Path(__file__).parent / "corpus"


@pytest.mark.parametrize("name", TARGETS)
def test_what_must_hold_of_every_body_holds_of_those_kept(name: str) -> None:
    kept = sorted((CORPUS / name).iterdir())
    assert len(kept) >= 5
    for file in kept:
        try:
            hold(TARGETS[name], file.read_bytes())
        except Exception as error:
            error.add_note(f"for {file}")
            raise


def test_every_folder_of_the_corpus_has_its_target() -> None:
    assert {folder.name for folder in CORPUS.iterdir()} == set(TARGETS)


def test_a_few_bytes_swell_to_large_bodies() -> None:
    assert swell(b"[\xff\x031,\xff\x012]") == b"[1,1,1,1,1,1,1,1,1,2]"
    assert swell(b"\xff\xff") == b""
    assert len(swell(b"\xff\xff" + b"abc")) <= 160 * 1024
