"""The papers of a dataset: filled from the run, safe to read, equal for equal runs."""

import json
import re
import shutil
import statistics
from pathlib import Path

import pandas as pd
import pytest

from curation.passes.gather import TABLE
from curation.publish.croissant import CONTEXT, croissant, write_croissant
from curation.publish.datasheet import code, escape, write_datasheet
from curation.tables import read_rows
from dynamicrafter.files import read_json, sha256_file, write_json
from dynamicrafter.shards import ShardReader
from tests.curation import run_folders
from tests.curation.run_folders import HOSTILE


@pytest.fixture(scope="module")
def run(tmp_path_factory) -> Path:
    return run_folders.make_run(tmp_path_factory.mktemp("run"), may_be_passed_on=False)


def sheet(run: Path, **changes) -> str:
    config = run_folders.config()
    config["source"] |= changes
    write_datasheet(run, config, read_json(run / "summary.json"))
    return (run / "DATASHEET.md").read_text(encoding="utf-8")


def table(text: str, first: str) -> dict[str, list[str]]:
    """The table whose first column is called so: first cell → the others."""
    lines = text[text.index(f"| {first} | ") :].split("\n\n")[0].splitlines()
    cells = [[cell.strip() for cell in re.split(r"(?<!\\)\|", line)[1:-1]] for line in lines]
    assert len({len(row) for row in cells}) == 1
    return {row[0].strip("`"): row[1:] for row in cells[2:]}


def kept_rows(run: Path) -> list[dict]:
    decided = run_folders.decisions(run)
    rows = zip(read_rows(run / TABLE), decided, strict=True)
    return [row for row, own in rows if own["kept"]]


def test_it_answers_all_seven_groups_of_questions(run):
    text = sheet(run)
    titles = re.findall(r"^## (.*)", text, re.MULTILINE)
    assert titles == [
        "Motivation",
        "Composition",
        "Collection",
        "Preprocessing",
        "Uses",
        "Distribution",
        "Maintenance",
    ]


def test_its_figures_are_those_of_the_run(run):
    text = sheet(run)
    funnel = read_json(run / "funnel.json")
    steps = table(text, "step")
    for step in funnel["steps"]:
        own = [str(step[name]) for name in ("in", "dropped", "out", "unknown")]
        assert steps[step["name"]] == own
    assert {k: int(v[0]) for k, v in table(text, "reason").items()} == funnel["reasons"]
    kept = kept_rows(run)
    splits = table(text, "split")
    for split in ("train", "test"):
        reader = ShardReader(run / "dataset" / split)
        frames = f"{48 * len(reader):,}".replace(",", "\u202f")
        assert splits[split] == [str(len(reader)), frames, f"`{reader.digest}`"]
    assert f"There are {len(kept)} of them" in text
    assert f"{len(kept) * 2 / 3600:.2f} hours" in text
    measures = table(text, "measure")
    motion = [row["object_motion"] for row in kept]
    assert measures["object_motion"][0] == "frame diagonals/s"
    assert float(measures["object_motion"][2]) == pytest.approx(statistics.median(motion), rel=1e-3)
    letterbox = sum(row["letterbox_share"] is None for row in kept)
    assert measures["letterbox_share"][-1] == str(letterbox) != "0"
    assert measures["cgi_caption"][2] == "0.0 % yes"  # they are dropped
    assert measures["action_probability"][1:4] == ["unknown"] * 3
    thresholds = table(text, "threshold")
    assert thresholds["min_sharpness"] == ["6"]
    assert thresholds["drop_cgi"] == ["on"]
    assert thresholds["max_text_share"] == ["off"]
    licences = table(text, "licence, as the source states it")
    stated = [json.loads(row["extra"])["licence"] for row in kept]
    assert {k: int(v[0]) for k, v in licences.items()} == {
        name: stated.count(name) for name in ("CC BY 4.0", "CC0")
    }
    software = table(text, "software")
    assert software["python"] == ["3.11.7"]
    assert software["av"] == ["16.0"]
    assert software["torch"] == ["not installed"]
    assert "secret-tool" not in text
    assert "`c4c4c4c4c4c4c4c4`" in text  # of the captioner
    assert "**Watermarks**: unknown, since it was not measured" in text
    assert "may **not** be passed on" in text


def test_words_are_counted_by_clip(run):
    text = sheet(run)
    kept = kept_rows(run)
    dogs = sum("dog" in row["caption"] for row in kept)
    assert re.search(rf"Subjects\*\*.*\bdog {dogs}\b", text)
    women = sum("woman" in row["caption"] for row in kept)
    assert women >= 1
    assert f"{women} clips with a female one" in text
    assert "0 with a male one" in text


def test_what_it_does_not_know_is_said_to_be_unknown(run, tmp_path):
    shutil.copytree(run, tmp_path / "run")
    (tmp_path / "run" / "run.json").unlink()
    text = sheet(tmp_path / "run", terms="")
    assert table(text, "software")["av"] == ["unknown"]
    assert table(text, "source")["stock"][1] == "unknown"
    assert "`stock`: unknown." in text


@pytest.mark.parametrize(
    "text", [*HOSTILE, "[x](http://y)", "www.a.b <!-- --> &lt; \\", "~~~\n# x"]
)
def test_no_text_means_anything_in_markdown(text):
    shown = escape(text)
    assert "\n" not in shown
    assert "<" not in shown
    bare = re.sub(r"\\.", "", shown)  # what is not behind a backslash
    assert not set(bare) & set("`*_[]()#|~\\<>")
    assert not any(ord(letter) < 32 or letter in "\u2028\u2029" for letter in shown)
    assert escape("x" * 10_000).endswith("…")
    assert len(escape("x" * 10_000)) == 200


def test_only_names_are_set_as_code():
    assert code("not_video") == "`not_video`"
    assert code("a` b") == "a\\` b"


def test_hostile_names_stay_in_their_place(run):
    text = sheet(run, name=HOSTILE[1], terms=HOSTILE[0], kind="`")
    assert "<script" not in text
    assert "\n# A heading" not in text
    assert len(re.findall(r"^# ", text, re.MULTILINE)) == 1
    assert "javascript:alert" not in text


def test_equal_runs_have_equal_papers_whenever_and_wherever(run, tmp_path):
    elsewhere = tmp_path / "another place"
    shutil.copytree(run, elsewhere)
    begun = read_json(elsewhere / "run.json")
    write_json(elsewhere / "run.json", begun | {"started": "2031-01-01T00:00:00Z", "command": []})
    assert sheet(run) == sheet(elsewhere)
    for folder in (run, elsewhere):
        write_croissant(folder, run_folders.config(), read_json(folder / "summary.json"))
    one, other = (folder / "croissant.json" for folder in (run, elsewhere))
    assert one.read_bytes() == other.read_bytes()
    for text in (sheet(elsewhere), other.read_text()):
        assert str(tmp_path) not in text
        assert "/videos" not in text
        assert "2031" not in text
        assert "2026-01-01" not in text


# -- Croissant


def described(run: Path) -> dict:
    return croissant(run, run_folders.config(), read_json(run / "summary.json"))


def test_croissant_names_every_file_by_its_digest(run):
    found = described(run)
    assert found["conformsTo"] == "http://mlcommons.org/croissant/1.0"
    assert found["@type"] == "sc:Dataset"
    assert re.fullmatch(r"[A-Za-z0-9-]+", found["name"])
    by_id = {item["@id"]: item for item in found["distribution"]}
    assert by_id["dcp.csv"]["sha256"] == sha256_file(run / "dcp.csv")
    for split in ("train", "test"):
        manifest = by_id[f"{split}-manifest"]
        assert manifest["sha256"] == sha256_file(run / manifest["contentUrl"])
        tars = sorted(run.glob(by_id[f"{split}-shards"]["includes"]))
        stated = read_json(run / manifest["contentUrl"])["shards"]
        assert [path.name for path in tars] == [shard["file"] for shard in stated]
        assert by_id[f"{split}-shards"]["encodingFormat"] == "application/x-tar"


def test_croissant_describes_the_columns_that_are_there(run):
    (records,) = described(run)["recordSet"]
    columns = list(pd.read_csv(run / "dcp.csv").columns)
    assert [field["name"] for field in records["field"]] == columns
    for field in records["field"]:
        assert field["source"]["extract"]["column"] == field["name"]
        assert field["source"]["fileObject"] == {"@id": "dcp.csv"}
        assert field["@id"] == f"clips/{field['name']}"
        number = field["name"] == "dynamic_confidence"
        assert field["dataType"] == ("sc:Integer" if number else "sc:Text")


@pytest.mark.parametrize(
    ("confidence", "kind"), [("12", "sc:Integer"), ("12.5", "sc:Float"), ("none", "sc:Text")]
)
def test_a_confidence_is_a_number_only_if_all_are(run, tmp_path, confidence, kind):
    shutil.copytree(run, tmp_path / "run")
    path = tmp_path / "run" / "dcp.csv"
    frame = pd.read_csv(path, dtype=str)
    frame.loc[3, "dynamic_confidence"] = confidence
    frame.to_csv(path, index=False)
    (records,) = described(tmp_path / "run")["recordSet"]
    types = {field["name"]: field["dataType"] for field in records["field"]}
    assert types["dynamic_confidence"] == kind


def test_every_term_of_the_description_is_of_its_context(run):
    """JSON-LD drops a key that its context does not know; schema.org is the vocabulary."""
    schema_org = {"name", "description", "license", "version", "distribution", "contentUrl"}
    schema_org |= {"contentSize", "encodingFormat", "sha256"}

    def keys(value):
        if isinstance(value, dict):
            for key, item in value.items():
                yield key
                yield from keys(item)
        elif isinstance(value, list):
            for item in value:
                yield from keys(item)

    found = described(run)
    used = {key for name in found if name != "@context" for key in keys({name: found[name]})}
    assert used - schema_org - {"@id", "@type"} <= set(CONTEXT)
