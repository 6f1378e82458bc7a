"""Who reads the shards: our reader, any WebDataset pipeline, the trainer."""

import numpy as np
import pytest
import webdataset

from curation.passes.pack import (
    SPLITS,
)
from dynamicrafter.media.decode import read_frames
from dynamicrafter.shards import ShardReader
from tests.curation.packs import FPS, FRAMES, PACKING, STATED
from tests.media.clips import numbers_of
from train.data import Batch, ClipFrames, ClipWindows, Positions, Window, batches, one_set

pytestmark = pytest.mark.usefixtures("without_waiting_for_the_disk")


def test_our_reader_finds_every_clip_once(dataset):
    folder, rows, jobs = dataset
    keys = []
    for split in SPLITS:
        reader = ShardReader(folder / "dataset" / split, verify=True)
        assert len(reader.manifest["shards"]) == len(jobs[split]) > 0
        keys += reader.keys
        for number, key in enumerate(reader.keys):
            sample, own = reader[number], next(item for item in rows if item["key"] == key)
            first = round(own["start_s"] * FPS)
            frames = read_frames(sample.video, range(FRAMES))
            assert numbers_of(frames) == list(range(first, first + FRAMES))
            assert (sample.info["width"], sample.info["height"]) == (96, 64)
            assert (reader.fps[number], reader.frames[number]) == (FPS, FRAMES)
            assert sample.info["source"]["media_may_be_passed_on"] is False
            assert sample.info["digests"] == {**PACKING.digests, "source": own["sha256"]}
            assert sample.info["measures"]["sharpness"]["value"] == 100.0
            assert sample.info["measures"]["sharpness"]["unit"].startswith("grey levels squared")
    assert sorted(keys) == [item["key"] for item in rows]
    assert len(jobs["train"]) > 1


def test_webdataset_reads_the_shards(dataset):
    folder, rows, _ = dataset
    found = {}
    for tar in sorted((folder / "dataset").rglob("*.tar")):
        stream = webdataset.WebDataset(f"file:{tar}", shardshuffle=False).decode()
        for sample in stream:
            found[sample["__key__"]] = sample
    assert sorted(found) == [item["key"] for item in rows]
    for key, sample in found.items():
        assert {"mp4", "txt", "json"} <= set(sample)
        assert sample["json"]["dynamic_wording"] == sample["txt"]
        assert sample["json"]["frames"] == FRAMES
        video = sample["mp4"]
        assert isinstance(video, bytes)
        own = next(item for item in rows if item["key"] == key)
        assert numbers_of(read_frames(video, [0])) == [round(own["start_s"] * FPS)]
    assert found["clip-01-x"]["txt"] == STATED["dynamic_wording"]


def test_the_trainer_reads_the_shards(dataset):
    folder, rows, _ = dataset
    reader = ShardReader(folder / "dataset" / "train")
    clips = one_set(ClipFrames(reader, (32, 32)))
    windows = ClipWindows(clips, seed=3, stream="test", window=Window(8, (1, 2)))
    seen = list(batches(windows, Positions(0, 4, 3), workers=0))
    assert all(isinstance(batch, Batch) for batch in seen)
    numbered = {item["key"]: round(item["start_s"] * FPS) for item in rows}
    for batch in seen:
        assert batch.frames.shape == (3, 8, 32, 32, 3)
        assert batch.replaced == []
        for key, own, stride, fps, text in zip(
            batch.keys, batch.frames, batch.frame_stride, batch.fps, batch.captions, strict=True
        ):
            levels = own.numpy()[:, 16, 16].mean(axis=-1)  # 4 a frame, but for coding and scaling
            assert np.diff(levels) == pytest.approx(4.0 * int(stride), abs=2)
            first = (levels[0] - 20) / 4 - numbered[key]
            assert -1 < first < FRAMES - 7 * int(stride)
            assert float(fps) == FPS / int(stride)
            assert text == reader[reader.keys.index(key)].text
