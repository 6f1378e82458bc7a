"""The journal: rows that outlive a stop, and a tracker that is told the same history again."""

import json

import pytest

from train.journal import Journal, loss_summary, read_rows


class FakeTracker:
    """Remembers what it is told, in order."""

    def __init__(self):
        self.told = []

    def log(self, step, values):
        self.told.append(("log", step, values))

    def video(self, name, path, caption, step):
        self.told.append(("video", step, name, path, caption))

    def summary(self, values):
        self.told.append(("summary", values))


def step_row(step):
    row = {"step": step, "loss": 1 / step, "seconds": 2.5 * step, "samples_seen": 8 * step}
    return {**row, "clips": "0a1b", "replaced": ["k"]}


def validation_row(step, video="samples/a.mp4", logged=True):
    found = {"key": "a", "path": video, "caption": "a wave", "may_be_logged": logged}
    return {"step": step, "scalars": {"val/loss": 0.5}, "rows": [{"key": "a"}], "videos": [found]}


@pytest.fixture
def tracker():
    return FakeTracker()


@pytest.fixture
def journal(tmp_path, tracker):
    return Journal(tmp_path, "joint", tracker, first_step=100)


def steps_of(path):
    return [row["step"] for row in read_rows(path)]


def fill(journal, last):
    """A stage of `last` steps with a validation before the first and after every second."""
    journal.validation(validation_row(0))
    for step in range(1, last + 1):
        journal.step(step_row(step))
        if step % 2 == 0:
            journal.validation(validation_row(step))


def test_rows_are_written_as_they_are_and_tracked_under_the_stages_name(journal, tracker, tmp_path):
    journal.step(step_row(3))
    assert read_rows(tmp_path / "metrics.jsonl") == [step_row(3)]
    assert tracker.told == [("log", 103, {"joint/loss": 1 / 3, "joint/seconds": 7.5})]


def test_a_validation_is_tracked_with_the_videos_that_may_be_logged(journal, tracker, tmp_path):
    (tmp_path / "samples").mkdir()
    (tmp_path / "samples" / "a.mp4").write_bytes(b"video")
    rows = [
        validation_row(4),
        validation_row(6, logged=False),
        validation_row(8, video="samples/gone.mp4"),
    ]
    for row in rows:
        journal.validation(row)
    assert read_rows(tmp_path / "validation.jsonl") == rows
    path = tmp_path / "samples" / "a.mp4"
    assert tracker.told == [
        ("log", 104, {"joint/val/loss": 0.5}),
        ("video", 104, "joint/samples/a", path, "a wave"),
        ("log", 106, {"joint/val/loss": 0.5}),
        ("log", 108, {"joint/val/loss": 0.5}),
    ]


def test_going_on_forgets_what_lies_beyond_and_returns_the_seconds(journal, tmp_path):
    fill(journal, 6)
    assert journal.begin_at(3) == 7.5
    assert steps_of(tmp_path / "metrics.jsonl") == [1, 2, 3]
    assert steps_of(tmp_path / "validation.jsonl") == [0, 2]
    journal.step(step_row(4))
    assert steps_of(tmp_path / "metrics.jsonl") == [1, 2, 3, 4]


@pytest.mark.parametrize("torn", ['{"step": 7, "lo', '{"step": 7, "loss": 0.5}', '{"step": 2'])
def test_a_torn_last_line_is_left_out_and_does_not_stay(journal, tmp_path, torn):
    fill(journal, 6)
    for name in ("metrics.jsonl", "validation.jsonl"):
        with (tmp_path / name).open("a") as file:
            file.write(torn)
    assert steps_of(tmp_path / "metrics.jsonl") == [1, 2, 3, 4, 5, 6]
    journal.begin_at(7)
    journal.step(step_row(7))
    journal.validation(validation_row(7))
    assert steps_of(tmp_path / "metrics.jsonl") == [1, 2, 3, 4, 5, 6, 7]
    assert steps_of(tmp_path / "validation.jsonl") == [0, 2, 4, 6, 7]


def test_the_tracker_is_told_the_same_in_the_same_order(journal, tracker, tmp_path):
    fill(journal, 5)
    first = list(tracker.told)
    again = FakeTracker()
    Journal(tmp_path, "joint", again, first_step=100).begin_at(5)
    assert again.told == first
    axis = [entry[1] for entry in again.told]
    assert axis == [100, 101, 102, 102, 103, 104, 104, 105]


def test_after_going_on_the_history_is_that_of_a_run_never_stopped(journal, tracker, tmp_path):
    fill(journal, 6)
    whole = list(tracker.told)
    again = FakeTracker()
    resumed = Journal(tmp_path, "joint", again, first_step=100)
    resumed.begin_at(3)
    for step in range(4, 7):
        resumed.step(step_row(step))
        if step % 2 == 0:
            resumed.validation(validation_row(step))
    assert again.told == whole


def test_a_fresh_stage_begins_at_zero_seconds_with_nothing_told(journal, tracker, tmp_path):
    assert journal.begin_at(0) == 0.0
    assert tracker.told == []
    assert read_rows(tmp_path / "metrics.jsonl") == []


def test_whether_a_step_was_judged(journal, tmp_path):
    assert not journal.has_validation(0)
    fill(journal, 4)
    assert [journal.has_validation(step) for step in range(6)] == [
        True,
        False,
        True,
        False,
        True,
        False,
    ]
    with (tmp_path / "validation.jsonl").open("a") as file:
        file.write('{"step": 5')
    assert not journal.has_validation(5)


def test_the_newest_checkpoint_is_told_as_a_summary(journal, tracker):
    journal.checkpoint(4, {"sample_number": 32})
    assert tracker.told == [("summary", {"joint/checkpoint": {"sample_number": 32, "step": 4}})]


def test_a_rank_without_tracker_writes_nothing(tmp_path, journal):
    fill(journal, 4)
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    follower = Journal(tmp_path, "joint", None, first_step=100)
    assert follower.begin_at(2) == 5.0
    follower.step(step_row(3))
    follower.validation(validation_row(3))
    follower.checkpoint(3, {})
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == before


def test_captions_with_any_line_break_stay_one_row(journal, tmp_path):
    row = validation_row(1)
    row["videos"][0]["caption"] = "one\ntwo\u2028three\x85four\x1cfive"
    journal.validation(row)
    assert read_rows(tmp_path / "validation.jsonl") == [row]


def test_the_summary_is_of_the_first_and_last_tenth(tmp_path):
    rows = [{"step": s, "loss": float(s), "seconds": 3.0 * s} for s in range(1, 31)]
    rows = [{**row, "seconds/data": 0.5, "seconds/backward": 1.5} for row in rows]
    rows[4]["replaced"], rows[9]["replaced"] = ["b", "a"], ["a"]
    (tmp_path / "metrics.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    assert loss_summary(tmp_path) == {
        "steps": 30,
        "first_loss": 2.0,
        "last_loss": 29.0,
        "seconds": 90.0,
        "phases": {"backward": 0.75, "data": 0.25},
        "replaced_clips": ["a", "b"],
    }
