"""What tests in a browser share: a server with models of every kind, and pages that fail a test on any error."""

import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, BrowserContext, Page, sync_playwright

from tests import saved_models
from tests.server import ROOT, Server, serving

BROWSERS = ("chromium", "chromium-browser", "google-chrome")
MODELS = {
    "bytes": saved_models.bytes_output,
    "examples": saved_models.examples,
    "inputs": saved_models.several_inputs,
    "mlp": saved_models.mlp,
    "scalar": saved_models.no_batch,
    "size": saved_models.size_of_image,
}
CONFIG = """
model_config_list {{
  config {{ name: "digits" base_path: "{digits}" model_platform: "tensorflow" model_version_policy {{ all {{}} }} }}
  {models}
}}
"""

OPTIONS = {"viewport": {"width": 1280, "height": 900}}
OpenPage = Callable[..., Page]


@pytest.fixture(scope="package")
def browser() -> Iterator[Browser]:
    found = next(filter(None, map(shutil.which, BROWSERS)), None)
    if found is None and not os.environ.get("CI"):
        pytest.skip("there is no Chromium here: apt-get install chromium")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=found, args=["--no-sandbox"])
        yield browser
        browser.close()


@pytest.fixture(scope="package")
def context(browser: Browser) -> BrowserContext:
    """What pages without options share, as tabs do; a new one for each takes longer than the page."""
    return browser.new_context(**OPTIONS)


@pytest.fixture(scope="package")
def server(browser: Browser, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    folder = tmp_path_factory.mktemp("models")
    for name, write in MODELS.items():
        write(folder / name / "1")
    saved_models.scale(folder / "broken" / "2", 2.0)
    saved_models.scale(folder / "broken" / "3", 3.0)
    saved_models.garble(folder / "broken" / "3" / "saved_model.pb")
    listed = [
        f'config {{ name: "{name}" base_path: "{folder}/{name}" model_platform: "tensorflow" }}'
        for name in (*MODELS, "broken")
    ]
    config = folder / "models.config"
    config.write_text(CONFIG.format(digits=ROOT / "model" / "digits", models="\n  ".join(listed)))
    with serving(folder / "log", SERVING_MODEL_CONFIG_FILE=config, WEB_CONCURRENCY=2) as server:
        yield server


class Watched:
    """Opens pages and notes what a person would find in the browser's console, and whom the page asks."""

    def __init__(self, context: BrowserContext, port: int, closing: ExitStack) -> None:
        self.base = f"http://127.0.0.1:{port}"
        self.expected: tuple[str, ...] = ()
        self.problems: list[str] = []
        self._context = context
        self._closing = closing

    def open(self, address: str = "/", **options: Any) -> Page:
        page = self._with(options).new_page() if options else self._context.new_page()
        self._closing.callback(page.close)
        page.set_default_timeout(15000)
        page.on("console", lambda message: self._note(message.type, message.text))
        page.on("pageerror", lambda error: self._note("error", str(error)))
        page.on("request", lambda request: self._check(request.url))
        page.goto(self.base + address)
        return page

    def _with(self, options: dict[str, Any]) -> BrowserContext:
        assert self._context.browser is not None
        context = self._context.browser.new_context(**{**OPTIONS, **options})
        self._closing.callback(context.close)
        return context

    def _note(self, kind: str, text: str) -> None:
        if kind in ("error", "warning") and not any(part in text for part in self.expected):
            self.problems.append(f"{kind}: {text}")

    def _check(self, url: str) -> None:
        if not url.startswith((self.base, "data:")):
            self.problems.append(f"asked {url}")


@pytest.fixture
def watched(context: BrowserContext, server: Server) -> Iterator[Watched]:
    """Pages of the server; at the end none may have had an error, or have asked anyone else."""
    with ExitStack() as closing:
        watched = Watched(context, server.port, closing)
        yield watched
        assert watched.problems == []


@pytest.fixture
def open_page(watched: Watched) -> OpenPage:
    return watched.open


@pytest.fixture(scope="session")
def held_out_digits() -> dict[int, Any]:
    """An image of each digit that the model was not trained on, [8, 8] with ink up to 16."""
    from sklearn.datasets import load_digits

    digits = load_digits()
    rows = range(0, len(digits.images), 5)
    return {int(digits.target[row]): digits.images[row] for row in reversed(rows)}


def write_png(path: Path, gray: Any) -> Path:
    """Write rows of gray values from 0 to 255 as a PNG."""
    import struct
    import zlib

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    lines = b"".join(b"\0" + bytes(line) for line in gray)
    head = struct.pack(">IIBBBBB", len(gray[0]), len(gray), 8, 0, 0, 0, 0)
    parts = chunk(b"IHDR", head) + chunk(b"IDAT", zlib.compress(lines)) + chunk(b"IEND", b"")
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + parts)
    return path
