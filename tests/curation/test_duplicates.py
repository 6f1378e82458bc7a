"""Both searches against the plain quadratic ones, over clips that repeat each other a lot."""

import random

import numpy as np
import pytest

from curation.passes import duplicates
from curation.passes.duplicates import IDENTITIES, PICTURES, near_copies, repeated_identities
from curation.passes.external import Records

BITS = 64


def flipped(hashes, most, rng):
    """The same hashes, up to `most` bits of each changed."""
    return [
        value ^ sum(1 << place for place in rng.sample(range(BITS), rng.randint(0, most)))
        for value in hashes
    ]


def crowd(count, bases, most, seed):
    """Looks around a few bases, each near to some of the others and far from some."""
    rng = random.Random(seed)
    centres = [[rng.getrandbits(BITS) for _ in range(3)] for _ in range(bases)]
    return [flipped(rng.choice(centres), most, rng) for _ in range(count)]


def pictures_of(looks, seed=0):
    """Records of the looks, each with its number as the row and a priority of its own."""
    array = np.empty(len(looks), PICTURES)
    array["hashes"] = np.array(looks, np.uint64).reshape(-1, 3)
    array["row"] = np.arange(len(looks))
    array["priority"] = np.random.default_rng(seed).permutation(len(looks)).astype(np.uint64) * 7
    return array


def found_by(array, distance, folder, dtype=PICTURES, search=near_copies):
    """{row that repeats: row that stays} as the module finds it."""
    records = Records(folder / "given.bin", dtype)
    records.append(array)
    options = (distance, folder) if search is near_copies else ()
    found = {}
    for repeats, stays in search(records, *options):
        found |= dict(zip(repeats.tolist(), stays.tolist(), strict=True))
    records.close()
    assert list(folder.iterdir()) == []
    return found


def near(one, other, distance):
    pairs = zip(one["hashes"].tolist(), other["hashes"].tolist(), strict=True)
    return all((a ^ b).bit_count() <= distance for a, b in pairs)


def by_brute_force(array, distance):
    """Rows that stay: by priority, each that is near to none that stays."""
    kept = []
    for item in sorted(array, key=lambda item: int(item["priority"])):
        if not any(near(item, other, distance) for other in kept):
            kept.append(item)
    return {int(item["row"]) for item in kept}


def left_of(array, found):
    return set(array["row"].tolist()) - set(found)


@pytest.mark.parametrize("sizes", [(512, 250_000), (2, 11)])
@pytest.mark.parametrize(("distance", "most"), [(0, 1), (1, 1), (6, 5), (15, 12)])
def test_near_copies_are_those_of_the_plain_search(tmp_path, monkeypatch, sizes, distance, most):
    monkeypatch.setattr(duplicates, "BLOCK", sizes[0])
    monkeypatch.setattr(duplicates, "TOGETHER", sizes[1])
    for seed in range(2):
        array = pictures_of(crowd(120, 10, most, seed), seed)
        found = found_by(array, distance, tmp_path)
        expected = by_brute_force(array, distance)
        assert left_of(array, found) == expected
        assert set(found.values()) <= expected
        assert 10 < len(expected) < 118


def test_a_clip_repeats_one_that_stays_and_that_it_is_near_to(tmp_path):
    array = pictures_of(crowd(200, 10, 5, 3))
    by_row = {int(item["row"]): item for item in array}
    for repeats, stays in found_by(array, 6, tmp_path).items():
        assert near(by_row[repeats], by_row[stays], 6)
        assert by_row[repeats]["priority"] > by_row[stays]["priority"]


def test_the_order_of_the_clips_does_not_matter(tmp_path):
    array = pictures_of(crowd(200, 10, 5, 4))
    found = found_by(array, 6, tmp_path)
    rng = np.random.default_rng(0)
    for _ in range(5):
        assert found_by(array[rng.permutation(len(array))], 6, tmp_path) == found


def test_equal_looks(tmp_path):
    looks = [[number, 2**63 + number, 7] for number in range(5)]
    array = pictures_of(looks * 40)
    found = found_by(array, 0, tmp_path)
    first = {}
    for item in sorted(array, key=lambda item: int(item["priority"])):
        first.setdefault(item["hashes"].tobytes(), int(item["row"]))
    expected = {int(item["row"]): first[item["hashes"].tobytes()] for item in array}
    assert found == {row: stays for row, stays in expected.items() if row != stays}
    assert len(found) == 195


def test_two_equal_looks_near_to_a_third(tmp_path):
    array = pictures_of([[0, 0, 0], [3, 3, 3], [3, 3, 3]])
    array["priority"] = [1, 2, 3]
    assert found_by(array, 6, tmp_path) == {1: 0, 2: 0}
    array["priority"] = [3, 1, 2]
    assert found_by(array, 6, tmp_path) == {0: 1, 2: 1}


def test_a_chain_loses_its_middle_alone(tmp_path):
    """A ~ B ~ C, while A and C are far apart: B repeats A, and C repeats nothing that stays."""
    a, b, c = [0] * 3, [0b1111] * 3, [0b11111111] * 3
    array = pictures_of([a, b, c])
    array["priority"] = [1, 2, 3]
    assert found_by(array, 6, tmp_path) == {1: 0}
    array["priority"] = [2, 1, 3]
    assert found_by(array, 6, tmp_path) == {0: 1, 2: 1}


def test_all_three_pictures_must_be_near(tmp_path):
    array = pictures_of([[0, 0, 0], [0, 0, 127], [0, 63, 63], [127, 0, 0], [0, 127, 0]])
    array["priority"] = range(5)
    assert found_by(array, 6, tmp_path) == {2: 0}


@pytest.mark.parametrize("distance", range(0, 63, 7))
def test_the_distance_is_the_greatest_that_counts(tmp_path, distance):
    rng = random.Random(distance)
    places = [rng.sample(range(BITS), distance + 1) for _ in range(3)]
    at = [sum(1 << place for place in own[:distance]) for own in places]
    beyond = [sum(1 << place for place in places[0]), *at[1:]]
    assert found_by(pictures_of([[0, 0, 0], at]), distance, tmp_path)
    assert not found_by(pictures_of([[0, 0, 0], beyond]), distance, tmp_path)


def test_no_picture_at_all(tmp_path):
    assert found_by(np.empty(0, PICTURES), 6, tmp_path) == {}
    assert found_by(pictures_of([[1, 2, 3]]), 6, tmp_path) == {}


@pytest.mark.parametrize("seed", range(5))
def test_of_equal_identities_the_first_by_priority_stays(tmp_path, seed):
    rng = np.random.default_rng(seed)
    array = np.empty(400, IDENTITIES)
    array["identity"] = rng.choice(rng.integers(0, 2**63, 150, np.uint64), 400)
    array["priority"] = rng.integers(0, 3 if seed else 2**63, 400, np.uint64)  # ties as well
    array["row"] = rng.permutation(400)
    found = found_by(array, None, tmp_path, IDENTITIES, repeated_identities)
    best = {}
    for identity, priority, row in array.tolist():
        best[identity] = min(best.get(identity, (priority, row)), (priority, row))
    expected = {row: best[identity][1] for identity, _, row in array.tolist()}
    assert found == {row: stays for row, stays in expected.items() if row != stays}
    shuffled = found_by(
        array[rng.permutation(400)], None, tmp_path, IDENTITIES, repeated_identities
    )
    assert shuffled == found
