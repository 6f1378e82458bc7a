"""Which rows stay, and why the others do not: on tables whose rows are made up."""

import dataclasses
import itertools
import os
import random
from collections import Counter

import numpy as np
import pytest
import yaml

import conf
from curation.measures import UNITS
from curation.passes import duplicates
from curation.passes.decide import STATED_CONFIDENCE, decide, kept_rows, split_of, withdraw
from curation.passes.external import Records
from curation.passes.filters import (
    RULES,
    STEPS,
    Filters,
    active_rules,
    judge,
    needed_measures,
    refuse_absent,
    threshold_names,
    with_threshold,
)
from curation.tables import TableWriter
from dynamicrafter.errors import InputError
from dynamicrafter.files import read_json
from tests.curation.tables_of import lost, read_decisions, row, write_measures

OFF = Filters(
    max_black_share=None,
    max_frozen_share=None,
    min_object_motion=None,
    max_camera_motion=None,
    camera_dominance=2,
    min_sharpness=None,
    max_letterbox_share=None,
    max_text_share=None,
    max_static_text_share=None,
    drop_watermarked=False,
    drop_cgi=False,
    max_cgi_probability=None,
    min_clip_alignment=None,
    min_aesthetic=None,
    min_dynamic_confidence=None,
    max_phash_distance=None,
    on_missing="keep",
    test_share=0.2,
    split_by="video",
)
USUAL = dataclasses.replace(
    OFF, max_black_share=0.5, min_object_motion=0.003, max_camera_motion=0.25, max_phash_distance=6
)


@pytest.fixture(autouse=True)
def without_waiting_for_the_disk(monkeypatch):
    monkeypatch.setattr(os, "fsync", lambda descriptor: None)


def decided(folder, rows, filters=OFF, opted_out=(), absent=()):
    """(decisions row for row, funnel)."""
    write_measures(folder, rows, *absent)
    funnel = decide(filters, frozenset(opted_out), folder)
    assert read_json(folder / "funnel.json") == funnel
    assert not list(folder.glob(".*"))
    decisions = read_decisions(folder)
    assert [item["key"] for item in decisions] == [item["key"] for item in rows]
    assert all(item["kept"] is (item["reason"] is None) for item in decisions)
    return decisions, funnel


def reasons_of(decisions):
    return [item["reason"] for item in decisions]


def look(*hashes):
    return "".join(f"{value:016x}" for value in hashes)


def step_of(funnel, name):
    return next(step for step in funnel["steps"] if step["name"] == name)


# What a single rule does: (reason, threshold, its value, column, a value just not dropped, dropped)
SINGLE = [
    ("black", "max_black_share", 0.5, "black_share", 0.5, 0.51),
    ("frozen", "max_frozen_share", 0.7, "frozen_share", 0.7, 0.71),
    ("still", "min_object_motion", 0.003, "object_motion", 0.003, 0.0029),
    ("blurred", "min_sharpness", 6, "sharpness", 6.0, 5.9),
    ("letterboxed", "max_letterbox_share", 0.05, "letterbox_share", 0.05, 0.06),
    ("text", "max_text_share", 0.1, "text_share", 0.1, 0.11),
    ("static_text", "max_static_text_share", 0.1, "static_text_share", 0.1, 0.11),
    ("watermarked", "drop_watermarked", True, "watermark", False, True),
    ("cgi", "drop_cgi", True, "cgi_caption", False, True),
    ("cgi_picture", "max_cgi_probability", 0.5, "cgi_probability", 0.5, 0.51),
    ("misaligned", "min_clip_alignment", 0.2, "clip_alignment", 0.2, 0.19),
    ("unaesthetic", "min_aesthetic", 4, "aesthetic", 4.0, 3.9),
]


@pytest.mark.parametrize(("reason", "threshold", "value", "column", "good", "bad"), SINGLE)
@pytest.mark.parametrize("on_missing", ["keep", "drop", "refuse"])
def test_each_rule(tmp_path, reason, threshold, value, column, good, bad, on_missing):
    rows = [row("good", **{column: good}), row("bad", **{column: bad})]
    rows += [row("unknown", **{column: None}), lost("lost", "not_video")]
    assert reasons_of(decided(tmp_path, rows, OFF)[0]) == [None, None, None, "not_video"]
    filters = dataclasses.replace(OFF, on_missing=on_missing, **{threshold: value})
    decisions, funnel = decided(tmp_path, rows, filters)
    dropped = reason if on_missing == "drop" else None
    assert reasons_of(decisions) == [None, reason, dropped, "not_video"]
    assert step_of(funnel, reason)["unknown"] == 1
    assert sum(step["unknown"] for step in funnel["steps"]) == 1


def test_the_confidence_that_the_source_states(tmp_path):
    stated = ["40", "39.9", "x", None, "1e3", "-1"]
    rows = [
        row(str(number), extra={} if text is None else {"dynamic_confidence": text})
        for number, text in enumerate(stated)
    ]
    filters = dataclasses.replace(OFF, min_dynamic_confidence=40)
    decisions, funnel = decided(tmp_path, rows, filters)
    bad = "not_dynamic"
    assert reasons_of(decisions) == [None, bad, None, None, None, bad]
    assert step_of(funnel, bad)["unknown"] == 2
    decisions, _ = decided(tmp_path, rows, dataclasses.replace(filters, on_missing="drop"))
    assert reasons_of(decisions) == [None, bad, bad, bad, None, bad]


@pytest.mark.parametrize(
    ("camera", "objects", "dominates"),
    [
        (0.24, 0.01, False),  # slow
        (0.25, 0.01, False),
        (0.26, 0.01, True),
        (0.26, 0.12, True),
        (0.26, 0.14, False),  # fast, but it follows what moves
        (0.50, 0.24, True),
        (0.50, 0.25, False),  # exactly twice as fast
    ],
)
def test_the_camera_dominates_if_it_is_fast_and_much_faster(camera, objects, dominates):
    columns = {"camera_motion": np.array([camera]), "object_motion": np.array([objects])}
    (reason,), _ = judge(columns, dataclasses.replace(OFF, max_camera_motion=0.25))
    assert reason == ("camera_dominated" if dominates else None)


def test_the_first_reason_counts():
    changes = {reason: (column, bad) for reason, _, _, column, _, bad in SINGLE}
    order = [rule.reason for rule in RULES if rule.reason in changes]
    columns = {
        column: np.array(
            [bad if number >= at else good for number in range(len(order))],
            object if isinstance(bad, bool) else float,
        )
        for at, reason in enumerate(reversed(order))
        for _, _, _, column, good, bad in [next(one for one in SINGLE if one[0] == reason)]
    }  # row i has the faults of the last i + 1 rules
    columns["camera_motion"] = np.zeros(len(order))
    filters = dataclasses.replace(OFF, **{one[1]: one[2] for one in SINGLE})
    reasons, unknown = judge(columns, filters)
    assert reasons.tolist() == order[::-1]
    assert not any(rows.any() for rows in unknown.values())


def test_what_a_rule_does_not_know_is_counted_only_where_the_row_had_come_so_far(tmp_path):
    rows = [
        row("a", black_share=0.9, object_motion=None),
        row("b", object_motion=None),
        row("c", object_motion=None, reason="too_short"),
        row("d", object_motion=None),
        row("e", object_motion=None, camera_motion=None),
    ]
    decisions, funnel = decided(tmp_path, rows, USUAL, opted_out=["d"])
    assert reasons_of(decisions) == ["black", None, "too_short", "opted_out", None]
    assert step_of(funnel, "still")["unknown"] == 2
    assert step_of(funnel, "camera_dominated")["unknown"] == 2
    assert step_of(funnel, "black")["unknown"] == 0


def test_an_absent_measure_is_unknown_everywhere(tmp_path):
    rows = [row("a"), row("b")]
    filters = dataclasses.replace(OFF, min_aesthetic=4)
    for on_missing, reason in (("keep", None), ("drop", "unaesthetic")):
        own = dataclasses.replace(filters, on_missing=on_missing)
        decisions, funnel = decided(tmp_path, rows, own, absent=["aesthetic"])
        assert reasons_of(decisions) == [reason, reason]
        assert step_of(funnel, "unaesthetic")["unknown"] == 2


def test_a_filter_over_an_absent_measure_is_refused():
    there = [*UNITS, STATED_CONFIDENCE]
    for _, threshold, value, column, _, _ in SINGLE:
        filters = dataclasses.replace(OFF, on_missing="refuse", **{threshold: value})
        refuse_absent(filters, there, {})
        left = [name for name in there if name != column]
        with pytest.raises(InputError, match=rf"^filters\.{threshold} .* {column}, ") as caught:
            refuse_absent(filters, left, {column: "no weights are given"})
        assert caught.value.exit_code == 2
        assert "no weights are given" in str(caught.value)
        assert "filters.on_missing=keep" in str(caught.value)
        refuse_absent(dataclasses.replace(filters, on_missing="keep"), left, {})
        refuse_absent(dataclasses.replace(filters, on_missing="drop"), left, {})
        refuse_absent(dataclasses.replace(OFF, on_missing="refuse"), [], {})
    filters = dataclasses.replace(OFF, on_missing="refuse", max_phash_distance=6)
    with pytest.raises(InputError, match=r"filters\.max_phash_distance needs the measure phash"):
        refuse_absent(filters, [name for name in there if name != "phash"], {})


def test_settings_that_are_none():
    with pytest.raises(InputError, match=r"split_by is 'film'; choose one of video, clip, shot"):
        dataclasses.replace(OFF, split_by="film")
    with pytest.raises(InputError, match=r"on_missing is 'ask'; choose one of refuse, keep, drop"):
        dataclasses.replace(OFF, on_missing="ask")
    for share in (-0.1, 1.1):
        with pytest.raises(InputError, match=r"test_share is .*, not 0 to 1"):
            dataclasses.replace(OFF, test_share=share)


def test_every_threshold_is_in_the_configuration():
    path = next(iter(conf.__path__)) + "/filters/footage.yaml"
    with open(path, encoding="utf-8") as file:
        settings = yaml.safe_load(file)
    assert set(settings) == {field.name for field in dataclasses.fields(Filters)}
    assert set(threshold_names()) == set(settings) - {"on_missing", "test_share", "split_by"}
    assert {rule.threshold for rule in RULES} <= set(threshold_names())
    usual = Filters(**settings)
    assert active_rules(usual) == [
        rule for rule in RULES if settings[rule.threshold] not in (None, False)
    ]
    assert needed_measures(usual) <= {*UNITS, STATED_CONFIDENCE}
    assert active_rules(OFF) == []
    assert needed_measures(OFF) == set()
    other = with_threshold(usual, "min_sharpness", 9)
    assert (other.min_sharpness, usual.min_sharpness) == (9, 6)
    assert dataclasses.replace(other, min_sharpness=6) == usual


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
    assert steps[-1] == {"name": "not_encoded", "in": 8, "out": 6, "dropped": 2, "unknown": 0}
    assert funnel["reasons"] == {"not_video": 1, "timeout": 1, "unreadable": 1}
    assert funnel["kept"] == Counter(item["split"] for item in after if item["kept"])
