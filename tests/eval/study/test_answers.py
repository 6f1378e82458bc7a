"""Files of strangers: each is taken whole, or refused with its own reason."""

import copy
import json
from pathlib import Path

import pytest
from omegaconf import OmegaConf

from dynamicrafter.errors import InputError
from eval.study import answers
from eval.study.answers import answer_files, read_answers, read_key
from tests.eval.study.made_answers import STUDY, fail_checks, filled, make_key, send


@pytest.fixture
def key(tmp_path: Path) -> dict:
    return make_key(tmp_path, ["x", "y"])


@pytest.fixture
def good(key) -> dict:
    return filled(key["sheets"][0], lambda question, aspect: "x")


def refused(key: dict, folder: Path, text: str | bytes) -> str:
    """The one reason why a file is refused."""
    path = folder / "sent.json"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    returned = read_answers(key, [path])
    assert returned.participants == []
    assert returned.answers == []
    ((name, why),) = returned.refused
    assert name == "sent.json"
    assert "\n" not in why
    return why


def test_letters_become_the_methods_that_stood_there(key, good, tmp_path):
    returned = read_answers(key, send(tmp_path / "sent", [good]))
    assert returned.participants == [key["sheets"][0]["participant"]]
    assert len(returned.answers) == 6 * 3
    assert {one.choice for one in returned.answers} == {"x"}
    assert {one.sides for one in returned.answers} == {("x", "y"), ("y", "x")}
    assert (returned.failed, returned.missing, returned.refused) == ({}, {}, [])


def test_answers_that_were_not_given_are_counted(key, good, tmp_path):
    tokens = [one["token"] for one in key["sheets"][0]["questions"] if one["scrambled"] is None]
    del good["answers"][tokens[0]]
    del good["answers"][tokens[1]]["motion_quality"]
    returned = read_answers(key, send(tmp_path / "sent", [good]))
    assert list(returned.missing.values()) == [4]
    assert len(returned.answers) == 6 * 3 - 4


def test_failed_checks_are_counted_and_no_difference_fails_too(key, good, tmp_path):
    checks = [one["token"] for one in key["sheets"][0]["questions"] if one["scrambled"]]
    same = copy.deepcopy(good)
    same["answers"][checks[0]]["motion_quality"] = "same"
    other = filled(key["sheets"][1], lambda question, aspect: "x")
    sent = send(tmp_path / "sent", [same, fail_checks(key["sheets"][1], other)])
    assert sorted(read_answers(key, sent).failed.values()) == [1, 2]


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"study": "another"}, f"of another study, 'another', not {STUDY}"),
        ({"study": ["a"] * 99}, "of another study"),
        ({"format": 2}, "format 2, not 1"),
        ({"participant": "nobody"}, "unknown participant 'nobody'"),
        ({"participant": ["a"]}, "unknown participant"),
        ({"participant": {}}, "unknown participant"),
        ({"answers": []}, "not a file of answers"),
        ({"answers": {"deadbeef": {}}}, "unknown question 'deadbeef'"),
        ({"extra": 1}, "not a file of answers"),
    ],
)
def test_a_file_of_the_wrong_form_is_refused(key, good, tmp_path, change, words):
    assert words in refused(key, tmp_path, json.dumps({**good, **change}))


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"motion_quality": "C"}, "'C' is no answer to motion_quality"),
        ({"motion_quality": 1}, "1 is no answer"),
        ({"motion_quality": ["A"]}, "is no answer"),
        ({"motion_quality": None}, "None is no answer"),
        ({"beauty": "A"}, "unknown aspect 'beauty'"),
        ("A", "has no answers by aspect"),
    ],
)
def test_an_answer_that_could_not_be_given_is_refused(key, good, tmp_path, given, words):
    good["answers"][key["sheets"][0]["questions"][0]["token"]] = given
    assert words in refused(key, tmp_path, json.dumps(good))


@pytest.mark.parametrize("text", ["", "{", "[1, 2]", "null", b"\xff\xfe\x00", "[" * 100_000])
def test_what_is_no_json_object_is_refused(key, tmp_path, text):
    assert refused(key, tmp_path, text) in ("not JSON", "not a file of answers")


def test_a_large_file_is_refused_unread(key, tmp_path, monkeypatch):
    monkeypatch.setattr(Path, "read_bytes", lambda self: pytest.fail("it was read"))
    assert "1000001 bytes" in refused(key, tmp_path, b" " * 1_000_001)


def test_a_question_of_another_participant_is_refused(key, good, tmp_path):
    token = key["sheets"][1]["questions"][0]["token"]
    good["answers"][token] = {"motion_quality": "A"}
    assert f"unknown question '{token}'" in refused(key, tmp_path, json.dumps(good))


def test_a_copy_counts_once(key, good, tmp_path):
    returned = read_answers(key, send(tmp_path / "sent", [good, good]))
    assert len(returned.participants) == 1
    assert len(returned.answers) == 6 * 3
    assert returned.copies == ["1.json"]


def test_the_same_participant_with_other_answers_is_refused_twice(key, good, tmp_path):
    other = filled(key["sheets"][0], lambda question, aspect: "y")
    returned = read_answers(key, send(tmp_path / "sent", [good, other]))
    assert returned.answers == []
    assert [name for name, _ in returned.refused] == ["0.json", "1.json"]
    assert all("answered differently in 0.json, 1.json" in why for _, why in returned.refused)


def test_files_are_found_in_a_folder_or_by_name(tmp_path):
    paths = send(tmp_path / "sent", [{}, {}])
    (tmp_path / "sent" / "notes.txt").write_text("")
    assert answer_files(str(tmp_path / "sent")) == paths
    assert answer_files(str(paths[1])) == paths[1:]
    assert answer_files(OmegaConf.create([str(path) for path in paths])) == paths


def test_no_answers_and_no_study_end_with_a_line(tmp_path):
    with pytest.raises(InputError, match="does not exist"):
        answer_files(str(tmp_path / "nowhere"))
    with pytest.raises(InputError, match="holds no JSON file"):
        answer_files(str(tmp_path))
    with pytest.raises(InputError, match="pass a folder, a file or a list"):
        answer_files(OmegaConf.create({"a": 1}))
    with pytest.raises(InputError, match="eval study"):
        read_key(tmp_path / "nowhere")


def test_the_largest_file_a_study_can_make_is_far_below_the_limit(good):
    assert len(json.dumps(good, indent=1)) * 100 < answers.LARGEST
