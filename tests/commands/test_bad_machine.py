"""A full disk, a second driver, a corrupt source, a changed config: one line, and it goes on."""

import subprocess

import pyarrow.parquet as pq
import pytest

from dynamicrafter import files
from tests.commands.runner import partials, run

pytestmark = pytest.mark.slow


def one_line(answer, code, said):
    assert answer.returncode == code, answer.stderr
    assert "Traceback" not in answer.stderr, answer.stderr
    last = answer.stderr.splitlines()[-1]
    assert last.startswith("dynamicrafter: ")
    assert said in last


@pytest.mark.sample
def test_a_full_disk_while_training(small_disk, train_arguments):
    folder, resize = small_disk
    arguments = [*train_arguments, f"run_dir={folder / 'run'}"]
    one_line(run(*arguments), 4, "free some space")
    assert not partials(folder)
    assert not list(folder.rglob("done.json"))
    resize("2g")
    answer = run(*arguments)
    assert answer.returncode == 0, answer.stderr


def test_a_disk_that_is_full_in_every_pass_in_turn(small_disk, real_clips, tmp_path):
    folder, _ = small_disk
    arguments = ["curate", "source=folder", f"source.path={real_clips}", "tracking=disabled"]
    arguments += ["measures.action.use=false", "measure.min_shot_frames=24"]
    whole = run(*arguments, f"run_dir={tmp_path / 'whole'}")
    assert whole.returncode == 0, whole.stderr
    kilobytes, reached = 64, set()
    while True:
        size = f"remount,size={kilobytes}k"
        subprocess.run(["mount", "-o", size, folder], check=True)
        answer = run(*arguments, f"run_dir={folder / 'run'}")
        if answer.returncode == 0:
            break
        one_line(answer, 4, "disk is full")
        assert not partials(folder)
        reached |= {line.split(":")[0] for line in answer.stderr.splitlines()[:-1]}
        kilobytes += 192
        assert kilobytes < 16_000
    assert {"measure", "encode", "pack"} <= reached  # it ran full in each of them or after
    digests = [
        files.read_json(place / "manifest.json") for place in (folder / "run", tmp_path / "whole")
    ]
    assert digests[0] == digests[1]


def test_a_second_driver_is_refused(tmp_path, train_arguments):
    with files.folder_lock(tmp_path / "run"):
        one_line(run(*train_arguments, f"run_dir={tmp_path / 'run'}"), 4, "in use by another run")


def test_a_corrupt_source_is_a_row_with_a_reason(real_clips, tmp_path):
    folder = tmp_path / "clips"
    folder.mkdir()
    for path in real_clips.iterdir():
        (folder / path.name).write_bytes(path.read_bytes())
    whole = (real_clips / "sports2d.mp4").read_bytes()
    (folder / "torn.mp4").write_bytes(whole[: len(whole) // 3])
    (folder / "page.mp4").write_text("<html>404</html>")
    (folder / "list.mp4").write_text("#EXTM3U\nhttp://127.0.0.1:9/x.ts\n")
    arguments = ["curate", "source=folder", f"source.path={folder}", "tracking=disabled"]
    arguments += [
        "measures.action.use=false",
        "measure.min_shot_frames=24",
        f"run_dir={tmp_path / 'run'}",
    ]
    answer = run(*arguments, "max_failed_share=0.9")
    assert answer.returncode == 0, answer.stderr
    rows = pq.read_table(tmp_path / "run" / "measures.parquet").to_pylist()
    failed = {row["clip_id"]: row["reason"] for row in rows if row["frames"] is None}
    assert set(failed) == {"torn.mp4", "page.mp4", "list.mp4"}
    assert all(failed.values())
    one_line(run(*arguments, "max_failed_share=0.1"), 3, "max_failed_share")


def test_changed_settings_are_refused_by_name(tmp_path, train_arguments):
    arguments = [*train_arguments, f"run_dir={tmp_path / 'run'}", "recipe.stages=[autoencoder]"]
    assert run(*arguments).returncode == 0
    one_line(run(*arguments, "seed=7"), 2, "(seed)")
    again = run(*arguments, "seed=7", "on_change=restart")
    assert again.returncode == 0, again.stderr
    assert (tmp_path / "run.1" / "done.json").exists()
