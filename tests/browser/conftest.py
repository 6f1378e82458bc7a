"""Pages in a real browser, wide and light, narrow and dark."""

import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.browser.test_report_page import CHROMIUM, FLAGS, Opened

WIDE, NARROW = (1280, "light"), (390, "dark")


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
