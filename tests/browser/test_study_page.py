"""The page of a user study in a real browser: answered by keys, kept over a reload, saved."""

import json
from pathlib import Path

import pytest

from dynamicrafter.files import read_json
from eval.study import prepare
from eval.study.answers import read_answers
from tests.browser.conftest import WIDE, luminance
from tests.eval.study.folders import make_methods, study_config
from tests.report_folders import HOSTILE

pytestmark = [pytest.mark.slow, pytest.mark.sample]

HERE = "[...document.querySelectorAll('.screen')].find(s => !s.hidden)"
VIDEOS = f"[...{HERE}.querySelectorAll('video')]"
CHECKED = "[...document.querySelectorAll('input:checked')].map(i => i.name + ' ' + i.value)"
PLAYING = f"{VIDEOS}.length > 0 && {VIDEOS}.every(v => !v.paused && v.currentTime > 0)"
OVERFLOWS = "document.documentElement.scrollWidth > innerWidth"


@pytest.fixture(scope="module")
def study(root: Path) -> Path:
    """Two methods, three questions and one check."""
    methods = make_methods(root / "two", 3, methods=2)
    config = study_config(methods, questions=3, participants=2)
    prepare.run(config, root / "study")
    return root / "study"


def page_of(folder: Path) -> Path:
    participant = read_json(folder / "key.json")["sheets"][0]["participant"]
    return folder / "pages" / f"{participant}.html"


def test_a_study_is_answered_by_keys_kept_and_saved(open_page, study: Path, tmp_path: Path):
    opened = open_page(page_of(study))
    page = opened.page
    press = page.keyboard.press
    assert page.evaluate(f"{HERE}.id") == "start"
    assert not page.evaluate(OVERFLOWS)

    # The first question: its videos play; 1, 0 and 2 answer the three lines one after another.
    press("ArrowRight")
    opened.until(PLAYING)
    for key in "102":
        press(key)
    values = f"[...{HERE}.querySelectorAll('input:checked')].map(i => i.value)"
    assert page.evaluate(values) == ["A", "same", "B"]
    assert page.locator("#count").text_content() == "1 of 4 answered"

    # Up and another number mend an answer; a number without a video does nothing.
    press("ArrowUp")
    press("1")
    press("3")
    assert page.evaluate(values) == ["A", "A", "B"]

    # Space stops the videos and starts them again.
    press("Space")
    opened.until(f"{VIDEOS}.every(v => v.paused)")
    assert page.evaluate(f"{HERE}.querySelector('[data-play]').textContent") == "Play"
    press("Space")
    opened.until(f"{VIDEOS}.every(v => !v.paused)")

    # A page that is loaded again knows its answers and goes on at the first open question.
    before = page.evaluate(CHECKED)
    page.reload()
    assert page.evaluate(CHECKED) == before
    assert page.evaluate(f"{HERE}.querySelector('h1').textContent.trim()") == "2 of 4"

    # The rest by mouse, and back once by key.
    for number in range(2, 5):
        assert not page.evaluate(OVERFLOWS)
        opened.until(PLAYING)
        for row in range(3):
            page.locator(".screen:not([hidden]) .aspect").nth(row).locator("label").nth(1).click()
        page.locator(".screen:not([hidden]) [data-step='1']").click()
        if number == 2:
            press("ArrowLeft")
            assert page.evaluate(values) == ["B", "B", "B"]
            press("ArrowRight")
    assert page.evaluate(f"{HERE}.id") == "end"
    assert not page.evaluate(OVERFLOWS)
    assert not page.locator("#missing").is_visible()

    # What is saved is what is read.
    with page.expect_download() as download:
        page.locator("#save").click()
    sent = tmp_path / download.value.suggested_filename
    download.value.save_as(sent)
    assert sent.name == f"answers-{page_of(study).stem}.json"
    assert page.locator("#text").input_value() == sent.read_text()
    returned = read_answers(read_json(study / "key.json"), [sent])
    assert returned.refused == []
    assert returned.missing == {}
    assert len(returned.answers) == 3 * 3

    # Nothing was asked of anybody, and the policy refused nothing.
    assert {url.split(":")[0] for url in opened.asked} <= {"file", "data", "blob"}
    assert len({url for url in opened.asked if url.startswith("file:")}) == 1
    assert opened.said == []


@pytest.mark.parametrize("open_page", [WIDE], indirect=True, ids=["wide light"])
def test_a_skipped_question_is_named_at_the_end(open_page, study: Path):
    page = open_page(page_of(study)).page
    for _ in range(5):
        page.keyboard.press("ArrowRight")
    assert page.locator("#missing span").text_content() == "4 sets are not answered in full."
    page.locator("#missing button").click()
    assert page.evaluate(f"{HERE}.querySelector('h1').textContent.trim()") == "1 of 4"
    assert page.locator(".screen:not([hidden]) [data-step='1']").text_content() == "Skip"


@pytest.mark.parametrize("open_page", [WIDE], indirect=True, ids=["wide light"])
def test_a_prompt_that_means_harm_stays_text(open_page, study: Path):
    opened = open_page(page_of(study))
    prompts = opened.page.locator(".given figcaption").all_text_contents()
    assert HOSTILE in prompts
    assert opened.page.locator("img:not([src^='data:'])").count() == 0
    assert opened.page.locator("script").count() == 1
    assert opened.said == []


@pytest.mark.parametrize("open_page", [WIDE], indirect=True, ids=["wide light"])
def test_broken_storage_is_no_answer(open_page, study: Path):
    page = open_page(page_of(study)).page
    page.keyboard.press("ArrowRight")
    page.keyboard.press("1")
    assert page.evaluate(CHECKED) != []
    page.evaluate("localStorage.setItem(Object.keys(localStorage)[0], '{broken')")
    page.reload()
    assert page.evaluate(CHECKED) == []
    assert page.evaluate(f"{HERE}.id") == "start"


@pytest.mark.parametrize("open_page", [WIDE], indirect=True, ids=["wide light"])
def test_answers_that_cannot_be_kept_are_said(open_page, study: Path):
    page = open_page(page_of(study)).page
    page.evaluate("void (Storage.prototype.setItem = () => { throw new Error('full') })")
    page.keyboard.press("ArrowRight")
    page.keyboard.press("1")
    assert page.locator("#unkept").is_visible()
    assert json.loads(page.locator("#text").input_value())["answers"] != {}


@pytest.mark.parametrize("open_page", [WIDE], indirect=True, ids=["wide light"])
def test_videos_of_unlike_length_start_together_and_wait_for_the_longest(open_page, study: Path):
    opened = open_page(page_of(study))
    page = opened.page
    page.keyboard.press("ArrowRight")
    opened.until(PLAYING)
    lengths = page.evaluate(f"{VIDEOS}.map(v => v.duration)")
    assert sorted(lengths) == pytest.approx([0.75, 1.0], abs=0.01)
    page.evaluate(
        f"{{ window.starts = []; {VIDEOS}.forEach((v, n) => v.addEventListener('seeked', () => "
        "{ if (v.currentTime < 0.05) starts.push(n); })); }"
    )
    opened.until("starts.length >= 6")
    starts = page.evaluate("starts")
    assert [sorted(starts[n : n + 2]) for n in (0, 2, 4)] == [[0, 1]] * 3


def test_text_stands_out_and_every_control_has_a_name(open_page, study: Path):
    page = open_page(page_of(study)).page
    page.keyboard.press("ArrowRight")
    ground, *colours = page.evaluate(
        """() => {
          const colour = e => getComputedStyle(e).color;
          const all = [...document.querySelectorAll('.aspect p, .keys, .state, figcaption, h1')];
          return [getComputedStyle(document.body).backgroundColor, ...new Set(all.map(colour))];
        }"""
    )
    for colour in colours:
        light, dark = sorted((luminance(ground), luminance(colour)), reverse=True)
        assert (light + 0.05) / (dark + 0.05) >= 4.5
    snapshot = page.locator(".screen:not([hidden])").aria_snapshot()
    assert snapshot.count("radiogroup ") == 3
    for name in ('radio "A"', 'radio "B"', 'radio "no difference"', 'button "Skip"'):
        assert name in snapshot
    assert page.evaluate(f"{VIDEOS}.map(v => v.getAttribute('aria-label'))") == [
        "Video A", "Video B",
    ]  # fmt: skip


def test_all_methods_at_once_fit_too(open_page, root: Path):
    folder = root / "all"
    if not folder.exists():
        methods = make_methods(root / "three", 2, methods=3)
        prepare.run(study_config(methods, compare="all", questions=2, participants=1), folder)
    opened = open_page(page_of(folder))
    opened.page.keyboard.press("ArrowRight")
    opened.until(PLAYING)
    assert len(opened.page.evaluate(VIDEOS)) == 3
    assert not opened.page.evaluate(OVERFLOWS)
    opened.page.keyboard.press("3")
    assert opened.page.evaluate(CHECKED)[0].endswith(" C")
