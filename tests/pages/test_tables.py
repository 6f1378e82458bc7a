import json
from html.parser import HTMLParser

import pytest
from markupsafe import Markup

from dynamicrafter.pages import Cell, Column, Row, table
from dynamicrafter.pages.tables import number

HOSTILE = "\"></td></script><img src=x onerror=alert(1)>'&"


class Tree(HTMLParser):
    """The tags with their attributes and the text, as a browser's parser would see them."""

    def __init__(self, text: str):
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.text: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))

    def handle_data(self, data):
        self.text.append(data)

    def all(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for name, attributes in self.tags if name == tag]


def test_hostile_text_stays_text_in_cells_headings_reasons_and_captions():
    html = table([Column(HOSTILE)], [Row([HOSTILE], reason=HOSTILE)], HOSTILE)
    assert isinstance(html, Markup)
    tree = Tree(html)
    assert not tree.all("img")
    assert not tree.all("script")
    assert tree.text.count(HOSTILE) == 4  # caption, heading, cell, reason
    assert len(tree.all("td")) == 1


def test_the_json_of_a_data_attribute_gives_the_value_back():
    tree = Tree(table([Column("a"), Column("b", number=True)], [Row([HOSTILE, -3.25])], "t"))
    assert [json.loads(cell["data-value"]) for cell in tree.all("td")] == [HOSTILE, -3.25]


def test_a_greyed_row_carries_its_class_and_its_reason():
    html = table([Column("metric")], [Row(["FVD"]), Row(["PIC"], reason="no weights")], "t")
    rows = Tree(html).all("tr")
    assert [row.get("class") for row in rows] == [None, None, "greyed"]
    assert '<span class="reason">no weights</span></td>' in html


@pytest.mark.parametrize("absent", [None, float("nan"), float("inf")])
def test_an_absent_value_is_a_dash_and_sorts_as_null(absent):
    tree = Tree(table([Column("n", number=True)], [Row([absent])], "t"))
    assert "—" in tree.text
    assert [cell["data-value"] for cell in tree.all("td")] == ["null"]


def test_numbers_are_aligned_grouped_and_sorted_by_value():
    columns = [Column("loss", number=True, digits=3), Column("name")]
    html = table(columns, [Row([12345.6789, "a"]), Row([Cell(0.5, "a half"), "b"])], "t")
    tree = Tree(html)
    assert [cell.get("class") for cell in tree.all("td")] == ["number", None] * 2
    assert "12\u202f345.679" in tree.text
    assert "a half" in tree.text
    assert tree.all("td")[2]["data-value"] == "0.5"


def test_number_uses_a_true_minus_sign():
    assert number(-1234567.8, 1) == "\u22121\u202f234\u202f567.8"


def test_a_row_of_another_length_is_refused():
    with pytest.raises(ValueError, match="2 cells in a table of 1"):
        table([Column("a")], [Row(["x", "y"])], "t")
