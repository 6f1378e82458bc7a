"""Which rows stay, and why the others do not: on tables whose rows are made up."""

import dataclasses
import itertools
import random
from collections import Counter

import numpy as np
import pytest

from curation.passes import duplicates
from curation.passes.decide import kept_rows, split_of, withdraw
from curation.passes.external import Records
from curation.passes.filters import (
    RULES,
    STEPS,
)
from curation.tables import TableWriter
from dynamicrafter.files import read_json
from tests.curation.decisions import OFF, USUAL, decided, look, reasons_of, step_of
from tests.curation.tables_of import lost, read_decisions, row

pytestmark = pytest.mark.usefixtures("without_waiting_for_the_disk")


def test_the_funnel_adds_up(tmp_path):
    far = [look(*[2**64 - 1 >> shift] * 3) for shift in (0, 16, 32)]
    rows = [
        row("kept", phash=far[0]),
        row("near", phash=far[0]),
        row("other", phash=far[1]),
        row("still", object_motion=0.0, phash=far[2]),
        row("short", reason="too_short"),
        lost("page", "not_video"),
        lost("gone", "missing"),
        lost("slow", "timeout"),
        lost("gone-2", "missing"),
        row("out", phash=far[2]),
    ]
    decisions, funnel = decided(tmp_path, rows, USUAL, opted_out=["out"])
    steps = funnel["steps"]
    on = [
        "black",
        "still",
        "camera_dominated",
    ]  # the rules that are switched on, and what is no rule
    rules = {rule.reason for rule in RULES}
    assert [step["name"] for step in steps] == [s for s in STEPS if s in on or s not in rules]
    assert steps[0]["in"] == 10
    assert all(a["out"] == b["in"] for a, b in itertools.pairwise(steps))
    assert all(step["in"] - step["out"] == step["dropped"] for step in steps)
    assert {step["name"]: step["dropped"] for step in steps if step["dropped"]} == {
        "unreadable": 4,
        "too_short": 1,
        "opted_out": 1,
        "still": 1,
        "near_duplicate": 1,
    }
    assert steps[-1]["out"] == sum(funnel["kept"].values()) == 2
    counted = Counter(reason for reason in reasons_of(decisions) if reason)
    assert funnel["reasons"] == dict(sorted(counted.items()))
    assert funnel["reasons"]["missing"] == 2
    splits = Counter(item["split"] for item in decisions if item["kept"])
    assert funnel["kept"] == {"train": splits["train"], "test": splits["test"]}
    assert funnel["split_by"] == "video"


def test_no_row_at_all(tmp_path):
    decisions, funnel = decided(tmp_path, [], USUAL)
    assert decisions == []
    assert funnel["kept"] == {"train": 0, "test": 0}
    assert funnel["reasons"] == {}


def test_the_split_depends_on_the_name_alone():
    names = [f"clip-{i}" for i in range(5000)]
    share = np.mean([split_of(name, 0.2) == "test" for name in names])
    assert share == pytest.approx(0.2, abs=0.02)
    more = {name for name in names if split_of(name, 0.4) == "test"}
    assert {name for name in names if split_of(name, 0.2) == "test"} < more
    # printf clip-0 | sha256sum begins with 3394f08f: at 0.2015 of the range
    assert split_of("clip-0", 0.202) == "test"
    assert split_of("clip-0", 0.201) == "train"
    assert {split_of(name, 0.0) for name in names} == {"train"}
    assert {split_of(name, 1.0) for name in names} == {"test"}


def shots(videos=40, clips=3, each=4):
    for video, clip, shot in itertools.product(range(videos), range(clips), range(each)):
        yield row(
            f"{video:03d}-{clip}-{shot}",
            clip_id=f"clip {video} {clip}",
            video_id=f"film {video}",
            start_s=10.0 * (clip * each + shot),
        )


@pytest.mark.parametrize(
    ("split_by", "together"), [("video", "video_id"), ("clip", "clip_id"), ("shot", "key")]
)
def test_what_belongs_together_stays_in_one_split(tmp_path, split_by, together):
    rows = list(shots())
    filters = dataclasses.replace(OFF, split_by=split_by, test_share=0.3)
    decisions, _ = decided(tmp_path, rows, filters)
    splits = {}
    for item, decision in zip(rows, decisions, strict=True):
        splits.setdefault(item[together], set()).add(decision["split"])
    assert all(len(parts) == 1 for parts in splits.values())
    share = np.mean([parts == {"test"} for parts in splits.values()])
    assert share == pytest.approx(0.3, abs=4 * (0.21 / len(splits)) ** 0.5)
    if split_by != "video":
        film = [
            d["split"] for i, d in zip(rows, decisions, strict=True) if "film 1" in i["video_id"]
        ]
        assert set(film) == {"train", "test"}


@pytest.mark.parametrize("name", ["a key", "a clip", "a film"])
def test_opting_out(tmp_path, name):
    rows = [
        row("first", clip_id="another clip", video_id="another film"),
        row("a key", clip_id="a clip", video_id="a film", start_s=5.0),
        row("last", clip_id="a third clip", video_id="a third film"),
        lost("page", "not_video"),
    ]
    expected = [None, "opted_out", None, "not_video"]
    assert reasons_of(decided(tmp_path, rows, OFF, opted_out=[name])[0]) == expected
    assert reasons_of(decided(tmp_path, rows, OFF, opted_out=["a", "first "])[0])[1] is None
    # A clip that cannot be read may be opted out too; a repeat of one that is out takes its place.
    assert reasons_of(decided(tmp_path, rows, OFF, opted_out=["page"])[0])[3] == "opted_out"
    listed = decided(tmp_path, [rows[0], lost("gone", "opted_out")], OFF)[1]
    assert listed["reasons"] == {"opted_out": 1}
    assert step_of(listed, "opted_out")["dropped"] == 1
    twin = row("twin", clip_id="twin", video_id="a film", start_s=5.0)
    decisions, _ = decided(tmp_path, [*rows, twin], OFF, opted_out=["a key"])
    assert reasons_of(decisions)[4] is None


def kept_by(folder, rows, filters):
    decisions, _ = decided(folder, rows, filters)
    return {
        (item["key"], item["caption"])
        for item, decision in zip(rows, decisions, strict=True)
        if decision["kept"]
    }, decisions


def test_of_equal_ids_one_stays_whatever_their_order(tmp_path):
    rows = [
        row(f"{video}", video_id=f"film {video}", caption=f"caption {number}")
        for video, number in itertools.product(range(20), range(4))
    ]
    kept, decisions = kept_by(tmp_path, rows, OFF)
    assert {key for key, _ in kept} == {str(video) for video in range(20)}
    assert len(kept) == 20
    assert len({caption for _, caption in kept}) > 1  # no place in the table is favoured
    assert Counter(reasons_of(decisions)) == {None: 20, "duplicate_id": 60}
    rng = random.Random(0)
    for _ in range(4):
        rng.shuffle(rows)
        again, decisions = kept_by(tmp_path, rows, OFF)
        assert again == kept
        for item, decision in zip(rows, decisions, strict=True):
            if decision["repeats_row"] is not None:
                stays = decision["repeats_row"]
                assert decisions[stays]["kept"]
                assert rows[stays]["video_id"] == item["video_id"]


def test_the_same_part_of_a_video_under_two_ids(tmp_path):
    rows = [
        row("a", video_id="film", start_s=1.0, end_s=3.0),
        row("b", video_id="film", start_s=1.0, end_s=3.0),
        row("c", video_id="film", start_s=1.0, end_s=3.5),
        row("d", video_id="other", start_s=1.0, end_s=3.0),
    ]
    kept, _ = kept_by(tmp_path, rows, OFF)
    assert len(kept) == 3
    assert {("c", "none"), ("d", "none")} < kept
    assert kept_by(tmp_path, rows[::-1], OFF)[0] == kept


def test_the_same_key_from_two_videos(tmp_path):
    rows = [row("same", clip_id=f"film/{number}", start_s=float(number)) for number in range(5)]
    decisions, _ = decided(tmp_path, rows, OFF)
    assert Counter(reasons_of(decisions)) == {None: 1, "duplicate_id": 4}
    (stays,) = (number for number, item in enumerate(decisions) if item["kept"])
    assert {item["repeats_row"] for item in decisions} == {None, stays}


def test_a_repeat_of_a_row_that_is_dropped_takes_its_place(tmp_path):
    rows = [row("a", video_id="film", object_motion=motion) for motion in (0.0, 0.02)]
    decisions, _ = decided(tmp_path, rows, USUAL)
    assert reasons_of(decisions) == ["still", None]
    rows = [row(str(n), phash=look(1, 2, 3), object_motion=m) for n, m in enumerate((0.0, 0.02))]
    assert reasons_of(decided(tmp_path, rows, USUAL)[0]) == ["still", None]


def crowd(count, seed):
    """Rows whose looks are near to others', some of them equal ids as well."""
    rng = random.Random(seed)
    looks = []
    for number in range(count):
        hashes = [rng.getrandbits(64) for _ in range(3)]
        if looks and rng.random() < 0.6:
            near = rng.choice(looks)
            hashes = [
                value ^ sum(1 << place for place in rng.sample(range(64), rng.randint(0, 5)))
                for value in near
            ]
        looks.append(hashes)
        yield row(f"k{number % (count - 20):03d}", phash=look(*hashes), caption=str(number)), hashes


def test_near_copies_in_any_order(tmp_path, monkeypatch):
    monkeypatch.setattr(TableWriter, "GROUP_ROWS", 32)
    monkeypatch.setattr(duplicates, "TOGETHER", 50)
    monkeypatch.setattr(Records.__init__, "__defaults__", (1024,))
    given = list(crowd(200, 0))
    hashes = {item["caption"]: own for item, own in given}
    rows = [item for item, _ in given]
    kept, decisions = kept_by(tmp_path, rows, USUAL)
    assert set(reasons_of(decisions)) == {None, "duplicate_id", "near_duplicate"}
    assert 60 < len(kept) < 170

    def distance(one, other):
        pairs = zip(hashes[one["caption"]], hashes[other["caption"]], strict=True)
        return max((a ^ b).bit_count() for a, b in pairs)

    stay = [item for item, own in zip(rows, decisions, strict=True) if own["kept"]]
    assert all(distance(*pair) > 6 for pair in itertools.combinations(stay, 2))
    for item, own in zip(rows, decisions, strict=True):
        if own["reason"] == "near_duplicate":
            assert distance(item, rows[own["repeats_row"]]) <= 6
            assert decisions[own["repeats_row"]]["kept"]
    rng = random.Random(1)
    for _ in range(3):
        rng.shuffle(rows)
        assert kept_by(tmp_path, rows, USUAL)[0] == kept
    assert "near_duplicate" not in reasons_of(decided(tmp_path, rows, OFF)[0])


def test_what_failed_later_is_withdrawn(tmp_path):
    rows = [*(row(f"k{number}") for number in range(8)), lost("page", "not_video")]
    before, funnel = decided(tmp_path, rows, dataclasses.replace(OFF, test_share=0.5))
    assert Counter(item["split"] for item in before[:8]) == funnel["kept"]
    assert min(funnel["kept"].values()) > 0
    withdraw({2: ["unreadable", "ends early"], 5: ["timeout", "slow"]}, tmp_path)
    after, funnel = read_decisions(tmp_path), read_json(tmp_path / "funnel.json")
    expected = [None, None, "unreadable", None, None, "timeout", None, None, "not_video"]
    assert reasons_of(after) == expected
    assert [row for row, _ in kept_rows(tmp_path)] == [0, 1, 3, 4, 6, 7]
    assert [item["split"] for item in after] == [item["split"] for item in before]
    steps = funnel["steps"]
    assert steps[-2] == {"name": "not_encoded", "in": 8, "out": 6, "dropped": 2, "unknown": 0}
    assert funnel["reasons"] == {"not_video": 1, "timeout": 1, "unreadable": 1}
    assert funnel["kept"] == Counter(item["split"] for item in after if item["kept"])
