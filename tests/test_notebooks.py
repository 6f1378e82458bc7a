"""The notebooks run from top to bottom on a finished demo, and what they show is true of it."""

import json
import tarfile
from pathlib import Path

import nbformat
import numpy as np
import pytest
from nbclient import NotebookClient
from safetensors.numpy import load_file

from dynamicrafter import assets, files
from tests.commands.runner import run
from tests.commands.test_chain import SMALLER

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]  # the demo of the fixture included

FOLDER = Path(__file__).parents[1] / "notebooks"
NOTEBOOKS = sorted(FOLDER.glob("*.ipynb"))


@pytest.fixture(scope="session")
def demo(tmp_path_factory):
    """A small finished demo with at least two clips on either side."""
    assets.fetch([asset.name for asset in assets.load_manifest().values() if asset.demo])
    folder = tmp_path_factory.mktemp("notebooks") / "demo"
    answer = run("demo", f"run_dir={folder}", *SMALLER)
    assert answer.returncode == 0, answer.stderr
    return folder


@pytest.fixture
def execute(demo, monkeypatch):
    """Run a notebook; returns the values of expressions at its end, and the count of figures."""
    monkeypatch.setenv("DYNAMICRAFTER_DEMO", str(demo))
    monkeypatch.setenv("OMP_NUM_THREADS", "1")

    def execute(name: str, *expressions: str) -> tuple[list, int]:
        notebook = nbformat.read(FOLDER / f"{name}.ipynb", as_version=4)
        question = f"import json\nprint(json.dumps([{', '.join(expressions)}]))"
        notebook.cells.append(nbformat.v4.new_code_cell(question))
        resources = {"metadata": {"path": str(FOLDER)}}
        NotebookClient(notebook, timeout=300, resources=resources).execute()
        outputs = [output for cell in notebook.cells for output in cell.get("outputs", [])]
        figures = sum("image/png" in output.get("data", {}) for output in outputs)
        return json.loads(outputs[-1]["text"]), figures

    return execute


def test_there_are_four_and_their_outputs_are_cleared():
    assert len(NOTEBOOKS) == 4
    for path in NOTEBOOKS:
        for cell in nbformat.read(path, as_version=4).cells:
            assert not cell.get("outputs"), path.name
            assert cell.get("execution_count") is None, path.name


def test_dataset(demo, execute):
    (keys, same_bytes, packed), figures = execute(
        "1_dataset", "reader.keys", "same_bytes", "counts[-1]"
    )
    (shard,) = (demo / "curate/dataset/train").glob("*.tar")
    with tarfile.open(shard) as tar:
        assert keys == [name[:-4] for name in tar.getnames() if name.endswith(".mp4")]
    assert same_bytes is True
    manifests = (demo / f"curate/dataset/{split}/manifest.json" for split in ("train", "test"))
    shards = [shard for path in manifests for shard in files.read_json(path)["shards"]]
    assert packed == sum(shard["samples"] for shard in shards)
    assert figures == 3


def test_training(demo, execute):
    (gates, grew, seen, epoch), figures = execute(
        "2_training", "gates", "list(hand_overs['grew'])", "seen", "epoch"
    )
    weights = load_file(demo / "train/model/model.safetensors")
    alphas = [alpha for name, alpha in weights.items() if name.endswith(".alpha")]
    np.testing.assert_allclose(sorted(gates.values()), np.sort(np.tanh(alphas) + 1), rtol=1e-6)
    assert grew == [
        "nothing",
        "image_proj_model.latents",
        "model.diffusion_model.input_blocks.0.0.weight",
    ]
    state = files.read_json(next((demo / "train/stages/04-joint/checkpoints").glob("*/state.json")))
    assert state["sample_number"] == 2 * len(seen)  # two steps were taken
    assert len(set(epoch)) == len(epoch)
    assert figures == 3


def test_animate(execute):
    (again, other_seed, shapes, different), figures = execute(
        "3_animate",
        "again",
        "other_seed",
        "[video.shape for video in videos]",
        "not np.array_equal(videos[0], videos[2])",
    )
    assert again is True
    assert other_seed is False
    assert shapes == [[16, 64, 64, 3]] * 4
    assert different is True
    assert figures == 3


def test_metrics(demo, execute):
    (estimates, directions, digests, refusal), figures = execute(
        "4_metrics", "estimates", "int(directions)", "digests", "refusal"
    )
    # |shift|^2 = 100 for the one pair and 0 for the other; 16 samples cannot tell, 4096 can.
    apart, equal = estimates["means 10 apart"], estimates["equal"]
    assert min(apart[0], equal[0]) > 500
    assert apart[-1] - equal[-1] == pytest.approx(100, rel=0.1)
    assert equal[-1] < 30
    assert 0 < directions < 400
    assert digests["demo"] == files.read_json(demo / "eval/results.json")["protocol"]["digest"]
    assert "name of their own" in refusal
    assert figures == 2
