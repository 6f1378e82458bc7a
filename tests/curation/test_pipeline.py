"""The whole chain on a small synthetic film: four shots, one of them longer than max_shot_s."""

import json
import shutil

import cv2
import hydra
import numpy as np
import pyarrow.parquet as pq
import pytest
from omegaconf import open_dict

from curation import measure as measure_module
from curation import pipeline
from curation.engine import Failure
from curation.export import COLUMNS
from dynamicrafter.errors import FailedShareError
from dynamicrafter.files import sha256_file
from dynamicrafter.media.decode import iterate_frames
from dynamicrafter.shards import ShardReader
from tests.media.clips import write_video

FPS = 12
SCENES = {"left": (-0.06, 0, 7), "still": (0, 0, 4), "up": (0, -0.015, 13), "pan": (0.3, 0, 5)}


def scene(name, seed):
    """A textured square that moves by (x, y) diagonals a second over a texture; `pan` moves all."""
    x, y, seconds = SCENES[name]
    rng = np.random.default_rng(seed)
    brightness = (60, 190)[seed % 2]
    background, patch = (smooth_texture(rng, size, brightness) for size in ((96, 640), (44, 60)))
    for i in range(FPS * seconds):
        across, down = (round(v * np.hypot(96, 160) * i / FPS) for v in (x, y))
        if name == "pan":
            yield background[:, across : across + 160]
            continue
        frame = background[:, :160].copy()
        top, left = 45 + down, 90 + across
        frame[top : top + 44, left : left + 60] = patch
        yield frame


def smooth_texture(rng, size, brightness):
    noise = cv2.GaussianBlur(rng.random((*size, 3)), (0, 0), 3)
    return np.clip(brightness + (noise - noise.mean()) / noise.std() * 30, 0, 255).astype(np.uint8)


@pytest.fixture(scope="module")
def films(tmp_path_factory):
    folder = tmp_path_factory.mktemp("films")
    frames = np.stack([f for n, name in enumerate(SCENES) for f in scene(name, n)])
    write_video(folder / "film.mp4", frames, fps=FPS)
    (folder / "page.mp4").write_text("<html>403 Forbidden</html>")
    return folder


def config(films, *overrides):
    with hydra.initialize_config_module("conf", version_base="1.3"):
        composed = hydra.compose(
            "curate",
            [
                *(["source=folder", f"source.path={films}"] if films else []),
                "run_dir=unused",
                "tracking=disabled",
                "measure.short_side=64",
                "measure.action=false",
                "filters.max_frozen_share=0.9",  # small pictures move by whole pixels now and then
                "max_failed_share=0.5",
                "unit_timeout_s=60",
                *overrides,
            ],
        )
    with open_dict(composed):
        composed.pop("hydra", None)
    return composed


@pytest.fixture(scope="module")
def curated(films, tmp_path_factory):
    folder = tmp_path_factory.mktemp("run")
    return folder, pipeline.run(config(films), folder)


def decisions(folder):
    return pq.read_table(folder / "decisions.parquet").to_pylist()


def test_each_shot_has_its_reason_and_direction(curated):
    folder, summary = curated
    rows = sorted(decisions(folder), key=lambda row: row["start_s"])
    times = [(row["start_s"], row["end_s"]) for row in rows]
    # 7 + 4 + 13 + 5 s; the shot of 13 s is divided at 20 s, a multiple of max_shot_s = 10
    assert times == [(0, 7), (7, 11), (11, 20), (20, 24), (24, pytest.approx(29))]
    assert [row["reason"] for row in rows] == [None, "frozen", None, None, "camera_dominated"]
    assert abs(rows[0]["motion_direction"] - 180) < 30
    assert abs(rows[4]["camera_motion"] - 0.3) < 0.03
    assert summary["shots"] == 5
    assert summary["reasons"] == {"camera_dominated": 1, "frozen": 1, "not_video": 1}
    assert summary["action_absent_because"] == "measure.action=false"
    assert json.loads((folder / "failures.json").read_text())[0]["clip_id"] == "page.mp4"


def test_the_dataset_holds_the_kept_shots(curated, films):
    folder, summary = curated
    samples = {}
    for split in ("train", "test"):
        reader = ShardReader(folder / "dataset" / split, verify=True)
        assert len(reader) == summary["kept"][split] == summary["dataset"][split]["samples"]
        samples |= {reader[i].key: reader[i] for i in range(len(reader))}
    assert set(samples) == {row["key"] for row in decisions(folder) if row["kept"]}
    sample = next(s for s in samples.values() if s.key.endswith("-0-7000"))
    assert sample.text == sample.info["dynamic_wording"]
    assert "to the left" in sample.text
    assert (sample.info["frames"], sample.info["fps"]) == (84, 12)
    assert sample.info["measures"]["object_motion"]["unit"] == "frame diagonals/s"
    assert sample.info["digests"]["source"] == sha256_file(films / "film.mp4")
    clip = folder / "clip.mp4"
    clip.write_bytes(sample.video)
    stored = [frame for _, frame in iterate_frames(clip)]
    source = [frame for _, frame in iterate_frames(films / "film.mp4", 0, 64)][:84]
    assert stored[0].shape == (sample.info["height"], sample.info["width"], 3)
    assert np.abs(np.stack(stored).astype(int) - source).mean() < 8


def test_the_table_has_the_eight_columns_and_no_empty_cell(curated):
    folder, summary = curated
    lines = (folder / "dcp.csv").read_text().splitlines()
    assert lines[0] == ",".join(COLUMNS)
    assert len(lines) == 1 + sum(summary["kept"].values())
    assert all(cell for line in lines for cell in line.split(","))


@pytest.mark.parametrize("overrides", [["workers=1", "measure.span_s=9"], ["measure.span_s=20"]])
def test_spans_and_workers_do_not_matter(curated, films, tmp_path, overrides):
    summary = pipeline.run(config(films, *overrides), tmp_path)
    assert decisions(tmp_path) == decisions(curated[0])
    assert summary["dataset"] == curated[1]["dataset"]


def counted(monkeypatch):
    """Names of the functions that are sent to worker processes from now on."""
    calls = []
    real = pipeline.run_jobs

    def counting(function, jobs, *rest, **options):
        calls.extend([function.__name__] * len(jobs))
        return real(function, jobs, *rest, **options)

    monkeypatch.setattr(pipeline, "run_jobs", counting)
    monkeypatch.setattr("curation.inventory.run_jobs", counting)
    return calls


def test_nothing_is_done_twice(curated, films, tmp_path, monkeypatch):
    folder = tmp_path / "run"
    shutil.copytree(curated[0], folder)
    calls = counted(monkeypatch)
    tars = {path: path.stat().st_mtime_ns for path in folder.rglob("*.tar")}
    again = pipeline.run(config(films), folder)
    assert calls == []
    assert {path: path.stat().st_mtime_ns for path in folder.rglob("*.tar")} == tars
    assert again["dataset"] == curated[1]["dataset"]

    # Another threshold measures nothing; the shot it admits is encoded from the source.
    admitted = pipeline.run(config(films, "filters.max_camera_motion=9"), folder)
    assert calls == ["encode_again"]
    assert sum(admitted["kept"].values()) == sum(again["kept"].values()) + 1

    # … to the same bytes as if that had been the threshold from the beginning.
    fresh = pipeline.run(config(films, "filters.max_camera_motion=9"), tmp_path / "fresh")
    assert fresh["dataset"] == admitted["dataset"]

    # A lost measure is measured again, alone; another setting measures all.
    next((folder / measure_module.MEASURES).iterdir()).unlink()
    calls.clear()
    pipeline.run(config(films, "filters.max_camera_motion=9"), folder)
    assert calls == ["measure_span"]
    calls.clear()
    pipeline.run(config(films, "measure.cut_difference=14"), folder)
    assert set(calls) == {"measure_span"}


def test_what_was_too_slow_is_tried_again(films, tmp_path, monkeypatch):
    calls = counted(monkeypatch)
    honest = pipeline.run_jobs

    def slow(function, jobs, *rest, **options):
        calls.extend([function.__name__] * len(jobs))
        return [(job, Failure("timeout", "not done")) for job in jobs]

    monkeypatch.setattr("curation.inventory.run_jobs", slow)
    summary = pipeline.run(config(films, "max_failed_share=1"), tmp_path)
    assert summary["reasons"] == {"timeout": 2}
    assert calls == ["inspect"] * 2

    calls.clear()
    monkeypatch.setattr("curation.inventory.run_jobs", honest)
    monkeypatch.setattr(pipeline, "run_jobs", slow)
    summary = pipeline.run(config(films, "max_failed_share=1"), tmp_path)
    assert summary["reasons"] == {"timeout": 1, "not_video": 1}
    assert calls == ["inspect"] * 2 + ["measure_span"]

    calls.clear()
    monkeypatch.setattr(pipeline, "run_jobs", honest)
    summary = pipeline.run(config(films, "max_failed_share=1"), tmp_path)
    assert summary["reasons"] == {"camera_dominated": 1, "frozen": 1, "not_video": 1}
    assert calls == ["measure_span"]


def test_captions_are_inputs(tmp_path):
    table = tmp_path / "clips.csv"

    def digest(text):
        table.write_text("videoid,page_dir,name,contentUrl\n" + text)
        overrides = ["source=webvid_csv", f"source.csv={table}", f"source.data_dir={tmp_path}"]
        return pipeline.inputs(config(None, *overrides))["source"]

    first = digest("1,p,A cat,http://x\n")
    assert digest("1,p,A cat,http://x\n") == first
    assert digest("1,p,A dog,http://x\n") != first
    assert digest("1,p,A cat,http://y\n") != first


def test_too_many_failures_are_an_error(films, tmp_path):
    with pytest.raises(FailedShareError, match="1 of 2 clips could not be read"):
        pipeline.run(config(films, "max_failed_share=0.4"), tmp_path)
    assert (tmp_path / "funnel.json").exists()
    assert not (tmp_path / "dataset").exists()
