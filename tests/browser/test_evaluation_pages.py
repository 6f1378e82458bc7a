"""The pages of evaluations, comparisons and sensitivities in a real browser."""

from pathlib import Path

import pytest

from dynamicrafter.features.network import Network
from eval import compare, results, sensitivity
from eval.compare import Difference, Evaluated
from eval.page import evaluation_page
from eval.protocols import shipped
from eval.published import read_published
from eval.sensitivity import Floor, Point
from tests.report_folders import HOSTILE, make_eval

pytestmark = [pytest.mark.slow, pytest.mark.sample]

OVERFLOWS = "document.documentElement.scrollWidth > innerWidth"
CURVE = {"x": [5.0, 10.0, 20.0], "y": [900.0, 700.0, 600.0]}


def evaluation(folder: Path) -> str:
    """A page with everything on it, and names that mean harm."""
    make_eval(folder, [HOSTILE, "a square moves"], HOSTILE)
    found = results.read(folder)
    whole = results.Results(
        shipped()["demo"].settings(),
        found.rows,
        found.pairs,
        found.dropped,
        HOSTILE,
        "inputs",
        [HOSTILE],
        [results.Group(HOSTILE, 3, {"pic": 0.5}), results.Group("other", 4, {"pic": 0.25})],
        {"fvd": CURVE, "fvd_real": CURVE, "pic": CURVE},
        [results.Side(one.settings(), found.rows) for one in shipped().values()],
    )
    return evaluation_page(whole, folder, whole.pairs, 25_000_000)


def comparison(folder: Path) -> str:
    make_eval(folder, ["a", "b"], "absent")
    found = results.read(folder)
    methods = [Evaluated(folder, found), Evaluated(folder / HOSTILE.replace("/", ""), found)]
    gap = Difference(HOSTILE, "pic", -0.1, -0.2, 0.05, 0.4, 12)
    return compare._page(methods, [gap], read_published())


def what_fvd_sees(folder: Path) -> str:
    points = [
        Point(kind, s, 100.0 * s, s, 0.1 * s) for kind in ("noise", "reverse") for s in (1.0, 2.0)
    ]
    network = Network("i3d-tfhub", "i3d-tfhub/1", "", lambda device: None)
    floor = Floor(150.0, 0.3)
    return sensitivity._page(shipped()["demo"], network, 40, floor, points)


@pytest.mark.parametrize("make", [evaluation, comparison, what_fvd_sees])
def test_the_pages_hold(open_page, root, make):
    folder = root / make.__name__
    folder.mkdir(exist_ok=True)
    path = folder / "page.html"
    path.write_text(make(folder), encoding="utf-8")
    opened = open_page(path)
    page = opened.page
    videos = "[...document.querySelectorAll('video')]"
    opened.until(f"{videos}.every(v => v.readyState >= 2)")
    assert page.locator("video").count() == (4 if make is evaluation else 0)
    page.evaluate("document.querySelectorAll('details').forEach(d => (d.open = true))")
    assert not page.evaluate(OVERFLOWS)
    assert page.locator("img:not([src^='data:'])").count() == 0
    assert page.locator("script").count() == 1
    assert [url for url in opened.asked if not url.startswith(("file:", "data:"))] == []
    assert opened.said == []
    assert page.locator("table[data-sortable]").count() >= 1


def test_tables_of_an_evaluation_sort_by_value(open_page, root):
    folder = root / "sorted"
    path = folder / "page.html"
    folder.mkdir(exist_ok=True)
    path.write_text(evaluation(folder), encoding="utf-8")
    page = open_page(path).page
    table = page.locator("#metrics table").first
    values = "t => [...t.tBodies[0].rows].map(r => JSON.parse(r.cells[1].dataset.value))"
    heading = table.locator("th").nth(1)
    if page.viewport_size["width"] > 640:  # narrow tables are cards without headings
        heading.locator("button").focus()
        page.keyboard.press("Enter")
        assert table.evaluate(values) == [0.1834, 21.734, 612.4, 1843.21, None]
    else:
        assert not heading.is_visible()
