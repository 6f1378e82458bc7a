"""`eval study-score`: from files of answers to tables, with and without those who did not look."""

import csv
from pathlib import Path

import pytest
from omegaconf import DictConfig, OmegaConf

from dynamicrafter.errors import InputError
from dynamicrafter.files import read_json
from eval.study import scoring
from tests.eval.study.folders import CONF, config_for
from tests.eval.study.made_answers import fail_checks, filled, make_key, send


def score_config(root: Path, **settings: object) -> DictConfig:
    own = {"study": str(root), "answers": str(root / "sent"), "run_dir": str(root / "scores")}
    return config_for("eval_study_score", **{**own, **settings})


def prefers(name: str, but: int = -1, then: str | None = None):
    """Chooses `name` where it is shown, else the first side; `then` in question `but`."""

    def choose(question, aspect):
        if question["number"] == but:
            return then
        return name if name in question["sides"] else question["sides"][0]

    return choose


@pytest.fixture
def two(tmp_path: Path) -> Path:
    """Four people and two methods: three prefer x, one of them with a tie; one fails all checks."""
    key = make_key(tmp_path, ["x", "y"])
    a, b, c, d = key["sheets"]
    failing = fail_checks(d, filled(d, prefers("y")))
    send(
        tmp_path / "sent",
        [filled(a, prefers("x")), filled(b, prefers("x")), filled(c, prefers("x", 0)), failing],
    )
    return tmp_path


def test_all_numbers_with_and_without_those_who_failed_a_check(two):
    summary = scoring.run(score_config(two), two / "scores")
    assert summary == {"participants": 4, "answers": 72, "failed_a_check": 1, "refused": 0}
    result = read_json(two / "scores" / "scores.json")
    everybody, attentive = result["groups"]
    assert list(result["failed_checks"].values()) == [2]
    assert (everybody["participants"], attentive["participants"]) == (4, 3)
    for group, counts in ((everybody, {"x": 17, "y": 6}), (attentive, {"x": 17, "y": 0})):
        of = 6 * group["participants"]
        for one in group["shares"]:
            if one["method"] in counts:
                assert (one["chosen"], one["shown"]) == (counts[one["method"]], of)
                assert one["share"] == counts[one["method"]] / of
        for one in group["duels"]:
            assert (one["wins"], one["losses"], one["ties"]) == (17, counts["y"], 1)
        assert group["strengths"] == []  # of two methods the win rate says it all
    assert any("1 of 4 participants failed" in remark for remark in result["remarks"])


def test_every_number_reaches_wandb(two):
    config = score_config(two)
    config.tracking = OmegaConf.load(CONF / "tracking" / "offline.yaml")
    scoring.run(config, two / "scores")
    (path,) = (two / "scores").glob("wandb/offline-run-*/files/media/table/study_*.json")
    logged = read_json(path)
    with (two / "scores" / "scores.csv").open() as file:
        written = list(csv.DictReader(file))
    assert len(logged["data"]) == len(written) > 0
    for row, line in zip(logged["data"], written, strict=True):
        found = dict(zip(logged["columns"], row, strict=True))
        assert {name: "" if one is None else str(one) for name, one in found.items()} == line


def test_csv_and_markdown_say_the_same_with_their_counts(two):
    scoring.run(score_config(two), two / "scores")
    rows = list(csv.DictReader((two / "scores" / "scores.csv").open()))
    share = next(row for row in rows if row["kind"] == "share" and row["method"] == "x")
    assert (share["count"], share["of"], share["value"]) == ("17", "24", str(17 / 24))
    assert {row["kind"] for row in rows} == {"share", "win_rate", "alpha"}
    assert all(row["of"] for row in rows)
    text = (two / "scores" / "scores.md").read_text()
    assert "| motion quality | x | 70.8 | 17 of 24 |" in text
    assert "| motion quality | x | y | 72.9 | 17, 6, 1 |" in text
    assert text.count("## ") == 2


def test_the_page_holds_every_table_and_runs_nothing_of_a_methods_name(tmp_path):
    hostile = "<img src=x onerror=alert(1)>"
    key = make_key(tmp_path, [hostile, "y", "z|z"])
    send(tmp_path / "sent", [filled(sheet, prefers("y")) for sheet in key["sheets"]])
    scoring.run(score_config(tmp_path), tmp_path / "scores")
    page = (tmp_path / "scores" / "study.html").read_text()
    assert "<img" not in page
    assert page.count("&lt;img src=x") >= 3
    assert page.count("<table") == 4
    text = (tmp_path / "scores" / "scores.md").read_text()
    assert "<img" not in text.split("## ")[1]
    assert r"z\|z" in text


def test_a_method_that_always_wins_has_no_finite_strength(tmp_path):
    key = make_key(tmp_path, ["x", "y", "z"])
    send(tmp_path / "sent", [filled(sheet, prefers("x")) for sheet in key["sheets"]])
    scoring.run(score_config(tmp_path), tmp_path / "scores")
    (group,) = read_json(tmp_path / "scores" / "scores.json")["groups"]
    assert {one["strength"] for one in group["strengths"]} == {None}
    assert {one["answers"] for one in group["strengths"]} == {2 * 6 * 4}


def test_all_methods_at_once_give_shares_that_sum_to_one_and_no_duels(tmp_path):
    key = make_key(tmp_path, ["x", "y", "z"], compare="all")
    send(tmp_path / "sent", [filled(sheet, prefers("z", 2)) for sheet in key["sheets"]])
    scoring.run(score_config(tmp_path), tmp_path / "scores")
    (group,) = read_json(tmp_path / "scores" / "scores.json")["groups"]
    own = {
        one["method"]: one["chosen"] for one in group["shares"] if one["aspect"] == "motion_quality"
    }
    assert own == {"x": 0, "y": 0, "z": 20, "same": 4}
    assert (group["duels"], group["strengths"]) == ([], [])


def test_few_participants_and_missing_pages_are_said(two):
    (two / "sent" / "1.json").unlink()
    scoring.run(score_config(two, few_participants=5), two / "scores")
    found = read_json(two / "scores" / "scores.json")["remarks"]
    assert any("Few participants: 3, fewer than 5" in remark for remark in found)
    assert any("3 of 4 pages came back" in remark for remark in found)
    scoring.run(score_config(two, few_participants=3), two / "scores")
    found = read_json(two / "scores" / "scores.json")["remarks"]
    assert not any("Few participants" in remark for remark in found)


def test_a_favoured_side_is_said(tmp_path):
    key = make_key(tmp_path, ["x", "y"])
    sent = [filled(sheet, lambda question, aspect: question["sides"][0]) for sheet in key["sheets"]]
    send(tmp_path / "sent", sent)
    scoring.run(score_config(tmp_path), tmp_path / "scores")
    result = read_json(tmp_path / "scores" / "scores.json")
    assert any("The first video was chosen in 72 of 72" in remark for remark in result["remarks"])
    assert {one["share"] for one in result["groups"][0]["shares"]} == {0.5, 0.0}


def test_a_bad_file_stops_the_scoring_unless_it_is_allowed(two):
    (two / "sent" / "bad.json").write_text("{")
    with pytest.raises(InputError, match=r"bad.json is refused: not JSON \(refused files: 1\)"):
        scoring.run(score_config(two), two / "scores")
    summary = scoring.run(score_config(two, allow_incomplete=True), two / "scores")
    assert (summary["participants"], summary["refused"]) == (4, 1)
    text = (two / "scores" / "scores.md").read_text()
    assert "| bad.json | not JSON |" in text
    assert "bad.json" in (two / "scores" / "study.html").read_text()


def test_files_that_answer_nothing_are_no_result(two):
    for path in (two / "sent").iterdir():
        document = read_json(path)
        path.unlink()
        send(two / "sent", [{**document, "answers": {}}])
    with pytest.raises(InputError, match="holds no answer to the study"):
        scoring.run(score_config(two), two / "scores")


def test_later_answers_change_the_digest(two):
    before = scoring.inputs(score_config(two))
    (two / "sent" / "3.json").unlink()
    after = scoring.inputs(score_config(two))
    assert before["study"] == after["study"]
    assert before["answers"] != after["answers"]
