from pathlib import Path

from serving.heap import give_back

PAGE_BYTES = 4096


def resident_bytes() -> int:
    return int(Path("/proc/self/statm").read_text().split()[1]) * PAGE_BYTES


def test_memory_that_was_freed_below_what_is_still_used_goes_back() -> None:
    pieces = [bytes(2000) for _ in range(50_000)]
    pinned = pieces[-1]  # the C library gives back by itself only what lies above everything that is used
    del pieces
    before = resident_bytes()
    give_back()
    assert resident_bytes() < before - 50_000_000
    assert pinned
