"""What reviewers say, scored: by hand, and with files that strangers wrote."""

import csv
import json

import pytest

from curation.commands import review, review_score
from curation.commands.review_score import band_of
from dynamicrafter.errors import InputError
from dynamicrafter.files import read_json
from dynamicrafter.statistics import cohen_kappa, wilson_interval
from tests.curation import captioned
from tests.curation.captioned import CLIPS, HOSTILE, settings

WORDS = {"a": "accept", "r": "reject", "e": "edit"}


@pytest.fixture(scope="module")
def page(tmp_path_factory):
    """Run folder of a review of all eight clips."""
    folder = tmp_path_factory.mktemp("review")
    run_folder = captioned.make_run(folder / "run")
    (folder / "page").mkdir()
    review.run(settings("review", folder / "page", run=str(run_folder)), folder / "page")
    return folder / "page"


def answer(page, number, verdict, reviewer="anna", **changes):
    """A line as the page saves it, for clip `number`."""
    wording = CLIPS[number][1]
    one = {
        "page": read_json(page / "review.json")["page"],
        "key": f"clip-{number}",
        "verdict": WORDS[verdict],
        "wording": "Dog digging." if verdict == "e" else wording,
        "reviewer": reviewer,
        "seconds": 2.5,
        "time": "2026-01-01T10:00:00.000Z",
    }
    return {**one, **changes}


def written(path, lines):
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    return str(path)


def scored(page, folder, answers):
    (folder / "score").mkdir()
    config = settings("review_score", folder, more=["answers=x"], review=str(page))
    config.answers = answers
    review_score.inputs(config)
    review_score.run(config, folder / "score")
    return read_json(folder / "score" / "score.json")


def verdicts(page, letters, reviewer):
    return [answer(page, i, letter, reviewer) for i, letter in enumerate(letters)]


def test_two_reviewers_by_hand(page, tmp_path):
    """Accepted by both: 0, 1, 6, 7; even or worse: the others."""
    files = [
        written(tmp_path / f"{who}.jsonl", verdicts(page, letters, who))
        for who, letters in (("anna", "aaeaaraa"), ("bo", "aaerrraa"))
    ]
    found = scored(page, tmp_path, files)
    share = wilson_interval(4, 8)
    assert found["accepted"] == {"n": 8, "value": 0.5, "low": share.low, "high": share.high}
    assert found["groups"]["category"]["human"]["value"] == 1
    assert found["groups"]["category"]["vehicle"] == {
        "n": 1, "value": 0.0, "low": 0.0, "high": wilson_interval(0, 1).high,
    }  # fmt: skip
    assert {name: one["n"] for name, one in found["groups"]["source"].items()} == {
        "archive": 4, "stock": 4,
    }  # fmt: skip
    assert found["groups"]["purity"]["none"]["n"] == 1
    (pair,) = found["kappa"]
    kappa = cohen_kappa("aaeaaraa", "aaerrraa")
    assert (pair["clips"], pair["equal"]) == (8, 6)
    assert pair["kappa"] == pytest.approx([kappa.value, kappa.low, kappa.high])
    assert found["reviewers"]["bo"] == {
        "accept": 4, "reject": 3, "edit": 1, "median_seconds": 2.5,
    }  # fmt: skip


def test_the_gate_is_held_against_the_reviewers(page, tmp_path):
    """The gate minds clips 2 and 5; nobody asks it of clip 4, whose wording is `none`."""
    found = scored(page, tmp_path, written(tmp_path / "a.jsonl", verdicts(page, "aaarrraa", "a")))
    gate = found["gate"]
    cells = ("passed_accepted", "passed_refused", "failed_accepted", "failed_refused")
    assert [gate[name] for name in cells] == [4, 1, 1, 1]
    assert gate["precision"]["value"] == pytest.approx(4 / 5)
    assert gate["recall"]["value"] == pytest.approx(4 / 5)


def test_confidence_is_held_against_acceptance(page, tmp_path):
    """Five bins: 5 r; 20 r; 60 r, 70 a; 80 a, 85 a, 90 a, 95 a."""
    found = scored(page, tmp_path, written(tmp_path / "a.jsonl", verdicts(page, "aaarrraa", "a")))
    sure = found["confidence"]
    assert [(one["n"], one["share"]["value"]) for one in sure["bins"]] == [
        (1, 0), (1, 0), (2, 0.5), (4, 1),
    ]  # fmt: skip
    assert sure["error"] == pytest.approx((0.05 + 0.2 + 2 * 0.15 + 4 * 0.125) / 8)
    assert (tmp_path / "score" / "calibration.csv").read_text().count("\n") == 102


def test_the_last_edit_of_a_clip_is_the_override(page, tmp_path):
    lines = [
        answer(page, 0, "e", "bo", wording="Man jogging.", time="2026-01-02T00:00:00Z"),
        answer(page, 0, "e", "anna", wording='Man, "sprinting".', time="2026-01-01T00:00:00Z"),
        answer(page, 2, "e", wording="<b>Dog</b> digging."),
    ]
    found = scored(page, tmp_path, written(tmp_path / "a.jsonl", lines))
    assert len(found["edits"]) == 3
    with (tmp_path / "score" / "edits.csv").open(newline="") as file:
        rows = list(csv.reader(file))
    assert rows == [
        ["key", "old", "new"],
        ["clip-0", "Man running.", "Man jogging."],
        ["clip-2", "Brown dog in a garden.", "<b>Dog</b> digging."],
    ]
    text = (tmp_path / "score" / "score.html").read_text()
    assert "<b>Dog" not in text
    assert text.count("<script>") == 1


def test_lines_of_strangers_are_refused_with_a_reason(page, tmp_path):
    good = answer(page, 0, "a")
    bad = {
        "other_page": [{**good, "page": "0" * 16}],
        "unknown_key": [{**good, "key": "../../etc/passwd"}],
        "wrong_shape": [
            [1, 2],
            {"key": "clip-0"},
            {**good, "more": 1},
            {**good, "verdict": "love"},
            {**good, "verdict": ["accept"]},
            {**good, "seconds": True},
            {**good, "seconds": -1},
            {**good, "seconds": float("inf")},
            {**good, "reviewer": ""},
            {**good, "reviewer": "a\nb"},
            {**good, "reviewer": "x" * 61},
        ],
        "wrong_wording": [
            {**good, "wording": "Another."},
            answer(page, 0, "e", wording=""),
            answer(page, 0, "e", wording="x" * 301),
            answer(page, 0, "e", wording="a\u0000b"),
            answer(page, 0, "e", wording="a\u2028b"),
            answer(page, 0, "e", wording="NA"),
        ],
        "repeated": [good],
        "superseded": [{**good, "verdict": "reject", "time": "2020-01-01T00:00:00Z"}],
    }
    path = tmp_path / "a.jsonl"
    written(path, [good, *(line for lines in bad.values() for line in lines)])
    raw = [b"no json", b"\xff\xfe", b"[" * 10_000, b'"' + b"x" * 30_000 + b'"', b"null"]
    path.write_bytes(path.read_bytes() + b"\r\n\n" + b"\n".join(raw))
    found = scored(page, tmp_path, str(path))
    assert found["refused"] == {**{name: len(lines) for name, lines in bad.items()}, "not_json": 5}
    assert found["judged"] == 1
    assert found["reviewers"]["anna"]["accept"] == 1
    assert "wrong shape" in (tmp_path / "score" / "score.html").read_text()


def test_a_later_verdict_stands_whatever_the_order(page, tmp_path):
    late = answer(page, 1, "r", time="2026-03-01T00:00:00Z")
    early = answer(page, 1, "a", time="2026-02-01T00:00:00Z")
    for number, lines in enumerate(([late, early], [early, late])):
        (tmp_path / str(number)).mkdir()
        found = scored(page, tmp_path / str(number), written(tmp_path / "a.jsonl", lines))
        assert found["reviewers"]["anna"]["reject"] == 1
        assert found["refused"] == {"superseded": 1}


def test_a_reviewer_of_an_odd_name_stays_text(page, tmp_path):
    lines = verdicts(page, "aaaaaraa", HOSTILE[:60])
    scored(page, tmp_path, written(tmp_path / "a.jsonl", lines))
    assert "<img" not in (tmp_path / "score" / "score.html").read_text()


def test_kappa_is_absent_where_nothing_can_be_compared(page, tmp_path):
    files = [
        written(tmp_path / "a.jsonl", [answer(page, 0, "a"), answer(page, 1, "a")]),
        written(tmp_path / "b.jsonl", [answer(page, 0, "a", "bo"), answer(page, 1, "a", "bo")]),
        written(tmp_path / "c.jsonl", [answer(page, 5, "r", "cleo")]),
    ]
    found = scored(page, tmp_path, files)
    assert [one["kappa"] for one in found["kappa"]] == [None, None, None]
    assert [one["clips"] for one in found["kappa"]] == [2, 0, 0]


def test_a_folder_of_answers_is_taken_whole(page, tmp_path):
    (tmp_path / "sent").mkdir()
    for who in ("anna", "bo"):
        written(tmp_path / "sent" / f"{who}.jsonl", [answer(page, 0, "a", who)])
    found = scored(page, tmp_path, str(tmp_path / "sent"))
    assert set(found["reviewers"]) == {"anna", "bo"}


def test_answers_that_say_nothing_of_the_page_end_in_one_line(page, tmp_path):
    path = written(tmp_path / "a.jsonl", [{**answer(page, 0, "a"), "page": "0" * 16}])
    with pytest.raises(InputError, match=r"no answer to the page [0-9a-f]{16} .* \(1 other_page\)"):
        scored(page, tmp_path, path)


def test_what_cannot_be_read_is_refused(page, tmp_path):
    config = settings("review_score", tmp_path, more=["answers=x"], review=str(page))
    with pytest.raises(InputError, match="answers=x does not exist"):
        review_score.inputs(config)
    config.answers = str(tmp_path)
    with pytest.raises(InputError, match=r"holds no \.jsonl file"):
        review_score.inputs(config)
    with (tmp_path / "huge.jsonl").open("wb") as file:
        file.truncate(20_000_001)
    with pytest.raises(InputError, match="has 20000001 bytes"):
        review_score.inputs(config)
    written(tmp_path / "huge.jsonl", [answer(page, 0, "a")])
    config.review = str(tmp_path)
    with pytest.raises(InputError, match=r"has no review\.json; pass the run_dir"):
        review_score.inputs(config)


def test_bands_hold_their_lower_border():
    values = [0.0, 0.5, 0.69, 0.7, 0.9, 1.0, None]
    assert [band_of({"purity": value}) for value in values] == [
        "0 to 0.5", "0.5 to 0.7", "0.5 to 0.7", "0.7 to 0.9", "0.9 to 1", "0.9 to 1", "none",
    ]  # fmt: skip
