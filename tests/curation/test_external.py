"""Sorting on disk gives what sorting in memory gives."""

import itertools

import numpy as np
import pytest

from curation.passes.external import Records

DTYPE = np.dtype([("name", np.uint64), ("priority", np.uint64), ("row", np.int64)])
TOP = np.iinfo(np.uint64).max


def filled(path, array, memory_bytes):
    records = Records(path, DTYPE, memory_bytes)
    for part in np.array_split(array, 7):
        records.append(part)
    return records


def made(names, seed=0):
    rng = np.random.default_rng(seed)
    array = np.empty(len(names), DTYPE)
    array["name"] = names
    array["priority"] = rng.integers(0, 4, len(names), np.uint64)
    array["row"] = rng.permutation(len(names))
    return array


def names_of(kind, count):
    rng = np.random.default_rng(1)
    return {
        "hashes": rng.integers(0, TOP, count, np.uint64, endpoint=True),
        "repeated hashes": rng.choice(rng.integers(0, TOP, 37, np.uint64), count),
        "dense": np.arange(count, dtype=np.uint64),
        "zeros": np.zeros(count, np.uint64),
        "highest": np.full(count, TOP, np.uint64),
        "extremes": rng.choice(np.array([0, TOP], np.uint64), count),
        "small": rng.integers(0, 5, count, np.uint64),
    }[kind]


@pytest.mark.parametrize("memory_bytes", [1, DTYPE.itemsize * 10, DTYPE.itemsize * 199, 2**24])
@pytest.mark.parametrize(
    "kind",
    ["hashes", "repeated hashes", "dense", "zeros", "highest", "extremes", "small"],
)
def test_sorted_blocks_are_a_full_sort(tmp_path, kind, memory_bytes):
    array = made(names_of(kind, 500))
    records = filled(tmp_path / "records.bin", array, memory_bytes)
    blocks = list(records.sorted_blocks("name", "priority", "row"))
    expected = sorted(array.tolist())  # of tuples, in the order of the fields
    assert [row for block in blocks for row in block.tolist()] == expected
    assert all(len(block) for block in blocks)
    for before, after in itertools.pairwise(blocks):
        assert before["name"][-1] < after["name"][0]
    assert np.array_equal(np.concatenate(list(records.blocks())), array)
    records.close()
    assert list(tmp_path.iterdir()) == []


def test_blocks_of_hashes_fit_the_memory_that_was_asked_for(tmp_path):
    array = made(names_of("hashes", 20_000))
    held = DTYPE.itemsize * 1000
    records = filled(tmp_path / "records.bin", array, held)
    assert max(block.nbytes for block in records.sorted_blocks("name", "row")) <= held
    assert max(block.nbytes for block in records.blocks()) <= held


def test_fields_that_are_not_named_do_not_matter(tmp_path):
    array = made(names_of("small", 300))
    records = filled(tmp_path / "records.bin", array, DTYPE.itemsize * 50)
    found = np.concatenate(list(records.sorted_blocks("name", "row")))
    assert np.array_equal(found, array[np.lexsort([array["row"], array["name"]])])


@pytest.mark.parametrize("memory_bytes", [1, 2**20])
def test_nothing_to_sort(tmp_path, memory_bytes):
    records = Records(tmp_path / "records.bin", DTYPE, memory_bytes)
    records.append(np.empty(0, DTYPE))
    assert list(records.blocks()) == list(records.sorted_blocks("name")) == []
    assert len(records.array()) == records.count == 0


def test_records_can_be_added_after_they_were_read(tmp_path):
    array = made(names_of("hashes", 30))
    records = Records(tmp_path / "records.bin", DTYPE, 100)
    records.append(array[:20])
    assert np.array_equal(records.array(), array[:20])
    records.append(array[20:])
    assert np.array_equal(records.array(), array)
    assert len(np.concatenate(list(records.sorted_blocks("name")))) == 30


def test_partitions_are_removed_also_when_the_reader_stops_early(tmp_path):
    records = filled(tmp_path / "records.bin", made(names_of("hashes", 500)), 100)
    blocks = records.sorted_blocks("name")
    next(blocks)
    blocks.close()
    assert [path.name for path in tmp_path.iterdir()] == ["records.bin"]
