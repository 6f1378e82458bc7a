"""The review page in a real browser: judged by keys, kept over a reload, saved and scored."""

import json
from pathlib import Path

import pytest

from curation.commands import review, review_score
from dynamicrafter.files import read_json
from tests.browser.conftest import WIDE, luminance
from tests.curation import captioned
from tests.curation.captioned import HOSTILE, settings

pytestmark = [pytest.mark.slow, pytest.mark.sample]

HERE = "[...document.querySelectorAll('.screen')].find(s => !s.hidden)"
VIDEO = f"{HERE}.querySelector('video')"
PLAYS = f"{VIDEO}.readyState >= 2 && !{VIDEO}.paused && {VIDEO}.currentTime > 0"
TITLE = f"{HERE}.querySelector('h1').textContent.trim()"
PRESSED = f"[...{HERE}.querySelectorAll('[aria-pressed=true]')].map(b => b.dataset.verdict)"
OVERFLOWS = "document.documentElement.scrollWidth > innerWidth"


@pytest.fixture(scope="module")
def folder(root: Path) -> Path:
    run_folder = captioned.make_run(root / "run", may_be_passed_on=False)
    (root / "review").mkdir()
    review.run(settings("review", root / "review", run=str(run_folder)), root / "review")
    return root / "review"


@pytest.fixture(scope="module")
def keys(folder: Path) -> list[str]:
    return [clip["key"] for clip in read_json(folder / "review.json")["clips"]]


def sign(opened, name: str) -> None:
    """Say who reviews, which is asked first and only once."""
    assert opened.page.evaluate(f"{HERE}.id") == "start"
    opened.page.keyboard.type(name)
    opened.page.keyboard.press("Enter")


def saved(page, tmp_path: Path) -> list[dict]:
    with page.expect_download() as download:
        page.locator(".steps [data-save]").click()
    path = tmp_path / download.value.suggested_filename
    download.value.save_as(path)
    return [json.loads(line) for line in path.read_text().splitlines()]


def test_clips_are_judged_by_keys_kept_saved_and_scored(open_page, folder, keys, tmp_path):
    opened = open_page(folder / "review.html")
    page = opened.page
    press = page.keyboard.press
    assert not page.evaluate(OVERFLOWS)
    sign(opened, "Anna are")  # keys of verdicts are letters of a name here

    # The first clip plays; space stops it and starts it again.
    assert page.evaluate(TITLE) == "1 of 8"
    opened.until(PLAYS)
    press("Space")
    opened.until(f"{VIDEO}.paused")
    press("Space")
    opened.until(f"!{VIDEO}.paused")

    # Accept and reject go on to the next clip; back, the verdict is shown and can be changed.
    press("a")
    assert page.evaluate(TITLE) == "2 of 8"
    opened.until(PLAYS)
    assert not page.evaluate(OVERFLOWS)
    press("r")
    press("k")
    press("ArrowLeft")
    assert page.evaluate(TITLE) == "1 of 8"
    assert page.evaluate(PRESSED) == ["accept"]
    press("j")
    assert page.evaluate(PRESSED) == ["reject"]
    press("ArrowDown")
    assert page.evaluate(TITLE) == "3 of 8"

    # An edit: letters are text in there, escape leaves it as it was, enter saves.
    press("e")
    page.keyboard.type("are")
    press("Escape")
    assert page.evaluate(PRESSED) == []
    assert page.evaluate(TITLE) == "3 of 8"
    press("e")
    assert not page.evaluate(OVERFLOWS)
    page.keyboard.type('Dog "digging" <b>')
    press("Enter")
    assert page.evaluate(TITLE) == "4 of 8"
    press("k")
    assert page.evaluate(f"{HERE}.querySelector('.edited').textContent") == 'Dog "digging" <b>'
    press("j")

    # An edit that changes nothing accepts.
    press("e")
    press("Enter")
    press("k")
    assert page.evaluate(PRESSED) == ["accept"]
    assert page.locator("#count").text_content() == "4 of 8 judged"

    # A page that is loaded again knows name and answers, and goes on at the first open clip.
    page.reload()
    assert page.evaluate(TITLE) == "5 of 8"
    assert page.locator("#count").text_content() == "4 of 8 judged"
    assert page.locator("#who span").text_content() == "Anna are"

    # What is saved is what is scored.
    lines = saved(page, tmp_path)
    assert [(line["key"], line["verdict"]) for line in lines] == list(
        zip(keys, ("accept", "reject", "edit", "accept"), strict=False)
    )
    assert {line["reviewer"] for line in lines} == {"Anna are"}
    assert all(line["seconds"] >= 0 for line in lines)
    config = settings("review_score", tmp_path, more=["answers=x"], review=str(folder))
    config.answers = str(tmp_path / "review-Anna-are.jsonl")
    review_score.run(config, tmp_path)
    found = read_json(tmp_path / "score.json")
    assert found["refused"] == {}
    assert found["judged"] == 4
    assert found["accepted"]["value"] == 0.5
    assert [one["wording"] for one in found["edits"]] == ['Dog "digging" <b>']

    # Nothing but the page and its videos was asked for, and the policy refused nothing.
    asked = {url for url in opened.asked if not url.startswith(("data:", "blob:"))}
    own = {(folder / "clips" / f"{key}.mp4").as_uri() for key in keys}
    assert asked <= own | {(folder / "review.html").as_uri()}
    assert opened.said == []


@pytest.mark.parametrize("open_page", [WIDE], indirect=True, ids=["wide light"])
def test_a_caption_that_means_harm_stays_text(open_page, folder, keys):
    opened = open_page(folder / "review.html")
    sign(opened, "a")
    clip = opened.page.locator('.clip[data-key="clip-5"]')
    assert clip.locator(".wording").text_content() == HOSTILE
    assert clip.locator(".stock").text_content() == HOSTILE
    assert opened.page.locator("#review img, #review b, #review script").count() == 0
    assert opened.page.locator("script").count() == 1
    while opened.page.evaluate(f"{HERE}.dataset.key") != "clip-5":
        opened.page.keyboard.press("j")
    opened.page.keyboard.press("e")
    assert opened.page.evaluate(f"{HERE}.querySelector('.edit input').value") == HOSTILE
    assert opened.said == []


@pytest.mark.parametrize("open_page", [WIDE], indirect=True, ids=["wide light"])
def test_the_end_names_what_is_open_and_two_reviewers_are_told_apart(open_page, folder, tmp_path):
    opened = open_page(folder / "review.html")
    page = opened.page
    sign(opened, "Anna")
    page.keyboard.press("a")
    for _ in range(7):
        page.keyboard.press("ArrowRight")
    assert page.evaluate(f"{HERE}.id") == "end"
    assert page.locator("#missing span").text_content() == "7 clips are not judged."
    page.locator("#missing button").click()
    assert page.evaluate(TITLE) == "2 of 8"

    page.locator("#other").click()
    page.locator("#name").fill("")
    sign(opened, "Bo")
    assert page.evaluate(TITLE) == "1 of 8"
    assert page.locator("#count").text_content() == "0 of 8 judged"
    page.locator(".screen:not([hidden]) [data-verdict=reject]").click()
    assert [(line["reviewer"], line["verdict"]) for line in saved(page, tmp_path)] == [
        ("Bo", "reject")
    ]


@pytest.mark.parametrize("open_page", [WIDE], indirect=True, ids=["wide light"])
def test_broken_storage_is_no_answer(open_page, folder):
    opened = open_page(folder / "review.html")
    page = opened.page
    sign(opened, "Anna")
    page.keyboard.press("a")
    place = "Object.keys(localStorage).find(name => name.endsWith('/Anna'))"
    for broken in ("'{broken'", "JSON.stringify({'clip-0': {verdict: 'love'}})", "'7'"):
        page.evaluate(f"localStorage.setItem({place}, {broken})")
        page.reload()
        assert page.locator("#count").text_content() == "0 of 8 judged"
    assert opened.said == []


@pytest.mark.parametrize("open_page", [WIDE], indirect=True, ids=["wide light"])
def test_answers_that_cannot_be_kept_are_said(open_page, folder):
    opened = open_page(folder / "review.html")
    page = opened.page
    page.evaluate("void (Storage.prototype.setItem = () => { throw new Error('full') })")
    sign(opened, "Anna")
    page.keyboard.press("a")
    assert page.locator("#unkept").is_visible()
    assert json.loads(page.locator("#text").input_value())["verdict"] == "accept"


@pytest.mark.parametrize("open_page", [WIDE], indirect=True, ids=["wide light"])
def test_a_video_that_is_not_there_is_said(open_page, folder, keys):
    video = folder / "clips" / f"{keys[0]}.mp4"
    data = video.read_bytes()
    video.unlink()
    try:
        opened = open_page(folder / "review.html")
        sign(opened, "Anna")
        opened.until(f"{VIDEO}.closest('figure').classList.contains('failed')")
    finally:
        video.write_bytes(data)


def test_words_stand_out_and_every_control_has_a_name(open_page, folder):
    opened = open_page(folder / "review.html")
    page = opened.page
    sign(opened, "Anna")
    pairs = page.evaluate(
        """() => {
          const ground = e => {
            const own = getComputedStyle(e).backgroundColor;
            return own === 'rgba(0, 0, 0, 0)' ? ground(e.parentElement) : own;
          };
          const all = [...document.querySelectorAll('.word, .stock, .wording, .keys, dt')];
          return all.map(e => [ground(e), getComputedStyle(e).color]);
        }"""
    )
    for ground, colour in set(map(tuple, pairs)):
        light, dark = sorted((luminance(ground), luminance(colour)), reverse=True)
        assert (light + 0.05) / (dark + 0.05) >= 4.5, (ground, colour)
    snapshot = page.locator(".screen:not([hidden])").aria_snapshot()
    for name in ('button "Accept"', 'button "Reject"', 'button "Edit"', 'group "Verdict"'):
        assert name in snapshot
    assert page.evaluate(f"{VIDEO}.getAttribute('aria-label')") == "Clip 1"
