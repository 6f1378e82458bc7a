"""The report from small run folders: what it shows, what it escapes, what it refuses."""

import re
from html.parser import HTMLParser
from pathlib import Path

import pytest
from hydra import compose, initialize_config_module

from dynamicrafter.errors import InputError
from dynamicrafter.files import read_json, write_json
from eval import report, results
from tests.report_folders import HOSTILE, make_all


class Tree(HTMLParser):
    """Tags with attributes, and the text."""

    def __init__(self, text: str):
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))

    def handle_data(self, data):
        self.text += data

    def all(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for name, attributes in self.tags if name == tag]


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory):
    root = tmp_path_factory.mktemp("report")
    config = make_all(root)
    summary = report.run(config, root / "report")
    return config, summary, (root / "report" / "report.html").read_text()


def test_no_caption_becomes_markup(built):
    tree = Tree(built[2])
    assert len(tree.all("script")) == 1
    assert all(image["src"].startswith("data:image/png") for image in tree.all("img"))
    assert not any(name.startswith("on") for _, attributes in tree.tags for name in attributes)
    # stock caption, motion caption, prompt, note, reason (twice), source and attribution
    assert tree.text.count(HOSTILE) >= 8


def test_the_page_is_one_file_without_any_other_address(built):
    tree = Tree(built[2])
    addresses = [
        value
        for _, attributes in tree.tags
        for name, value in attributes.items()
        if name in ("src", "href", "poster", "srcset", "action", "data")
    ]
    assert addresses
    assert all(re.match(r"data:|#", address) for address in addresses)
    assert "@import" not in built[2]
    assert "url(" not in built[2]


def test_everything_that_was_promised_is_there(built):
    _, summary, html = built
    text = Tree(html).text
    for heading in ("videos", "metrics", "limits", "curation", "clips", "training", "attribution"):
        assert f'<section id="{heading}">' in html
    assert "demo" in text  # the protocol beside the metrics
    assert "without near duplicate" in text
    assert "3 dropped" in text  # the still ones
    assert "24.6 dB" in text
    assert "2\u00a0generated, 2\u00a0real" in text  # counts beside the values
    assert html.count('<figure class="chart">') == 4  # three stages and the confidence
    assert html.count("<video") == 2 * summary["pairs"] + summary["clips"] == 10
    assert summary["bytes"] == len(html.encode())


def test_absent_and_unreliable_metrics_are_greyed_with_the_reason(built):
    rows = re.findall(r'<tr class="greyed">.*?</tr>', built[2], re.S)
    assert len(rows) == 4
    assert "fewer than the network" in rows[0]
    assert "weights not found" in rows[3]
    assert "—" in rows[3]
    assert "Motion, generated" not in "".join(rows)


def test_clips_left_out_stand_below_the_metrics(built):
    section = built[2].partition('<section id="metrics">')[2].partition("</section>")[0]
    remark = "Clips left out of reference: 2, shorter than the 46 frames of a window"
    assert remark in section.partition("</table>")[2]


@pytest.mark.parametrize(("split_by", "said"), [("shot", 1), ("clip", 0), (None, 0)])
def test_held_out_shots_of_the_same_films_are_owned_up_to(tmp_path, split_by, said):
    config = make_all(tmp_path)
    path = tmp_path / "curate" / "funnel.json"
    if split_by is not None:
        write_json(path, {**read_json(path), "split_by": split_by})
    report.run(config, tmp_path / "report")
    html = (tmp_path / "report" / "report.html").read_text()
    for name in ("limits", "curation"):
        section = html.partition(f'<section id="{name}">')[2].partition("</section>")[0]
        assert " ".join(section.split()).count("from the same films as the training shots") == said


def test_the_report_is_a_function_of_its_folders(built, tmp_path):
    config, _, html = built
    report.run(config, tmp_path)
    assert (tmp_path / "report.html").read_text() == html


def test_a_small_budget_leaves_videos_out_and_says_so(built, tmp_path):
    config = built[0].copy()
    config.megabytes = 0.004
    summary = report.run(config, tmp_path)
    html = (tmp_path / "report.html").read_text()
    assert summary["clips"] + summary["pairs"] < 8
    assert "did not fit into the page" in html
    assert sum(len(video["src"]) for video in Tree(html).all("video")) < 4300


def test_media_stay_where_their_source_keeps_them(tmp_path):
    config = make_all(tmp_path, may_be_passed_on=False)
    summary = report.run(config, tmp_path / "report")
    page = Tree((tmp_path / "report" / "report.html").read_text())
    assert not page.all("video")
    assert summary["clips"] == 0
    assert summary["pairs"] == 0
    assert "6 examples are withheld" in page.text
    config.allow_media = True
    assert report.run(config, tmp_path / "report")["clips"] == 6


@pytest.mark.parametrize("verb", ["curate", "train", "animate", "eval"])
def test_a_missing_run_names_the_command_that_makes_it(built, tmp_path, verb):
    config = built[0].copy()
    config[verb] = str(tmp_path / "gone")
    with pytest.raises(InputError, match=f"dynamicrafter {verb} run_dir={tmp_path}/gone"):
        report.run(config, tmp_path)
    with pytest.raises(InputError, match=f"dynamicrafter {verb}"):
        report.inputs(config)


def test_a_path_that_leaves_the_folder_is_refused(tmp_path):
    config = make_all(tmp_path)
    path = tmp_path / "eval" / "results.json"
    document = read_json(path)
    document["pairs"][0]["real"] = "../../secret.mp4"
    write_json(path, document)
    with pytest.raises(InputError, match="leaves the folder"):
        report.run(config, tmp_path / "report")


def test_a_broken_line_of_metrics_is_named(tmp_path):
    config = make_all(tmp_path)
    path = tmp_path / "train" / "stages" / "02-image-to-video" / "metrics.jsonl"
    path.write_text(path.read_text() + '{"step": 3}\n')
    with pytest.raises(InputError, match=r"metrics.jsonl line 201"):
        report.run(config, tmp_path / "report")


def test_the_configuration_composes_with_the_defaults_of_the_command():
    with initialize_config_module("conf", version_base="1.3"):
        config = compose("report")
    assert config.on_change == "redo"
    assert {"curate", "train", "animate", "eval", "run_dir", "megabytes"} <= set(config)


def test_markdown_keeps_a_cell_in_its_cell():
    row = results.Row("pic", "PIC", reason="a | b\n| c")
    table = results.markdown(results.Results({"name": "demo", "digest": "0" * 64}, [row]))
    assert table.splitlines()[-1] == r"| PIC | — | — |  |  | a \| b \| c |"


def test_results_come_back_as_they_were_written(tmp_path):
    rows = [results.Row("kvd", "KVD", 1.5, (1.0, 2.0), count={"real": 3}, reliable=True)]
    pairs = [results.Pair("k", "p", "real/k.mp4", "generated/k.mp4")]
    dropped = [results.Dropped("short", "reference", "shorter than 46 frames")]
    protocol = {"name": "demo", "digest": "0" * 64}
    results.write(tmp_path, results.Results(protocol, rows, pairs, dropped))
    found = results.read(Path(tmp_path))
    assert found.protocol["name"] == "demo"
    assert found.pairs == pairs
    assert found.dropped == dropped
    assert [(row.metric, row.value, list(row.interval)) for row in found.rows] == [
        ("kvd", 1.5, [1.0, 2.0])
    ]
