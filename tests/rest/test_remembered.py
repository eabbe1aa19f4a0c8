"""What is remembered of paths, and what is not."""

from serving.rest.remembered import MOST, SHORT, remembered


def test_what_a_short_path_means_is_found_out_once() -> None:
    asked = list[str]()

    @remembered
    def length(path: str) -> int:
        asked.append(path)
        return len(path)

    assert [length(path) for path in ("/a", "/b/", "/a")] == [2, 3, 2]
    assert asked == ["/a", "/b/"]


def test_long_paths_and_most_of_many_are_not_kept() -> None:
    asked = list[str]()

    @remembered
    def method_and_path(method: str, path: str) -> str:
        asked.append(path)
        return method + path

    longest, too_long = "/" * SHORT, "/" * (SHORT + 1)
    for path in (longest, too_long, longest, too_long):
        assert method_and_path("GET", path) == "GET" + path
    assert asked == [longest, too_long, too_long]
    for number in range(MOST):
        method_and_path("GET", f"/{number}")
    assert method_and_path("GET", longest) == "GET" + longest
    assert asked[-1] == longest
