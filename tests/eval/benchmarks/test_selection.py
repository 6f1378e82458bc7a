"""selection.csv and items.csv: exact there and back, nothing runs, what is wrong is named."""

import csv

import pytest

from dynamicrafter.errors import InputError
from eval.benchmarks.selection import COLUMNS, Chosen, read_selection, write_items, write_selection

ROW = Chosen("v1", "a/v.mp4", 3, 2, 16, 29.97002997002997, "words", "words", "none", "ab" * 32)
ODD = [
    "=1+1", "+1 more", "-a", "@you", "\ttab", "\rreturn", "'quoted'", 'a "b", c', "two\nlines",
    "-5", "Straße", "",
]  # fmt: skip


def changed(**values):
    return Chosen(**{**vars(ROW), **values})


@pytest.fixture
def path(tmp_path):
    return tmp_path / "selection.csv"


def test_odd_cells_come_back_as_they_were_and_none_would_run(path):
    rows = [changed(key=f"v{n}", caption=text, group=text) for n, text in enumerate(ODD)]
    write_selection(path, rows)
    assert read_selection(path) == rows
    with path.open(newline="", encoding="utf-8") as file:
        cells = [row["caption"] for row in csv.DictReader(file)]
    assert [cell for cell in cells if cell[:1] in tuple("=+@\t\r")] == []
    assert [cell for cell in cells if cell[:1] == "-"] == ["-5"]  # a number runs nowhere


def test_a_sample_without_a_video(path):
    row = changed(video="", start_frame=None, fps=None)
    write_selection(path, [row])
    assert read_selection(path) == [row]


def test_items_keep_prompts_but_for_a_space(tmp_path):
    write_items(tmp_path / "items.csv", [changed(prompt="=go"), changed(key="v2", prompt="stop")])
    with (tmp_path / "items.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["prompt"] for row in rows] == [" =go", "stop"]
    assert rows[1]["image"] == "images/v2.png"


@pytest.mark.parametrize(
    ("column", "cell", "message"),
    [
        ("start_frame", "-1", r"sample 1: start_frame=-1 is out of range"),
        ("start_frame", "first", r"start_frame='first' is no number"),
        ("stride", "0", r"stride=0 is out of range"),
        ("fps", "nan", r"fps=nan is out of range"),
        ("key", "../up", r"key='../up' is none"),
        ("prompt", " ", r"the prompt of v1 is empty"),
        ("sha256", "beef", r"sha256='beef' is no hex SHA-256"),
    ],
)
def test_cells_that_cannot_be_are_named(path, column, cell, message):
    write_cells(path, [{**as_cells(ROW), column: cell}])
    with pytest.raises(InputError, match=message):
        read_selection(path)


def test_a_key_that_stands_twice_is_named(path):
    write_selection(path, [ROW, changed(video="b.mp4")])
    with pytest.raises(InputError, match=r"the key v1 stands 2 times"):
        read_selection(path)


def test_a_missing_file_column_or_row_is_named(path):
    with pytest.raises(InputError, match=r"there is no selection"):
        read_selection(path)
    path.write_text("key,video\nv1,a.mp4\n")
    with pytest.raises(InputError, match=r"has no column start_frame, stride"):
        read_selection(path)
    path.write_text(",".join(COLUMNS) + "\n")
    with pytest.raises(InputError, match=r"selects nothing"):
        read_selection(path)
    path.write_text(",".join(COLUMNS) + "\nv1,a.mp4\n")
    with pytest.raises(InputError, match=r"sample 1: the line ends before start_frame"):
        read_selection(path)


def as_cells(row):
    return {name: str(value) for name, value in vars(row).items()}


def write_cells(path, rows):
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, COLUMNS)
        writer.writeheader()
        writer.writerows(rows)
