"""The W&B run, written offline and read back with W&B's own tool."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
from omegaconf import OmegaConf

from dynamicrafter import tracking

OFFLINE = OmegaConf.create(
    {"mode": "offline", "project": "dynamicrafter-toolkit", "entity": None, "group": None}
)


def read_back(folder: Path) -> list[dict]:
    wandb = Path(sys.executable).with_name("wandb")
    records = []
    for file in sorted(folder.glob("wandb/offline-run-*/*.wandb")):
        answer = subprocess.run(
            [wandb, "leet", "inspect", "--json", file], capture_output=True, text=True, check=True
        )
        records += [json.loads(line) for line in answer.stdout.splitlines()]
    return records


def history(records: list[dict], key: str) -> list[float]:
    found = []
    for record in records:
        if record.get("type") == "history":
            text = json.dumps(record)
            if key in text:
                found.append(text)
    return found


def test_losses_tables_and_the_same_id_after_a_restart(tmp_path):
    with tracking.open_run(OFFLINE, tmp_path, "train", {"steps": 3}) as run:
        first = run.id
        run.log(1, {"context/loss": 0.5})
        run.log(2, {"context/loss": 0.25})
        run.table("funnel", ["step", "kept"], [["black", 3], ["still", None]])
        run.summary({"psnr_db": 21.5})
    with tracking.open_run(OFFLINE, tmp_path, "train", {"steps": 3}) as run:
        assert run.id == first
        run.log(3, {"context/loss": 0.125})
    records = read_back(tmp_path)
    assert len(history(records, "context/loss")) == 3
    assert len(history(records, "funnel")) == 1
    assert "21.5" in json.dumps(records)


def test_no_secret_reaches_the_run_folder(tmp_path, monkeypatch):
    canary = "canary-31415926535"
    monkeypatch.setenv("WANDB_API_KEY", canary)
    monkeypatch.setenv("OPENAI_API_KEY", canary + "-b")
    monkeypatch.setattr(sys, "argv", ["train", f"note={canary}"])
    config = {"note": f"x {canary}", "caption": {"api_key": "typed-by-mistake"}}
    with tracking.open_run(OFFLINE, tmp_path, "train", config) as run:
        run.log(1, {"loss": 1.0})
        run.table("captions", ["text"], [[f"says {canary}-b"]])
        run.summary({"note": canary, "seen": "visible-marker"})
    contents = [path.read_bytes() for path in tmp_path.rglob("*.wandb")]
    assert b"visible-marker" in b"".join(contents), "the scan below must be able to see text"
    for path in tmp_path.rglob("*"):
        if path.is_file():
            data = path.read_bytes()
            assert canary.encode() not in data, path
            assert b"typed-by-mistake" not in data, path


def test_disabled_writes_nothing(tmp_path):
    settings = OmegaConf.merge(OFFLINE, {"mode": "disabled"})
    with tracking.open_run(settings, tmp_path, "train", {}) as run:
        run.log(1, {"loss": 1.0})
    assert not (tmp_path / "wandb").exists()


def test_an_error_inside_is_raised_and_the_run_is_closed(tmp_path):
    def failing_work():
        with tracking.open_run(OFFLINE, tmp_path, "train", {}) as run:
            run.log(1, {"loss": 0.5})
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        failing_work()
    assert len(history(read_back(tmp_path), "loss")) == 1
