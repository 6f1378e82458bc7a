import dataclasses
import itertools
import random

import numpy as np
import pytest

from curation.decide import Filters, camera_dominates, decide, funnel, reason_to_drop, split_of
from dynamicrafter.errors import InputError

FILTERS = Filters(
    max_black_share=0.5,
    max_frozen_share=0.7,
    min_object_motion=0.003,
    max_camera_motion=0.25,
    camera_dominance=2,
    max_phash_distance=6,
    test_share=0.2,
    split_by="clip",
)


def row(key="a", bits=(0, 0, 0), too_short=False, **changes):
    measures = {
        "black_share": 0.0,
        "frozen_share": 0.0,
        "object_motion": 0.02,
        "camera_motion": 0.01,
        "phash": "".join(f"{int(b):016x}" for b in bits),
    }
    measures |= changes
    return {
        "key": key,
        "clip_id": key,
        "too_short": too_short,
        "measures": None if too_short else measures,
    }


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({}, None),
        ({"too_short": True}, "too_short"),
        ({"black_share": 0.6, "object_motion": 0.0}, "black"),
        ({"frozen_share": 0.8, "object_motion": 0.0}, "frozen"),
        ({"object_motion": 0.002, "camera_motion": 0.5}, "still"),
        ({"camera_motion": 0.3}, "camera_dominated"),
        ({"camera_motion": 0.3, "object_motion": 0.2}, None),
    ],
)
def test_the_first_reason_counts(changes, reason):
    assert reason_to_drop(row(**changes), FILTERS) == reason


@pytest.mark.parametrize(
    ("camera", "objects", "dominates"),
    [
        (0.24, 0.01, False),  # slow
        (0.26, 0.01, True),
        (0.26, 0.12, True),
        (0.26, 0.14, False),  # fast, but it follows what moves
        (0.50, 0.24, True),
        (0.50, 0.25, False),  # exactly twice as fast
    ],
)
def test_the_camera_dominates_if_it_is_fast_and_much_faster(camera, objects, dominates):
    assert camera_dominates(camera, objects, FILTERS) is dominates


def flip(bits, count, rng):
    for place in rng.sample(range(64), count):
        bits ^= 1 << place
    return bits


def brute_force(rows, distance):
    kept = []
    for item in sorted(rows, key=lambda r: r["key"]):
        digits = item["measures"]["phash"]
        bits = [int(digits[i : i + 16], 16) for i in (0, 16, 32)]
        near = any(
            all((a ^ b).bit_count() <= distance for a, b in zip(bits, other, strict=True))
            for _, other in kept
        )
        if not near:
            kept.append((item["key"], bits))
    return [key for key, _ in kept]


def test_near_duplicates_equal_brute_force_in_any_order():
    rng = random.Random(0)
    rows = []
    for i in range(300):
        base = [rng.getrandbits(64) for _ in range(3)]
        if rows and rng.random() < 0.6:
            digits = rng.choice(rows)["measures"]["phash"]
            base = [flip(int(digits[j : j + 16], 16), rng.randint(0, 9), rng) for j in (0, 16, 32)]
        rows.append(row(f"k{i:03d}", base))
    expected = brute_force(rows, 6)
    assert 100 < len(expected) < 290
    first = decide(rows, FILTERS)
    rng.shuffle(rows)
    assert decide(rows, FILTERS) == first
    assert [r["key"] for r in first if r["reason"] is None] == expected
    assert {r["reason"] for r in first} == {None, "near_duplicate"}


def test_the_split_depends_on_the_key_alone():
    keys = [f"clip-{i}" for i in range(5000)]
    share = np.mean([split_of(key, 0.2) == "test" for key in keys])
    assert share == pytest.approx(0.2, abs=0.02)
    more = {key for key in keys if split_of(key, 0.4) == "test"}
    assert {key for key in keys if split_of(key, 0.2) == "test"} < more
    # printf clip-0 | sha256sum begins with 3394f08f: at 0.2015 of the range
    assert split_of("clip-0", 0.202) == "test"
    assert split_of("clip-0", 0.201) == "train"


def shots(clips, each):
    rng = random.Random(1)
    for clip, shot in itertools.product(range(clips), range(each)):
        bits = [rng.getrandbits(64) for _ in range(3)]
        yield {**row(f"{clip:03d}-{shot}", bits), "clip_id": f"film {clip}"}


def test_the_shots_of_a_clip_stay_in_one_split():
    rows = list(shots(clips=100, each=8))
    splits = {}
    for item in decide(rows, FILTERS):
        splits.setdefault(item["clip_id"], set()).add(item["split"])
    assert all(len(parts) == 1 for parts in splits.values())
    assert 8 <= sum(parts == {"test"} for parts in splits.values()) <= 32
    by_shot = decide(rows, dataclasses.replace(FILTERS, split_by="shot"))
    assert len({item["split"] for item in by_shot if item["clip_id"] == "film 0"}) == 2
    with pytest.raises(InputError, match=r"split_by is 'film'; choose clip or shot"):
        dataclasses.replace(FILTERS, split_by="film")


def test_the_funnel_adds_up():
    rows = [row("a"), row("b", (2**64 - 1,) * 3), row("c"), row("d", too_short=True)]
    counts = funnel(decide(rows, FILTERS), {"timeout": 1, "not_video": 2}, "clip")
    assert counts["split_by"] == "clip"
    steps = counts["steps"]
    assert steps[0] == {"name": "unreadable", "in": 7, "out": 4, "dropped": 3}
    assert all(a["out"] == b["in"] for a, b in itertools.pairwise(steps))
    assert steps[-1]["out"] == sum(counts["kept"].values()) == 2
    assert counts["reasons"] == {"near_duplicate": 1, "not_video": 2, "timeout": 1, "too_short": 1}
