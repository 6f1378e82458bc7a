"""What `curate status` says of runs that were stopped anywhere, and that it only reads."""

import json
import os
import shutil
import time

import cv2
import filelock
import hydra
import numpy as np
import pytest
from omegaconf import OmegaConf

from curation.commands import status, survey
from curation.passes import listing
from curation.passes.measure import SHOT_SCHEMA
from curation.tables import TableWriter, read_rows, write_rows
from dynamicrafter.command import run_in_folder
from dynamicrafter.errors import InputError
from dynamicrafter.files import read_json, write_json
from dynamicrafter.runs import DONE, RUN
from tests.media.clips import write_video

FPS = 12


@pytest.fixture(scope="module")
def films(tmp_path_factory):
    """Six films of 2 s, one of which stands still, and a page."""
    folder = tmp_path_factory.mktemp("films")
    draws = np.random.default_rng(4)
    for number in range(6):
        noise = cv2.GaussianBlur(draws.random((72, 128, 3)), (0, 0), 2)
        ground = (125 + 35 * (noise - noise.mean()) / noise.std()).clip(0, 255).astype(np.uint8)
        patch = np.roll(ground, 40, axis=1)[:30, :40]
        frames = np.repeat(ground[None], FPS * 2, axis=0)
        for i, frame in enumerate(frames):
            left = 10 + 2 * i if number else 10
            frame[20:50, left : left + 40] = patch
        write_video(folder / f"{number}.mp4", frames, fps=FPS)
    (folder / "page.mp4").write_text("<html>")
    return folder


def config(films, run_dir):
    with hydra.initialize_config_module("conf", version_base="1.3"):
        composed = hydra.compose(
            "curate",
            [
                "source=folder",
                f"source.path={films}",
                f"run_dir={run_dir}",
                "tracking=disabled",
                "list.part_rows=2",
                "measures.action.use=false",
                "measure.job_s=3",
                "measure.short_side=72",
                "measure.min_shot_frames=16",
                "encode.short_side=72",
                "filters.max_frozen_share=0.9",
                "max_failed_share=0.5",
            ],
        )
    OmegaConf.set_struct(composed, False)
    return composed


@pytest.fixture(scope="module")
def curated(films, tmp_path_factory):
    folder = tmp_path_factory.mktemp("runs") / "curate"
    run_in_folder(config(films, folder), "curation.pipeline")
    return folder


@pytest.fixture
def run(curated, tmp_path):
    """A copy of the run, with the times of its files."""
    return shutil.copytree(curated, tmp_path / "run")


def passes(folder):
    """Pass → (done, planned)."""
    found = status.look(folder)
    return {one["name"]: (one["done"], one["planned"]) for one in found["passes"]}


def current(folder):
    return (status.look(folder)["current"] or {}).get("pass")


def snapshot(folder):
    return {path: path.stat().st_mtime_ns for path in [folder, *folder.rglob("*")]}


def stopped(folder):
    (folder / DONE).unlink()
    return folder


def test_a_finished_run_is_whole(curated):
    found = status.look(curated)
    assert found["state"] == "finished"
    assert all(one["whole"] for one in found["passes"])
    assert found["current"] is None
    counts = passes(curated)
    assert counts["list"] == counts["inspect"] == (7, 7)
    kept = sum(read_json(curated / "funnel.json")["kept"].values())
    assert counts["encode"] == counts["caption"] == (kept, kept)
    assert counts["measure"][0] >= 2
    assert found["funnel"]["kept"] == read_json(curated / "funnel.json")["kept"]
    total = sum(path.stat().st_size for path in curated.rglob("*") if path.is_file())
    assert sum(one["bytes"] for one in found["disk"].values()) == total
    lines = status.lines_of(found)
    assert lines[0].startswith(f"{curated}: finished")
    assert any(line.split()[:2] == ["frozen", "1"] for line in lines)
    assert any("not_video 1" in line for line in lines)


def test_of_many_pieces_names_of_files_tell_as_much(curated, monkeypatch):
    exact = passes(curated)
    monkeypatch.setattr(survey, "FEW", 1)
    found = {one["name"]: one for one in status.look(curated)["passes"]}
    for name in ("encode", "caption"):
        assert found[name]["about"]
        assert (found[name]["done"], found[name]["planned"]) == exact[name]


def test_it_only_reads(run):
    before = snapshot(run)
    status.look(run)
    stopped(run)
    before = {path: time for path, time in snapshot(run).items()}
    status.look(run)
    assert snapshot(run) == before
    (run / ".lock").unlink()
    status.look(run)
    assert not (run / ".lock").exists()


def test_a_stopped_run_names_the_pass_that_is_next(run):
    stopped(run)
    assert current(run) == "finish"
    assert status.look(run)["state"] == "stopped"
    next((run / "pack").glob("*.json")).unlink()
    assert current(run) == "pack"
    done, planned = passes(run)["pack"]
    assert done == planned - 1
    next((run / "captions").rglob("*.parquet")).unlink()
    assert current(run) == "caption"
    assert 0 <= passes(run)["caption"][0] < passes(run)["caption"][1]
    tar = next((run / "encoded").rglob("*.tar"))
    tar.unlink()
    assert current(run) == "encode"
    assert 0 <= passes(run)["encode"][0] < passes(run)["encode"][1]
    os.utime(run / "decisions.parquet", (1, 1))
    assert current(run) == "decide"
    assert status.look(run)["funnel_is_of_an_earlier_run"]
    assert passes(run)["encode"] == passes(run)["caption"] == (0, None)
    whole = passes(run)["measure"][1]
    next((run / "measures" / "sharpness").iterdir()).unlink()
    found = status.look(run)
    assert found["current"]["pass"] == "measure"
    assert passes(run)["measure"] == (whole - 1, whole)
    by_measure = next(one for one in found["passes"] if one["name"] == "measure")["by_measure"]
    assert by_measure["sharpness"] == whole - 1
    assert by_measure["motion"] == whole
    assert any(line.split()[:2] == ["sharpness", str(whole - 1)] for line in status.lines_of(found))
    next((run / survey.INSPECT).iterdir()).unlink()
    assert current(run) == "inspect"
    done, planned = passes(run)["inspect"]
    assert done < planned == 7
    assert passes(run)["measure"][1] is not None  # scaled from the parts that are there
    (run / listing.INDEX).unlink()
    assert current(run) == "list"
    assert passes(run)["inspect"] == (0, None)


def test_settings_of_an_earlier_run_do_not_count(run):
    """Only what this run's own settings name counts, whatever else lies in the folder."""
    stopped(run)
    begun = read_json(run / RUN)
    begun["config"]["measure"]["cut_difference"] = 14
    write_json(run / RUN, begun)
    found = status.look(run)
    assert passes(run)["measure"][0] == 0
    assert any("measures of this run are not those" in note for note in found["notes"])
    begun["config"]["list"]["part_rows"] = 64
    write_json(run / RUN, begun)
    assert current(run) == "list"


def test_a_finished_run_of_another_version_is_still_finished(run):
    for path in (run / "shots").iterdir():
        path.rename(path.with_name(f"{'0' * 16}{path.name[16:]}"))
    found = status.look(run)
    assert all(one["whole"] for one in found["passes"])
    assert any("another version of the toolkit" in note for note in found["notes"])


def test_the_driver_is_seen_and_left_alone(run):
    stopped(run)
    with filelock.FileLock(run / ".lock", blocking=False):
        assert status.look(run)["state"] == "running"
    assert status.look(run)["state"] == "stopped"
    with filelock.FileLock(run / ".lock", blocking=False):  # still free to be taken
        pass


def test_rate_and_time_left_come_from_the_times_of_files(run):
    stopped(run)
    now = time.time()
    os.utime(run / RUN, (now - 5000, now - 5000))
    shots = sorted((run / "shots").iterdir())
    for i, path in enumerate(shots):
        os.utime(path, (now - 100 + 10 * i, now - 100 + 10 * i))
    lost = next((run / "measures" / "motion").iterdir())
    lost.unlink()
    with filelock.FileLock(run / ".lock", blocking=False):
        found = status.look(run)["current"]
        assert found["pass"] == "measure"
        done, planned = passes(run)["measure"]
        expected = (len(shots) - 1) / 100 * done / len(shots)
        assert found["per_s"] == pytest.approx(expected, rel=0.05)
        assert found["left_s"] == pytest.approx((planned - done) / expected, rel=0.05)
        assert any("left in this pass" in line for line in status.lines_of(status.look(run)))
    assert status.look(run)["current"]["left_s"] is None


def test_quarantined_spans_are_named(run):
    shots = next((run / "shots").iterdir())
    rows = read_rows(shots)
    rows[0] |= {"reason": "timeout", "message": "not done in 600 s, 2 times"}
    write_rows(shots, rows, SHOT_SCHEMA)
    write_json(run / "quarantine" / f"{shots.stem}.json", {"timeout_s": 600})
    found = status.look(run)
    assert found["quarantine"]["pieces"] == 1
    (span,) = found["quarantine"]["first"]
    assert (span["key"], span["reason"]) == (rows[0]["key"], "timeout")
    assert any("not done in 600 s" in line for line in status.lines_of(found))


def test_many_parts_are_not_read(run, monkeypatch):
    """Three thousand parts, two thousand of them inspected: a sample is read, all are counted."""
    stopped(run)
    part, *_ = listing.parts(run)
    rows = len(listing.read_part(part, run))
    note = status.read_note(run / listing.INDEX, "digest")
    names = [f"{n * 6148914691236517 % 2**64:016x}" for n in range(1, 3001)]
    for number, name in enumerate(names):
        os.link(listing.part_path(part, run), listing.part_path(name, run))
        if number < 2000:
            os.link(
                run / survey.INSPECT / f"{part}.parquet", run / survey.INSPECT / f"{name}.parquet"
            )
    schema = listing._INDEX_SCHEMA.with_metadata({"digest": note})
    (run / listing.INDEX).unlink()
    writer = TableWriter(run / listing.INDEX, schema)
    writer.add([{"part": name, "rows": rows} for name in names])
    writer.close()
    read = []
    real = listing.read_part
    monkeypatch.setattr(listing, "read_part", lambda *args: read.append(args) or real(*args))
    began = time.monotonic()
    found = status.look(run)
    assert time.monotonic() - began < 10
    assert len(read) <= survey.FEW
    inspect, measure = found["passes"][1:3]
    assert (inspect["done"], inspect["planned"]) == (2000 * rows, 3000 * rows)
    assert measure["about"]
    assert measure["planned"] % 3000 == 0
    assert any("about" in line for line in status.lines_of(found))


def settings(folder, **more):
    return OmegaConf.create(
        {"run": str(folder), "follow": False, "every_s": 0.01, "json": False, "sizes": True, **more}
    )


def test_json_goes_to_stdout_and_words_to_stderr(curated, capsys):
    status.show(settings(curated, json=True, follow=True))
    out = capsys.readouterr()
    assert json.loads(out.out)["state"] == "finished"
    assert out.err == ""
    status.show(settings(curated, sizes=False))
    out = capsys.readouterr()
    assert out.out == ""
    assert "finished" in out.err
    assert "folder" not in out.err.split()


def test_what_is_no_curate_run_is_refused(tmp_path, run):
    (tmp_path / "file").write_text("x")
    for folder in (tmp_path / "absent", tmp_path, tmp_path / "file"):
        with pytest.raises(InputError, match="is no run folder of `dynamicrafter curate`"):
            status.look(folder)
    (run / RUN).write_text('{"config": {"source": 1}}')
    with pytest.raises(InputError, match="is no run folder"):
        status.look(run)
    (run / RUN).write_text("half a")
    with pytest.raises(InputError, match="is no run folder"):
        status.look(run)
