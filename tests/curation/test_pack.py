"""Shards from clips that are really encoded: their sizes and their bytes."""

import json
import random

import numpy as np
import pyarrow.parquet as pq
import pytest

from curation.captions.caption import Caption
from curation.passes.encode import EncodeJob, encode_piece
from curation.passes.pack import (
    SPLITS,
    TEXT_BYTES,
    PackJob,
    entry_of,
    make_plan,
    plan_shards,
)
from curation.passes.sample import dcp_row
from curation.tables import write_rows
from dynamicrafter.errors import InputError
from dynamicrafter.shards import ShardReader
from tests.curation.packs import (
    ENCODE,
    EXTRA,
    PLAN_SCHEMA,
    bytes_below,
    here,
    infos_of,
    packed,
    prepared,
    rows_of,
)
from tests.curation.tables_of import write_measures

pytestmark = pytest.mark.usefixtures("without_waiting_for_the_disk")


def sizes_of_shards(sizes, jobs):
    return [sum(sizes[job.first : job.stop]) for job in jobs]


def write_plan(folder, sizes):
    rows = [
        {"key": f"{i:06d}", "row": i, "path": "x.tar", "offset": 0, "size": int(size) - TEXT_BYTES}
        for i, size in enumerate(sizes)
    ]
    write_rows(folder / "pack" / "plan-train.parquet", rows, PLAN_SCHEMA)


@pytest.mark.parametrize("seed", range(25))
def test_shards_are_even(tmp_path, seed):
    """With total T, target B, n = ⌈T / B⌉ and the largest clip c: each shard has T/n ± c bytes.

    Where clips are small to the target (2 c ≤ T/n, which is more than B/2), that is one between
    half and one and a half of the mean; where they are not, no shard is empty.
    """
    rng = np.random.default_rng(seed)
    target = int(rng.integers(10**5, 10**7))
    most = target / (1, 2, 5, 50, 500)[seed % 5]
    sizes = rng.uniform(0.02 * most, most, int(rng.integers(1, 1500))).astype(int) + TEXT_BYTES
    write_plan(tmp_path, sizes)
    jobs = plan_shards("train", target, tmp_path)
    assert [job.first for job in jobs] == [0, *(job.stop for job in jobs[:-1])]
    assert jobs[-1].stop == len(sizes)
    assert [job.number for job in jobs] == list(range(len(jobs)))
    assert all(job.first < job.stop for job in jobs)
    shards, total, largest = sizes_of_shards(sizes, jobs), int(sizes.sum()), int(sizes.max())
    count = -(-total // target)
    mean = total / count
    assert len(jobs) <= count
    assert max(shards) <= min(mean, target) + largest
    if len(jobs) == count:
        assert min(shards) >= mean - largest
    if 2 * largest <= mean:
        assert len(jobs) == count
        assert 0.5 * mean <= min(shards)
        assert max(shards) <= 1.5 * mean


@pytest.mark.parametrize(
    ("sizes", "target", "expected"),
    [
        ([5000], 100, [(0, 1)]),  # one clip is one shard, however large
        ([5000] * 4, 10_000, [(0, 2), (2, 4)]),
        ([5000] * 4, 20_000, [(0, 4)]),
        ([5000] * 5, 20_000, [(0, 2), (2, 5)]),
        ([5000] * 3, 100, [(0, 1), (1, 2), (2, 3)]),
        ([4200, 10**6, 4200], 350_000, [(0, 1), (1, 2), (2, 3)]),
        ([4200, 4200, 10**6], 100_000, [(0, 2), (2, 3)]),
    ],
)
def test_shards_of_known_sizes(tmp_path, sizes, target, expected):
    write_plan(tmp_path, sizes)
    jobs = plan_shards("train", target, tmp_path)
    assert [(job.first, job.stop) for job in jobs] == expected


def test_a_split_without_clips(tmp_path, video):
    prepared(tmp_path, video, count=4, test_share=0.0)
    jobs = packed(tmp_path, 10**9)
    assert jobs["test"] == []
    assert len(jobs["train"]) == 1
    assert len(ShardReader(tmp_path / "dataset" / "test", verify=True)) == 0
    assert len(ShardReader(tmp_path / "dataset" / "train", verify=True)) == 4


def test_the_estimate_of_the_texts_holds(dataset):
    folder, _, jobs = dataset
    for split in SPLITS:
        planned = pq.read_table(folder / "pack" / f"plan-{split}.parquet").to_pylist()
        for job in jobs[split]:
            videos = sum(item["size"] for item in planned[job.first : job.stop])
            tar = folder / "dataset" / split / f"{job.name}.tar"
            room = TEXT_BYTES * (job.stop - job.first)
            assert tar.stat().st_size <= videos + 1.6 * room + 10_240


def test_a_whole_clip_keeps_the_names_of_its_source(dataset):
    infos = infos_of(dataset[0])
    whole, cut = infos["clip-00-x"], infos["clip-05-x"]
    names = ("videoid", "page_dir", "duration", "contentUrl")
    assert {name: whole[name] for name in names} == EXTRA
    assert whole["name"] == "caption 0"
    assert {name: cut[name] for name in names} == {**EXTRA, "videoid": "clip-05-x"}
    assert infos["clip-02-x"]["videoid"] == "clip-02-x"  # its source gives no videoid
    assert {infos["clip-02-x"][name] for name in ("page_dir", "contentUrl")} == {"none"}
    assert infos["clip-02-x"]["duration"] == "PT00H00M02S"
    assert infos["clip-01-x"]["dynamic_confidence"] == 83
    assert infos["clip-01-x"]["caption"]["source"] == "stated"
    assert infos["clip-00-x"]["caption"]["source"] == "embedded"


def test_a_cut_shot_lasts_what_it_lasts(video, tmp_path):
    rows = list(rows_of(video, 4))
    changed = json.dumps(dict(EXTRA, duration="PT01H00M00S"))
    said = Caption("waves", 50, "none", "waves", "stated")
    whole, cut = ({**rows[0], "extra": changed, "whole": flag} for flag in (True, False))
    assert dcp_row(whole, said)["duration"] == "PT01H00M00S"
    assert dcp_row(cut, said)["duration"] == "PT00H00M02S"
    long = {**cut, "start_s": 10.0, "end_s": 10.0 + 3 * 3600 + 62.4}
    assert dcp_row(long, said)["duration"] == "PT03H01M02S"


def test_equal_clips_give_equal_bytes_in_any_order_of_the_jobs(dataset, video, tmp_path):
    expected = bytes_below(dataset[0] / "dataset")
    for number in range(2):
        folder = tmp_path / str(number)
        prepared(folder, video)
        packed(folder, 20_000, random.Random(number))
        assert bytes_below(folder / "dataset") == expected


def test_what_is_packed_is_not_packed_again(video, tmp_path):
    prepared(tmp_path, video)
    jobs = packed(tmp_path, 20_000)
    before = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*.tar")}
    expected = bytes_below(tmp_path / "dataset")
    packed(tmp_path, 20_000)
    assert {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*.tar")} == before
    doomed = tmp_path / "dataset" / "train" / f"{jobs['train'][0].name}.tar"
    doomed.unlink()
    packed(tmp_path, 20_000)
    assert bytes_below(tmp_path / "dataset") == expected
    changed = {path for path, at in before.items() if path.stat().st_mtime_ns != at}
    assert changed == {doomed}
    # Larger shards replace the smaller ones; nothing of them is left.
    jobs = packed(tmp_path, 10**9)
    left = {path.name for path in (tmp_path / "dataset").rglob("*.tar")}
    assert left == {"train-000000.tar", "test-000000.tar"}
    assert sorted(path.name for path in (tmp_path / "pack").glob("*.csv")) == [
        "test-000000.csv",
        "train-000000.csv",
    ]
    assert {job.name for split in SPLITS for job in jobs[split]} == {"train-000000", "test-000000"}


def test_a_lost_index_is_written_again(video, tmp_path):
    prepared(tmp_path, video, count=4, test_share=0.0)
    packed(tmp_path, 10**9)
    (tmp_path / "dataset" / "train" / "train-000000.index.parquet").unlink()
    packed(tmp_path, 10**9)
    assert len(ShardReader(tmp_path / "dataset" / "train", verify=True)) == 4


def test_clips_that_could_not_be_encoded_are_named(video, tmp_path):
    rows = prepared(tmp_path, video, count=4, encode=False)
    with pytest.raises(InputError, match="clip 0 is not encoded"):
        make_plan(ENCODE, tmp_path)
    rows[1]["mtime_ns"] += 1  # as if the file had been replaced
    rows[2]["frames"] = 60
    write_measures(tmp_path, rows)
    counts = encode_piece(EncodeJob("ab00", 0, (0, 1, 2)), here, settings=ENCODE, folder=tmp_path)
    assert counts == {"clips": 3, "encoded": 3, "failed": 2}
    encode_piece(EncodeJob("ab00", 0, (0, 1, 2, 3)), here, settings=ENCODE, folder=tmp_path)
    failed = make_plan(ENCODE, tmp_path)
    assert {number: reason for number, (reason, _) in failed.items()} == {
        1: "changed",
        2: "unreadable",
    }
    planned = [
        item["key"]
        for split in SPLITS
        for item in pq.read_table(tmp_path / "pack" / f"plan-{split}.parquet").to_pylist()
    ]
    assert sorted(planned) == [rows[0]["key"], rows[3]["key"]]


def test_an_entry_is_named_after_its_shard(tmp_path):
    job = PackJob("test", 12, 0, 1)
    assert entry_of(job, tmp_path) == tmp_path / "pack" / "test-000012.json"
