"""`dynamicrafter eval compare`: one table of methods, paired differences, refusals, formats."""

import numpy as np
import pytest
import scipy.stats
from hydra import compose, initialize_config_module

from dynamicrafter.errors import InputError
from dynamicrafter.files import read_json
from eval import compare, pipeline, results
from eval.published import read_published
from tests.eval.test_bad_videos import encode, fill
from tests.eval.test_pipeline import config_for
from tests.report_folders import moving_square

NAME = "<b>theirs</b> & 50%"


def config(root, *overrides):
    with initialize_config_module("conf", version_base="1.3"):
        return compose("eval_compare", [f"run_dir={root}/compare", "tracking=disabled", *overrides])


def evaluated(root, name, generated, *overrides):
    pipeline.run(
        config_for(root, f"reference={root}/real", "second_reference=null", "inspect_workers=0",
                   f"generated={generated}", f"features={root}/cache", "pairs=0", *overrides),
        root / name,
    )  # fmt: skip
    return root / name


@pytest.fixture
def two(tmp_path, pixels_as_network):
    fill(tmp_path / "real", frames=46)
    fill(tmp_path / "ours", 9)
    theirs = fill(tmp_path / "theirs", 9, a=encode(np.repeat(moving_square(9, 1), 16, axis=0)))
    first = evaluated(tmp_path, "first", tmp_path / "ours")
    second = evaluated(tmp_path, "second", theirs, f'method="{NAME}"')
    return first, second


def test_differences_are_paired_by_key(two, tmp_path):
    first, second = two
    compare.run(config(tmp_path, f"runs=[{first},{second}]"), tmp_path / "compare")
    found = read_json(tmp_path / "compare/comparison.json")
    import pandas as pd

    a, b = (pd.read_parquet(run / results.PER_VIDEO) for run in two)
    assert list(a["key"]) == list(b["key"])
    gap = next(one for one in found["differences"] if one["metric"] == "motion_generated")
    expected = scipy.stats.ttest_rel(b["motion_generated"], a["motion_generated"])
    interval = expected.confidence_interval()
    assert gap["method"] == NAME
    assert gap["value"] == pytest.approx((b["motion_generated"] - a["motion_generated"]).mean())
    assert (gap["low"], gap["high"]) == pytest.approx((interval.low, interval.high))
    assert gap["value"] < 0  # one of theirs stands still


def test_every_format_tells_the_same_and_nothing_runs(two, tmp_path):
    folder = tmp_path / "compare"
    compare.run(config(tmp_path, f"runs=[{two[0]},{two[1]}]", "published=known"), folder)
    page = (folder / "comparison.html").read_text()
    assert "<b>theirs" not in page
    assert "not checked against the paper itself" in page
    assert r"<b>theirs</b> \& 50\%" in (folder / "comparison.tex").read_text()
    assert "&lt;b>theirs" in (folder / "comparison.md").read_text()
    header, *lines = (folder / "comparison.csv").read_text().splitlines()
    assert header.startswith("method,protocol,fvd")
    assert [line.split(",")[0] for line in lines] == ["ours", NAME]
    assert "(?)" in (folder / "comparison.md").read_text()  # four videos prove nothing


def test_other_protocols_are_refused_unless_asked_for(two, tmp_path):
    own = ["protocol.name=mine", "protocol.stride=2"]
    other = evaluated(tmp_path, "other", tmp_path / "ours", *own, "method=again")
    chosen = config(tmp_path, f"runs=[{two[0]},{other}]")
    with pytest.raises(InputError, match=r"differ in name, stride.*across_protocols=true"):
        compare.run(chosen, tmp_path / "compare")
    asked = config(tmp_path, f"runs=[{two[0]},{other}]", "across_protocols=true")
    compare.run(asked, tmp_path / "compare")
    assert "NOT the same" in (tmp_path / "compare/comparison.md").read_text()
    assert "follow different protocols" in (tmp_path / "compare/comparison.html").read_text()


def test_what_cannot_be_compared_is_refused(two, tmp_path):
    with pytest.raises(InputError, match="names no evaluation"):
        compare.run(config(tmp_path), tmp_path / "compare")
    with pytest.raises(InputError, match="is no finished run"):
        compare.run(config(tmp_path, f"runs=[{tmp_path}/none]"), tmp_path / "compare")
    with pytest.raises(InputError, match="two runs are named ours"):
        compare.run(config(tmp_path, f"runs=[{two[0]},{two[0]}]"), tmp_path / "compare")


def test_other_inputs_give_no_pairs(two, tmp_path, pixels_as_network):
    (tmp_path / "ours" / "d.mp4").unlink()
    fewer = evaluated(tmp_path, "fewer", tmp_path / "ours", "allow_incomplete=true", "method=fewer")
    compare.run(config(tmp_path, f"runs=[{two[0]},{fewer}]"), tmp_path / "compare")
    assert read_json(tmp_path / "compare/comparison.json")["differences"] == []
    assert "given other inputs" in (tmp_path / "compare/comparison.html").read_text()


def test_published_values_say_where_they_stand(tmp_path):
    rows = read_published()
    assert rows
    assert all(row.source and row.protocol and not row.verified for row in rows)
    table = tmp_path / "own.csv"
    table.write_text("benchmark,method,metric,value,protocol,source,verified\n"
                     "ucf101,x,fvd,12.5,some,a paper,true\n")  # fmt: skip
    assert read_published(table)[0].value == 12.5
    for old, new in (("12.5", "much"), ("true", "perhaps"), ("verified\n", "checked\n")):
        table.write_text(table.read_text().replace(old, new))
        with pytest.raises(InputError, match=r"own\.csv"):
            read_published(table)
        table.write_text(table.read_text().replace(new, old))
