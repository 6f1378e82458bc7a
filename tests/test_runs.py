import json

import pytest

from dynamicrafter import files, runs
from dynamicrafter.errors import InputError


def config(tmp_path, **changes):
    base = {
        "run_dir": str(tmp_path),
        "on_change": "refuse",
        "resume_ignores": ["run_dir", "workers"],
        "workers": 1,
        "stage": {"steps": 10, "lr": 1e-4},
    }
    return {**base, **changes}


def test_a_finished_run_is_recognised_by_config_and_inputs(tmp_path):
    settings, inputs = config(tmp_path), {"data": "abc"}
    digest = runs.digest(settings, inputs)
    runs.begin(tmp_path, settings, inputs)
    assert runs.finished(tmp_path, digest) is None
    runs.finish(tmp_path, digest, {"loss": 1.0}, 3.0)
    assert runs.finished(tmp_path, digest) == {"loss": 1.0}
    assert runs.finished(tmp_path, runs.digest(config(tmp_path, workers=8), inputs)) is not None
    assert runs.finished(tmp_path, runs.digest(settings, {"data": "abd"})) is None


def test_another_config_is_refused_and_named(tmp_path):
    runs.begin(tmp_path, config(tmp_path), {"data": "abc"})
    changed = config(tmp_path, stage={"steps": 20, "lr": 1e-4})
    with pytest.raises(InputError, match=r"\(inputs\.data, stage\.steps\)"):
        runs.begin(tmp_path, changed, {"data": "other"})
    runs.begin(tmp_path, config(tmp_path, workers=4), {"data": "abc"})


def test_restart_moves_the_other_run_aside(tmp_path):
    folder = tmp_path / "run"
    folder.mkdir()
    runs.begin(folder, config(folder), {})
    files.write_text(folder / "result", "precious")
    changed = config(folder, stage={"steps": 20, "lr": 1e-4}, on_change="restart")
    runs.begin(folder, changed, {})
    assert (tmp_path / "run.1" / "result").read_text() == "precious"
    assert not (folder / "result").exists()


def test_an_unfinished_resume_is_not_taken_for_whole(tmp_path):
    settings = config(tmp_path, on_change="redo")
    runs.begin(tmp_path, settings, {})
    runs.finish(tmp_path, runs.digest(settings, {}), {}, 1.0)
    changed = config(tmp_path, on_change="redo", stage={"steps": 1, "lr": 1})
    runs.begin(tmp_path, changed, {})
    assert not (tmp_path / "done.json").exists()


def test_provenance_holds_versions_and_no_secret(tmp_path, monkeypatch):
    monkeypatch.setenv("OPENAI_API_KEY", "canary-0815")
    monkeypatch.setattr("sys.argv", ["train", "note=canary-0815", "password=hunter2"])
    runs.begin(tmp_path, config(tmp_path, note="canary-0815"), {})
    text = (tmp_path / "run.json").read_text()
    assert "canary-0815" not in text
    assert "hunter2" not in text
    record = json.loads(text)
    assert record["packages"]["torch"].startswith("2.")
    assert record["revision"]
