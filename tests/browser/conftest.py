"""Pages in a real browser, wide and light, narrow and dark.

The drivers' own browsers play no H.264, so this takes Debian's.
"""

import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

CHROMIUM = Path("/usr/bin/chromium")
FLAGS = [
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]

WIDE, NARROW = (1280, "light"), (390, "dark")


class Opened:
    """A page that is open, with everything that it said and asked for."""

    def __init__(self, page):
        self.page = page
        self.said: list[str] = []
        self.asked: list[str] = []
        page.on("console", lambda message: self.said.append(message.text))
        page.on("pageerror", lambda error: self.said.append(str(error)))
        page.on("request", lambda request: self.asked.append(request.url))

    def until(self, expression: str, seconds: float = 15) -> None:
        """Wait until `expression` is true (the driver's own waiting breaks the page's policy)."""
        end = time.monotonic() + seconds
        while not self.page.evaluate(expression):
            assert time.monotonic() < end, f"not within {seconds} s: {expression}"
            self.page.wait_for_timeout(50)


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    if not CHROMIUM.exists():
        if os.environ.get("CI") == "true":
            pytest.fail(f"CI has no browser at {CHROMIUM}: apt-get install chromium")
        pytest.skip(f"no browser at {CHROMIUM}: apt-get install chromium")
    return tmp_path_factory.mktemp("browser")


@pytest.fixture(params=[WIDE, NARROW], ids=["wide light", "narrow dark"])
def open_page(request, tmp_path: Path) -> Iterator[Callable[[Path], Opened]]:
    from playwright.sync_api import sync_playwright

    width, scheme = request.param
    with sync_playwright() as driver:
        browser = driver.chromium.launch_persistent_context(
            str(tmp_path / "profile"),
            executable_path=str(CHROMIUM),
            args=FLAGS,
            viewport={"width": width, "height": 844},
            color_scheme=scheme,
            accept_downloads=True,
        )

        def open_one(path: Path) -> Opened:
            opened = Opened(browser.new_page())
            opened.page.goto(path.as_uri())
            opened.page.wait_for_load_state("load")
            return opened

        yield open_one
        browser.close()


def luminance(colour: str) -> float:
    channels = [int(part) / 255 for part in colour[4:-1].split(",")]
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in channels]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]
