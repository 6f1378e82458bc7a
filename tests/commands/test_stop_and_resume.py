"""Ctrl-C in every phase: one line, exit 130, nothing half-written taken for whole, and it goes on.

Each case is (arguments, when to stop, what must be equal to an undisturbed run).
"""

import hashlib
import json
import signal

import pytest

from tests.commands.runner import partials, run, run_until

pytestmark = pytest.mark.slow


def sha256(path):
    return hashlib.sha256(path.read_bytes()).hexdigest()


def one_line(answer):
    lines = [line for line in answer.stderr.splitlines() if line.startswith("dynamicrafter: ")]
    assert "Traceback" not in answer.stderr, answer.stderr
    assert lines == ["dynamicrafter: interrupted; the same command goes on where it stopped"]


def stop_and_resume(arguments, folder, moment, stop=signal.SIGINT):
    stopped = run_until([*arguments, f"run_dir={folder}"], moment, stop)
    assert stopped.returncode == 130, stopped.stderr
    one_line(stopped)
    assert not (folder / "done.json").exists()
    again = run(*arguments, f"run_dir={folder}")
    assert again.returncode == 0, again.stderr
    assert not partials(folder)
    third = run(*arguments, f"run_dir={folder}")
    assert "already whole" in third.stderr


@pytest.mark.parametrize("stop", [signal.SIGINT, signal.SIGTERM])
def test_curate(real_clips, tmp_path, stop):
    arguments = ["curate", "source=folder", f"source.path={real_clips}", "tracking=disabled"]
    arguments += [
        "measures.action.use=false",
        "measure.min_shot_frames=24",
        "filters.test_share=0.5",
    ]
    whole = run(*arguments, f"run_dir={tmp_path / 'whole'}")
    assert whole.returncode == 0, whole.stderr
    folder = tmp_path / "stopped"
    stop_and_resume(arguments, folder, lambda: any(folder.glob("measures/*")), stop)
    for split in ("train", "test"):
        first = json.loads((tmp_path / "whole/dataset" / split / "manifest.json").read_text())
        second = json.loads((folder / "dataset" / split / "manifest.json").read_text())
        assert first["root_digest"] == second["root_digest"]


@pytest.mark.sample
def test_train(tmp_path, train_arguments):
    arguments = train_arguments
    whole = run(*arguments, f"run_dir={tmp_path / 'whole'}")
    assert whole.returncode == 0, whole.stderr
    folder = tmp_path / "stopped"
    stop_and_resume(
        arguments, folder, lambda: any(folder.glob("stages/02-context/checkpoints/step-*"))
    )
    name = "model/model.safetensors"
    assert sha256(tmp_path / "whole" / name) == sha256(folder / name)


def test_animate(real_shards, small_model, tmp_path):
    arguments = [
        "animate",
        f"pretrained={small_model}",
        f"image={real_shards}",
        "tracking=disabled",
    ]
    arguments += ["sampling.steps=3", "sampling.spacing=uniform_trailing", "threads=1"]
    whole = run(*arguments, f"run_dir={tmp_path / 'whole'}")
    assert whole.returncode == 0, whole.stderr
    folder = tmp_path / "stopped"
    stop_and_resume(arguments, folder, lambda: any(folder.glob("videos/*.json")))
    videos = sorted(path.name for path in (folder / "videos").glob("*.mp4"))
    assert len(videos) == 8
    for name in videos:
        assert sha256(folder / "videos" / name) == sha256(tmp_path / "whole" / "videos" / name)


def test_eval(real_shards, other_shards, small_model, tmp_path):
    animated = tmp_path / "animate"
    answer = run(
        "animate", f"pretrained={small_model}", f"image={real_shards}", "tracking=disabled",
        "sampling.steps=2", "sampling.spacing=uniform_trailing", f"run_dir={animated}",
    )  # fmt: skip
    assert answer.returncode == 0, answer.stderr
    arguments = ["eval", f"reference={real_shards}", f"second_reference={other_shards}"]
    arguments += [f"generated={animated}", "tracking=disabled", "batch=1"]
    whole = run(*arguments, f"run_dir={tmp_path / 'whole'}")
    assert whole.returncode == 0, whole.stderr
    folder = tmp_path / "stopped"
    stop_and_resume(arguments, folder, lambda: any((folder / "features").rglob("*.safetensors")))
    assert sha256(folder / "results.json") == sha256(tmp_path / "whole" / "results.json")


def test_a_killed_train_run_goes_on(tmp_path, train_arguments):
    whole = run(*train_arguments, f"run_dir={tmp_path / 'whole'}")
    assert whole.returncode == 0, whole.stderr
    folder = tmp_path / "killed"
    moment = lambda: any(folder.glob("stages/04-joint/checkpoints/step-*"))  # noqa: E731
    run_until([*train_arguments, f"run_dir={folder}"], moment, signal.SIGKILL)
    again = run(*train_arguments, f"run_dir={folder}")
    assert again.returncode == 0, again.stderr
    name = "model/model.safetensors"
    assert sha256(tmp_path / "whole" / name) == sha256(folder / name)
