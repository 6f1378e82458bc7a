"""`dynamicrafter eval benchmark` on small copies of both benchmarks, from videos to the page."""

import csv

import pytest

from dynamicrafter import files
from eval import results
from tests.commands.runner import run
from tests.eval.benchmarks import layouts

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]


def chain(folder, root, model, *settings):
    return run(
        "eval", "benchmark", *settings, f"benchmark.root={root}", "protocol=fvd-2018",
        f"pretrained={model}", f"run_dir={folder}", "batch=4",
        'extra.select=["allow_incomplete=true","tracking=disabled"]',
        'extra.animate=["sampling.steps=2","threads=1","tracking=disabled"]',
        'extra.eval=["allow_incomplete=true","tracking=disabled","allow_media=true"]',
    )  # fmt: skip


@pytest.mark.parametrize(
    ("make", "settings"),
    [(layouts.ucf101, ["benchmark=ucf101"]), (layouts.msrvtt, ["benchmark=msrvtt"])],
    ids=["ucf101", "msrvtt"],
)
def test_from_the_videos_to_the_page(tmp_path, small_model, make, settings):
    folder = tmp_path / "out"
    answer = chain(folder, make(tmp_path / "videos"), small_model, *settings)
    assert answer.returncode == 0, answer.stderr
    with (folder / "select" / "selection.csv").open(newline="") as file:
        chosen = {row["key"]: row for row in csv.DictReader(file)}
    made = {item["key"]: item for item in files.read_json(folder / "animate/items.json")["items"]}
    assert set(made) == set(chosen)
    assert len(chosen) >= 2
    found = results.read(folder / "eval")
    rows = {row.metric: row for row in found.rows}
    assert rows["fvd"].count == {"generated": len(chosen), "real": len(chosen)}
    assert rows["fvd"].value > 0
    assert not rows["fvd"].reliable
    assert found.method == "ours"
    assert found.protocol["name"] == "fvd-2018"
    page = (folder / "eval/evaluation.html").read_text()
    assert "<video" in page
    again = chain(folder, tmp_path / "videos", small_model, *settings)
    assert again.returncode == 0, again.stderr
    assert again.stderr.count("already whole") == 3
