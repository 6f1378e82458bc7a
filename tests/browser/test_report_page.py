"""The report in a real browser: videos play in step, tables sort, nothing overflows or is fetched.

The drivers' own browsers play no H.264, so this takes Debian's.
"""

from pathlib import Path

import pytest

from eval import report
from tests.browser.conftest import Opened, luminance
from tests.report_folders import make_all

VIDEOS = "document.querySelectorAll('video')"
PAIR = "document.querySelector('#videos [data-together]').querySelectorAll('video')"

pytestmark = [pytest.mark.slow, pytest.mark.sample]


@pytest.fixture(scope="module")
def html(root: Path) -> Path:
    report.run(make_all(root), root / "report")
    return root / "report" / "report.html"


@pytest.fixture
def opened(open_page, html: Path) -> Opened:
    return open_page(html)


def test_the_page(opened: Opened):
    page = opened.page

    # Every video is decoded.
    opened.until(f"[...{VIDEOS}].every(v => v.readyState >= 2)")
    assert page.locator("video").count() == 10
    assert page.evaluate(f"[...{VIDEOS}].every(v => v.videoWidth === 64)")

    # Nothing overflows, also with every part unfolded.
    page.evaluate("document.querySelectorAll('details').forEach(d => (d.open = true))")
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")

    # Hostile captions ran nothing and became nothing but text.
    assert page.locator("img:not([src^='data:'])").count() == 0
    assert page.locator("script").count() == 1

    # The page asked for nothing but itself and what lies inside it, and nothing was refused.
    assert [url for url in opened.asked if not url.startswith(("file:", "data:"))] == []
    assert len([url for url in opened.asked if url.startswith("file:")]) == 1
    assert opened.said == []


def test_a_pair_plays_and_moves_in_step(opened: Opened):
    page = opened.page
    shares = f"[...{PAIR}].map(v => v.currentTime / v.duration)"
    page.locator("#videos [data-together]").first.scroll_into_view_if_needed()
    opened.until(f"[...{PAIR}].every(v => !v.paused && v.currentTime > 0.2)")
    for _ in range(5):
        page.wait_for_timeout(300)
        first, second = page.evaluate(shares)
        gap = abs(first - second)
        assert min(gap, 1 - gap) < 0.08  # of 2 s: about a frame

    # One is stopped and moved by hand: the other follows.
    page.evaluate(f"{PAIR}[1].pause()")
    opened.until(f"[...{PAIR}].every(v => v.paused)")
    page.evaluate(f"{{ const v = {PAIR}[1]; v.currentTime = v.duration / 2 }}")
    opened.until(f"{shares}.every(share => Math.abs(share - 0.5) < 0.01)")

    # Out of sight it rests.
    page.evaluate(f"{PAIR}[0].play()")
    opened.until(f"[...{PAIR}].every(v => !v.paused)")
    page.locator("#places").scroll_into_view_if_needed()
    opened.until(f"[...{PAIR}].every(v => v.paused)")


def test_a_table_sorts_by_value_with_the_absent_last(opened: Opened):
    page = opened.page
    if page.viewport_size["width"] < 640:
        pytest.skip("narrow tables are cards without headings")
    table = page.locator("#metrics table").first
    values = "t => [...t.tBodies[0].rows].map(r => JSON.parse(r.cells[1].dataset.value))"
    heading = table.locator("th").nth(1)
    heading.locator("button").focus()
    page.keyboard.press("Enter")
    assert table.evaluate(values) == [0.1834, 21.734, 612.4, 1843.21, None]
    assert heading.get_attribute("aria-sort") == "ascending"
    page.keyboard.press("Enter")
    assert table.evaluate(values) == [1843.21, 612.4, 21.734, 0.1834, None]
    assert heading.get_attribute("aria-sort") == "descending"


def test_text_stands_out_from_its_ground(opened: Opened):
    """WCAG AA: 4.5 to 1 for every colour of text that the page uses."""
    pairs = opened.page.evaluate(
        """() => {
          const ground = getComputedStyle(document.body).backgroundColor;
          const all = [...document.querySelectorAll('main *')].filter(e =>
            [...e.childNodes].some(n => n.nodeType === 3 && n.data.trim()));
          const colour = e => e.ownerSVGElement ? getComputedStyle(e).fill
                                                : getComputedStyle(e).color;
          return [ground, ...new Set(all.map(colour))];
        }"""
    )
    ground, *colours = [luminance(text) for text in pairs]
    ratios = [(max(ground, c) + 0.05) / (min(ground, c) + 0.05) for c in colours]
    assert len(ratios) >= 3
    assert min(ratios) >= 4.5
