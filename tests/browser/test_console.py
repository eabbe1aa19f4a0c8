"""The console as people use it: with a mouse, with a keyboard, on a phone, in the dark."""

import json
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Page, Route, expect

from tests.browser.conftest import OpenPage, Watched, write_png

Stroke = list[tuple[float, float]]

STROKES: dict[str, list[Stroke]] = {
    "zero": [
        [
            (0.5, 0.12),
            (0.3, 0.25),
            (0.25, 0.5),
            (0.3, 0.75),
            (0.5, 0.88),
            (0.7, 0.75),
            (0.75, 0.5),
            (0.7, 0.25),
            (0.5, 0.12),
        ]
    ],
    "two": [
        [(0.3, 0.28), (0.4, 0.15), (0.6, 0.15), (0.7, 0.28), (0.65, 0.45), (0.45, 0.65), (0.28, 0.86), (0.74, 0.86)]
    ],
    "four": [[(0.6, 0.88), (0.6, 0.12), (0.25, 0.62), (0.8, 0.62)]],
    "seven": [[(0.27, 0.15), (0.73, 0.15), (0.45, 0.88)], [(0.35, 0.5), (0.65, 0.5)]],
}
"""Digits as a person draws them, in a square of 1 by 1."""

PHONE = {"viewport": {"width": 390, "height": 844}, "has_touch": True}
AUDITS = [
    pytest.param({"color_scheme": scheme, **size}, id=f"{scheme}-{name}")
    for scheme in ("light", "dark")
    for name, size in (("wide", {}), ("phone", PHONE))
]


def draw(page: Page, strokes: list[Stroke], size: float = 1.0) -> None:
    """Draw with the mouse, as large as `size` of the pad."""
    pad = page.get_by_label("Drawing pad")
    pad.scroll_into_view_if_needed()
    box = pad.bounding_box()
    assert box is not None
    for stroke in strokes:
        places = [(box["x"] + x * size * box["width"], box["y"] + y * size * box["height"]) for x, y in stroke]
        page.mouse.move(*places[0])
        page.mouse.down()
        for place in places[1:]:
            page.mouse.move(*place, steps=4)
        page.mouse.up()


def run(page: Page) -> None:
    page.get_by_role("button", name="Run").click()


def serious(page: Page) -> list[str]:
    """What an accessibility audit finds that keeps people from using the page."""
    found = Axe().run(page).response["violations"]
    return [
        f"{one['id']}: {node['html'][:120]}"
        for one in found
        if one["impact"] in ("serious", "critical")
        for node in one["nodes"]
    ]


# The drawing pad.


@pytest.mark.parametrize(("digit", "size"), [*((digit, 1.0) for digit in STROKES), ("four", 0.4)])
def test_a_drawn_digit_is_recognised_at_once(open_page: OpenPage, digit: str, size: float) -> None:
    page = open_page("/#/digits")
    draw(page, STROKES[digit], size)
    expect(page.locator("output.value")).to_have_text(digit)
    expect(page.locator("tr.top th")).to_have_text(digit)
    assert page.locator(".bars tbody tr").count() == 10


def test_the_pad_can_be_undone_and_cleared(open_page: OpenPage) -> None:
    page = open_page("/#/digits")
    draw(page, STROKES["zero"])
    draw(page, [[(0.1, 0.1), (0.9, 0.9)]])
    page.get_by_role("button", name="Undo").click()
    run(page)
    expect(page.locator("output.value")).to_have_text("zero")
    page.get_by_role("button", name="Clear").click()
    run(page)
    expect(page.locator(".failure")).to_contain_text("draw something first")


def test_a_digit_can_be_drawn_with_the_keyboard_alone(open_page: OpenPage) -> None:
    page = open_page("/#/digits")
    page.get_by_label("Drawing pad").focus()
    for key, times in [("ArrowUp", 7), (" ", 1), ("ArrowDown", 14), (" ", 1)]:
        for _ in range(times):
            page.keyboard.press(key)
    expect(page.locator("output.value")).to_have_text("one")


def test_the_signature_that_takes_examples_is_drawn_for_as_well(open_page: OpenPage) -> None:
    page = open_page("/#/digits/2/classify")
    draw(page, STROKES["four"])
    expect(page.locator("tr.top th")).to_have_text("four")


# Pictures.


@pytest.mark.parametrize("dark_paper", [False, True])
@pytest.mark.parametrize("digit", [2, 6])
def test_a_picture_of_a_digit_is_recognised(
    open_page: OpenPage, held_out_digits: dict[int, np.ndarray], tmp_path: Path, digit: int, dark_paper: bool
) -> None:
    ink = np.kron(np.pad(held_out_digits[digit], 3), np.ones((20, 20))) / 16
    gray = 20 + 210 * (ink if dark_paper else 1 - ink)
    page = open_page("/#/digits")
    page.get_by_role("button", name="Picture", exact=True).click()
    page.locator("input[type=file]").set_input_files(write_png(tmp_path / "digit.png", gray.astype(np.uint8)))
    expect(page.locator(".drop")).to_contain_text("digit.png")
    run(page)
    expect(page.locator("output.value")).to_have_text(["two", "six"][digit == 6])


def test_a_file_that_is_no_picture_is_refused_in_words(open_page: OpenPage, tmp_path: Path) -> None:
    (tmp_path / "notes.png").write_text("no picture")
    page = open_page("/#/digits")
    page.get_by_role("button", name="Picture", exact=True).click()
    page.locator("input[type=file]").set_input_files(tmp_path / "notes.png")
    expect(page.locator(".drop")).to_contain_text("notes.png cannot be read as a picture")


def test_a_picture_is_sent_at_its_own_size_where_that_varies(open_page: OpenPage, tmp_path: Path) -> None:
    page = open_page("/#/size")
    page.locator("input[type=file]").set_input_files(write_png(tmp_path / "wide.png", np.zeros((30, 50), np.uint8)))
    expect(page.locator("figcaption")).to_have_text("The model sees 50 × 30")
    run(page)
    expect(page.locator(".result")).to_contain_text("30x50")
    page.get_by_role("button", name="Draw").click()
    draw(page, STROKES["zero"])
    expect(page.locator(".result")).to_contain_text("224x224")


def test_a_picture_is_made_as_small_as_a_request_may_be(open_page: OpenPage, tmp_path: Path) -> None:
    page = open_page("/docs")

    def allow_little(route: Route) -> None:
        answer = route.fetch()
        route.fulfill(response=answer, json={**answer.json(), "most_values": 300})

    page.route("**/console/models/size/**", allow_little)
    page.goto(page.url.replace("/docs", "/#/size"))
    page.locator("input[type=file]").set_input_files(write_png(tmp_path / "wide.png", np.zeros((30, 50), np.uint8)))
    expect(page.locator("figcaption")).to_have_text("The model sees 12 × 7")
    run(page)
    expect(page.locator(".result")).to_contain_text("7x12")


# Other inputs.


def test_numbers_and_texts_have_fields_and_their_answer_is_shown(open_page: OpenPage) -> None:
    page = open_page("/#/inputs")
    page.get_by_label("a [0]").fill("1.5")
    page.get_by_label("a [1]").fill("2")
    page.get_by_label("b", exact=True).fill("4")
    page.get_by_label("c", exact=True).fill("héllo")
    run(page)
    expect(page.locator("dd").filter(has_text="héllo:4")).to_be_visible()
    expect(page.locator("dd").filter(has_text=re.compile(r"^7\.5$"))).to_be_visible()


def test_a_field_that_is_wrong_is_named_and_marked(open_page: OpenPage) -> None:
    page = open_page("/#/inputs")
    page.get_by_label("b", exact=True).fill("1.5")
    run(page)
    expect(page.locator(".failure")).to_contain_text("b: “1.5” is not a whole number")
    expect(page.get_by_label("b", exact=True)).to_be_focused()
    expect(page.get_by_label("b", exact=True)).to_have_attribute("aria-invalid", "true")


def test_integers_of_64_bits_stay_exact(open_page: OpenPage) -> None:
    page = open_page("/#/inputs")
    page.get_by_label("b", exact=True).fill("9007199254740993")
    run(page)
    expect(page.locator("dd").filter(has_text=":9007199254740993")).to_be_visible()


def test_a_pasted_table_is_answered_row_by_row(open_page: OpenPage) -> None:
    page = open_page("/#/inputs")
    page.get_by_role("button", name="Table").click()
    page.get_by_role("textbox", name="Table").fill('b\tc\ta[1]\ta[0]\n1\tx\t0\t0.5\n2\t"y;z"\t1\t1')
    run(page)
    expect(page.locator(".table tbody tr")).to_have_text(["11.5x:1", "24y;z:2"])


@pytest.mark.parametrize(
    ("table", "said"),
    [
        ("b,c", "The table has a header but no rows"),
        ("a[0],a[1],b,c\n1,2,3", "Row 1 has 3 cells where the header has 4"),
        ("a[0],b,c\n1,2,3", "The header lacks a[1]"),
        ("a[0],a[1],b,c\n1,x,3,4", "Row 1: a[1]: “x” is not a number"),
    ],
)
def test_a_table_that_is_wrong_is_told_where(open_page: OpenPage, table: str, said: str) -> None:
    page = open_page("/#/inputs")
    page.get_by_role("button", name="Table").click()
    page.get_by_role("textbox", name="Table").fill(table)
    run(page)
    expect(page.locator(".failure")).to_contain_text(said)


@pytest.mark.parametrize(
    ("address", "shown"),
    [
        ("/#/bytes", "7 bytes"),
        ("/#/examples/1/classify", "high"),
        ("/#/examples/1/regress", "value"),
        ("/#/mlp", "y"),
        ("/#/scalar", "y"),
        ("/#/scalar/1/matrix", "3 × 3 values"),
    ],
)
def test_every_kind_of_signature_runs_with_its_example(open_page: OpenPage, address: str, shown: str) -> None:
    page = open_page(address)
    page.get_by_role("button", name="Load an example").click()
    expect(page.locator(".result")).to_contain_text(shown)


def test_what_the_server_refuses_is_shown(watched: Watched) -> None:
    watched.expected = ("status of 400",)
    page = watched.open("/#/examples/1/regress_pairs")
    run(page)
    expect(page.locator(".failure")).to_contain_text("Refused with 400")
    expect(page.locator(".failure")).to_contain_text("Expected output Tensor shape")


# Versions, code, numbers.


def test_versions_are_compared_on_the_same_input(open_page: OpenPage) -> None:
    page = open_page("/#/digits/2")
    draw(page, STROKES["zero"])
    page.get_by_label("Compare with").select_option("1")
    expect(page.locator(".result")).to_have_count(2)
    expect(page.locator(".result output.value")).to_have_text(["zero", "zero"])
    expect(page.locator(".verdict")).to_contain_text("probabilities agree on zero")


@pytest.mark.parametrize("address", ["/#/inputs", "/#/digits"])
def test_the_request_as_python_gives_the_same_answer(open_page: OpenPage, address: str) -> None:
    page = open_page(address)
    page.get_by_role("button", name="Load an example").click()
    expect(page.locator(".result")).to_be_visible()
    page.get_by_role("tab", name="Python").click()
    code = page.locator("pre.code").inner_text()
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True)
    assert "predictions" in ran.stdout


def test_the_request_can_be_copied(watched: Watched) -> None:
    page = watched.open("/#/inputs", permissions=["clipboard-read", "clipboard-write"])
    page.get_by_role("button", name="Copy").click()
    expect(page.get_by_role("button", name="Copied")).to_be_visible()
    copied = page.evaluate("navigator.clipboard.readText()")
    assert copied == page.locator("pre.code").inner_text()
    assert copied.startswith(f"curl '{watched.base}/v1/models/inputs/versions/1:predict'")


def test_what_a_model_answered_is_counted_live(open_page: OpenPage) -> None:
    page = open_page("/#/mlp")
    note = page.locator('[data-tile="Requests"] .tile-note')
    expect(note).to_contain_text("since the start")
    before = int(note.inner_text().split()[0])
    run(page)
    expect(page.locator(".result")).to_be_visible()
    expect(note).to_have_text(f"{before + 1} since the start")
    expect(page.locator('[data-tile="Latency"] .tile-value')).to_contain_text("ms")


def test_a_version_in_quarantine_is_not_said_to_have_failed_to_load(open_page: OpenPage) -> None:
    def quarantine(route: Route) -> None:
        answer = route.fetch()
        route.fulfill(response=answer, body=answer.text().replace('"quarantined":false', '"quarantined":true'))

    page = open_page("/")
    page.route("**/console/models", quarantine)
    page.goto(page.url.partition("#")[0] + "#/broken/3")
    page.reload()
    expect(page.locator(".failure")).to_contain_text("This version is in quarantine")


def test_a_version_that_failed_says_why(open_page: OpenPage) -> None:
    page = open_page("/#/broken/3")
    expect(page.locator(".failure")).to_contain_text("This version could not be loaded")
    page.get_by_role("link", name=re.compile("Version 2")).click()
    expect(page.get_by_role("heading", name="Input")).to_be_visible()


def test_a_model_that_is_not_there_is_said_so(open_page: OpenPage) -> None:
    expect(open_page("/#/absent").get_by_role("heading", level=1)).to_have_text("No such model")


def test_a_server_that_went_away_is_said_so_and_what_is_shown_stays(watched: Watched) -> None:
    watched.expected = ("ERR_FAILED",)
    page = watched.open("/#/mlp")
    page.clock.install()
    page.reload()
    expect(page.locator("#health")).to_have_text("Ready")
    page.route("**/console/**", lambda route: route.abort())
    page.clock.fast_forward("01:00")
    expect(page.locator("#health")).to_have_text("No answer")
    expect(page.get_by_role("heading", name="mlp")).to_be_visible()
    page.unroute("**/console/**")
    page.clock.fast_forward("01:00")
    expect(page.locator("#health")).to_have_text("Ready")


# Keys, themes, people.


def test_a_key_is_asked_for_and_sent_and_kept_out_of_the_code(watched: Watched) -> None:
    watched.expected = ("status of 401",)
    seen: list[str | None] = []

    def guard(route: object) -> None:
        key = route.request.headers.get("authorization")  # type: ignore[attr-defined]
        seen.append(key)
        if key == "Bearer secret-key":
            route.continue_()  # type: ignore[attr-defined]
        else:
            route.fulfill(status=401, json={"error": "An API key is needed"})  # type: ignore[attr-defined]

    page = watched.open("/docs")  # a page of the same origin, before the console asks anything
    page.route("**/console/models**", guard)
    page.route("**/v1/**", guard)
    page.goto(watched.base + "/#/mlp")
    expect(page.locator(".failure")).to_contain_text("This server asks for an API key")
    page.get_by_role("button", name="Enter a key").click()
    page.get_by_label("Key", exact=True).fill("secret-key")
    page.keyboard.press("Enter")
    run(page)
    expect(page.locator(".result")).to_be_visible()
    assert seen[-1] == "Bearer secret-key"
    assert "$API_KEY" in page.locator("pre.code").inner_text()
    assert "secret-key" not in page.content()
    assert page.evaluate("Object.keys(localStorage)") == []


def test_the_theme_that_was_chosen_stays(open_page: OpenPage) -> None:
    page = open_page("/", color_scheme="light")
    page.get_by_role("button", name="Use the dark theme").click()
    page.reload()
    expect(page.locator("html")).to_have_attribute("data-theme", "dark")
    assert page.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(14, 17, 23)"


@pytest.mark.parametrize("options", AUDITS)
def test_an_accessibility_audit_finds_nothing_serious(open_page: OpenPage, options: dict[str, object]) -> None:
    page = open_page("/#/digits", **options)
    draw(page, STROKES["seven"])
    expect(page.locator(".bars")).to_be_visible()
    assert serious(page) == []
    page.get_by_role("button", name="API key").click()
    assert serious(page) == []
    page.keyboard.press("Escape")
    page.goto(page.url.partition("#")[0] + "#/inputs")
    expect(page.locator("#model-name")).to_have_text("inputs")
    page.get_by_role("button", name="Table").click()
    run(page)
    expect(page.locator(".table")).to_be_visible()
    assert serious(page) == []


@pytest.mark.parametrize("address", ["/#/digits", "/#/inputs", "/#/examples", "/#/broken/3"])
def test_nothing_is_wider_than_a_phone(open_page: OpenPage, address: str) -> None:
    page = open_page(address, **PHONE)
    expect(page.locator("#model-name")).to_be_visible()
    assert page.evaluate("document.documentElement.scrollWidth") <= 390


def test_the_answer_is_spoken(open_page: OpenPage) -> None:
    page = open_page("/#/digits")
    draw(page, STROKES["zero"])
    expect(page.locator("#announcer")).to_contain_text("label: zero")


def test_the_first_page_is_shown(open_page: OpenPage) -> None:
    page = open_page("/")
    page.add_init_script(
        """new MutationObserver(() => {
          if (!window.usable && document.querySelector(".playground")) window.usable = performance.now();
        }).observe(document, { childList: true, subtree: true });"""
    )
    page.reload()
    expect(page.get_by_role("button", name="Run")).to_be_enabled()
    print(f"first page usable after {page.evaluate('window.usable'):.0f} ms")
    sizes = page.evaluate("performance.getEntriesByType('resource').map((entry) => entry.transferSize)")
    print(f"{len(sizes)} files, {sum(sizes) / 1000:.0f} kB: {json.dumps(sizes)}")


def test_the_documentation_shows_the_models(open_page: OpenPage) -> None:
    page = open_page("/docs")
    operation = page.locator(".opblock").filter(has_text="/v1/models/digits:predict").first
    operation.click()
    expect(operation).to_contain_text("serving_default, instances")
    operation.get_by_role("button", name="Try it out").click()
    operation.get_by_role("button", name="Execute").click()
    expect(operation.locator(".live-responses-table")).to_contain_text('"label"')
