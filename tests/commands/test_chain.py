"""The whole demo, small: without a network, again without work, no secret in any file."""

import os
import shutil
import subprocess
import time

import pytest

from dynamicrafter import assets, files
from tests.commands.runner import run

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]

CANARY = "canary-27182818284"
STEPS = {"autoencoder": 3, "context": 3, "adapt": 2, "joint": 2}
SMALLER = [
    'extra.curate=["source.assets=[sports2d,pose2sim-cam01,pose2sim-cam03]",'
    '"measure.max_shot_s=1.7","filters.max_phash_distance=0",'
    '"filters.test_share=0.8","measures.action.use=false"]',
    "extra.train=[{}]".format(
        ",".join(
            f'"recipe.{name}.{key}={value}"'
            for name, steps in STEPS.items()
            for key, value in (("steps", steps), ("batch", 2))
        )
    ),
    'extra.animate=["count=4","sampling.steps=2"]',
]


def without_network() -> tuple[str, ...]:
    """A prefix that runs a command in a network namespace of its own, with nothing in it."""
    if os.geteuid() != 0 or not shutil.which("unshare"):
        pytest.skip("needs root and unshare to take the network away")
    return ("unshare", "--net")


@pytest.fixture(scope="module")
def demo(tmp_path_factory):
    """The first run of the chain, without a network and with secrets in the environment."""
    assets.fetch([asset.name for asset in assets.load_manifest().values() if asset.demo])
    folder = tmp_path_factory.mktemp("chain") / "demo"
    os.environ["WANDB_API_KEY"] = os.environ["OPENAI_API_KEY"] = CANARY
    try:
        answer = run("demo", f"run_dir={folder}", *SMALLER, prefix=without_network())
    finally:
        del os.environ["WANDB_API_KEY"], os.environ["OPENAI_API_KEY"]
    return folder, answer


def test_the_network_is_really_gone():
    probe = "import socket; socket.create_connection(('192.0.2.1', 80), timeout=5)"
    answer = subprocess.run(
        [*without_network(), "python3", "-c", probe], capture_output=True, text=True
    )
    assert "Network is unreachable" in answer.stderr


def test_it_ends_with_a_table_and_the_report(demo):
    folder, answer = demo
    assert answer.returncode == 0, answer.stderr
    lines = answer.stdout.splitlines()
    assert lines[-1] == str((folder / "report" / "report.html").resolve())
    assert "together" in lines[-2]
    assert any("FVD" in line and "demo" in answer.stdout for line in lines)
    assert (folder / "report" / "report.html").stat().st_size > 100_000


def test_metrics_without_weights_are_absent_with_a_reason(demo):
    folder, _ = demo
    rows = {row["metric"]: row for row in files.read_json(folder / "eval/results.json")["rows"]}
    for name in ("pic", "clip_sim"):
        assert rows[name]["value"] is None
        assert rows[name]["reason"]
    assert rows["fvd"]["value"] > 0
    assert rows["fvd"]["reliable"] is False
    assert "400" in rows["fvd"]["reason"]


def test_a_second_run_does_nothing_again(demo):
    folder, _ = demo
    started = time.monotonic()
    answer = run("demo", f"run_dir={folder}", *SMALLER)
    assert answer.returncode == 0, answer.stderr
    assert answer.stderr.count("already whole, nothing to do") == 5
    assert time.monotonic() - started < 60


def test_a_changed_setting_redoes_what_depends_on_it(demo):
    folder, _ = demo
    changed = [setting.replace("sampling.steps=2", "sampling.steps=3") for setting in SMALLER]
    answer = run("demo", f"run_dir={folder}", *changed)
    assert answer.returncode == 0, answer.stderr
    assert answer.stderr.count("already whole, nothing to do") == 2  # curate and train


def test_no_secret_is_in_any_file_or_line(demo):
    folder, answer = demo
    assert CANARY not in answer.stdout + answer.stderr
    seen = 0
    for path in folder.rglob("*"):
        if path.is_file():
            seen += 1
            assert CANARY.encode() not in path.read_bytes(), path
    assert seen > 50
