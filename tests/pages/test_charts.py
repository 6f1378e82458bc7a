import math
import re

import pytest

from dynamicrafter.pages import Bar, Series, funnel, histogram, line_chart
from dynamicrafter.pages.charts import BOTTOM, LEFT, RIGHT, TOP, log_ticks, place, ticks


def paths(svg: str, style: str) -> list[str]:
    return re.findall(rf'<path class="{style}" d="([^"]*)"', svg)


def test_a_known_series_maps_to_the_corners_and_the_middle_of_the_plot():
    svg = line_chart([Series("a", [0, 50, 100], [0, 5, 10])], "t", "step", "loss")
    x, y = (LEFT + RIGHT) / 2, (TOP + BOTTOM) / 2
    expected = f"M{LEFT:.1f} {BOTTOM:.1f}L{x:.1f} {y:.1f}L{RIGHT:.1f} {TOP:.1f}"
    assert paths(svg, "line line-0") == [expected]


def test_the_log_scale_puts_equal_ratios_at_equal_distances():
    svg = line_chart([Series("a", [0, 1, 2], [1, 10, 100])], "t", "x", "y", log=True)
    heights = [float(y) for y in re.findall(r"[ML][\d.]+ ([\d.]+)", paths(svg, "line line-0")[0])]
    assert heights == pytest.approx([BOTTOM, (TOP + BOTTOM) / 2, TOP])


@pytest.mark.parametrize(("bad", "log"), [(math.nan, False), (math.inf, False), (0.0, True)])
def test_what_cannot_be_drawn_is_a_gap(bad, log):
    svg = line_chart([Series("a", range(5), [1, 2, bad, 2, 1])], "t", "x", "y", log=log)
    (path,) = paths(svg, "line line-0")
    assert path.count("M") == 2
    assert path.count("L") == 2


def test_no_point_at_all_is_said():
    assert "nothing was recorded" in line_chart([Series("a", [1], [math.nan])], "t", "x", "y")


def test_a_constant_series_lies_in_the_middle():
    svg = line_chart([Series("a", [0, 1], [3, 3])], "t", "x", "y")
    assert paths(svg, "line line-0") == [f"M{LEFT:.1f} 106.0L{RIGHT:.1f} 106.0"]


def test_only_several_series_have_a_legend_and_faint_ones_take_no_colour():
    one = line_chart([Series("only", [0, 1], [0, 1])], "t", "x", "y")
    assert "only</text>" not in one
    both = line_chart(
        [Series("raw", [0, 1], [0, 1], faint=True), Series("mean", [0, 1], [0, 1])], "t", "x", "y"
    )
    assert "raw</text>" in both
    assert len(paths(both, "faint")) == 2  # the line and its sample in the legend
    assert len(paths(both, "line line-0")) == 2


def test_ticks_are_round_and_inside():
    assert ticks(0, 200) == [0, 50, 100, 150, 200]
    assert ticks(0.03, 0.11) == pytest.approx([0.04, 0.06, 0.08, 0.1])
    assert log_ticks(0.08, 1.2) == pytest.approx([0.1, 0.2, 0.5, 1])
    assert log_ticks(1, 10_000) == pytest.approx([1, 10, 100, 1000, 10_000])


def test_place_is_linear_between_the_ends():
    assert place(25, 0, 100, 10, 50, log=False) == 20
    assert place(10, 1, 100, 0, 1, log=True) == 0.5


def test_funnel_bars_are_shares_of_the_first_and_notes_are_escaped():
    svg = funnel([Bar("start", 80), Bar("<b>moves</b>", 20, "60 <dropped>")], "left")
    assert re.findall(r'class="bar"[^>]* width="([\d.]+)%"', svg) == ["100.00", "25.00"]
    assert "<b>" not in svg
    assert "60 &lt;dropped&gt;" in svg
    assert 'aria-label="left. start: 80; &lt;b&gt;moves&lt;/b&gt;: 20."' in svg


def test_an_empty_funnel_divides_by_nothing():
    assert 'width="0.00%"' in funnel([Bar("start", 0)], "left")


def test_histogram_counts_each_value_once_and_the_upper_edge_in_the_last_bin():
    svg = histogram([0, 10, 49.9, 50, 100, 101], 0, 100, 2, "t", "confidence")
    counts = [int(n) for n in re.findall(r"<title>[^<]*: (\d+)</title>", svg)]
    assert counts == [3, 2]  # 101 lies outside
    heights = [float(h) for h in re.findall(r'class="bar"[^>]* height="([\d.]+)"', svg)]
    assert heights == pytest.approx([BOTTOM - TOP, (BOTTOM - TOP) * 2 / 3])
