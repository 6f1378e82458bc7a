"""What each threshold drops, and what it does not know."""

import dataclasses

import numpy as np
import pytest
import yaml

import conf
from curation.measures import UNITS
from curation.passes.filters import (
    RULES,
    Filters,
    active_rules,
    judge,
    needed_measures,
    refuse_absent,
    threshold_names,
    with_threshold,
)
from dynamicrafter.errors import InputError
from tests.curation.decisions import OFF, USUAL, decided, reasons_of, step_of
from tests.curation.tables_of import lost, row

pytestmark = pytest.mark.usefixtures("without_waiting_for_the_disk")

# What a single rule does: (reason, threshold, its value, column, a value just not dropped, dropped)
SINGLE = [
    ("black", "max_black_share", 0.5, "black_share", 0.5, 0.51),
    ("frozen", "max_frozen_share", 0.7, "frozen_share", 0.7, 0.71),
    ("still", "min_object_motion", 0.003, "object_motion", 0.003, 0.0029),
    ("blurred", "min_sharpness", 6, "sharpness", 6.0, 5.9),
    ("letterboxed", "max_letterbox_share", 0.05, "letterbox_share", 0.05, 0.06),
    ("text", "max_text_share", 0.1, "text_share", 0.1, 0.11),
    ("static_text", "max_static_text_share", 0.1, "static_text_share", 0.1, 0.11),
    ("watermarked", "drop_watermarked", True, "watermark", False, True),
    ("cgi", "drop_cgi", True, "cgi_caption", False, True),
    ("cgi_picture", "max_cgi_probability", 0.5, "cgi_probability", 0.5, 0.51),
    ("misaligned", "min_clip_alignment", 0.2, "clip_alignment", 0.2, 0.19),
    ("unaesthetic", "min_aesthetic", 4, "aesthetic", 4.0, 3.9),
]


@pytest.mark.parametrize(("reason", "threshold", "value", "column", "good", "bad"), SINGLE)
@pytest.mark.parametrize("on_missing", ["keep", "drop", "refuse"])
def test_each_rule(tmp_path, reason, threshold, value, column, good, bad, on_missing):
    rows = [row("good", **{column: good}), row("bad", **{column: bad})]
    rows += [row("unknown", **{column: None}), lost("lost", "not_video")]
    assert reasons_of(decided(tmp_path, rows, OFF)[0]) == [None, None, None, "not_video"]
    filters = dataclasses.replace(OFF, on_missing=on_missing, **{threshold: value})
    decisions, funnel = decided(tmp_path, rows, filters)
    dropped = reason if on_missing == "drop" else None
    assert reasons_of(decisions) == [None, reason, dropped, "not_video"]
    assert step_of(funnel, reason)["unknown"] == 1
    assert sum(step["unknown"] for step in funnel["steps"]) == 1


def test_the_confidence_that_the_source_states(tmp_path):
    stated = ["40", "39.9", "x", None, "1e3", "-1"]
    rows = [
        row(str(number), extra={} if text is None else {"dynamic_confidence": text})
        for number, text in enumerate(stated)
    ]
    filters = dataclasses.replace(OFF, min_dynamic_confidence=40)
    decisions, funnel = decided(tmp_path, rows, filters)
    bad = "not_dynamic"
    assert reasons_of(decisions) == [None, bad, None, None, None, bad]
    assert step_of(funnel, bad)["unknown"] == 2
    decisions, _ = decided(tmp_path, rows, dataclasses.replace(filters, on_missing="drop"))
    assert reasons_of(decisions) == [None, bad, bad, bad, None, bad]


@pytest.mark.parametrize(
    ("camera", "objects", "dominates"),
    [
        (0.24, 0.01, False),  # slow
        (0.25, 0.01, False),
        (0.26, 0.01, True),
        (0.26, 0.12, True),
        (0.26, 0.14, False),  # fast, but it follows what moves
        (0.50, 0.24, True),
        (0.50, 0.25, False),  # exactly twice as fast
    ],
)
def test_the_camera_dominates_if_it_is_fast_and_much_faster(camera, objects, dominates):
    columns = {"camera_motion": np.array([camera]), "object_motion": np.array([objects])}
    (reason,), _ = judge(columns, dataclasses.replace(OFF, max_camera_motion=0.25))
    assert reason == ("camera_dominated" if dominates else None)


def test_the_first_reason_counts():
    changes = {reason: (column, bad) for reason, _, _, column, _, bad in SINGLE}
    order = [rule.reason for rule in RULES if rule.reason in changes]
    columns = {
        column: np.array(
            [bad if number >= at else good for number in range(len(order))],
            object if isinstance(bad, bool) else float,
        )
        for at, reason in enumerate(reversed(order))
        for _, _, _, column, good, bad in [next(one for one in SINGLE if one[0] == reason)]
    }  # row i has the faults of the last i + 1 rules
    columns["camera_motion"] = np.zeros(len(order))
    filters = dataclasses.replace(OFF, **{one[1]: one[2] for one in SINGLE})
    reasons, unknown = judge(columns, filters)
    assert reasons.tolist() == order[::-1]
    assert not any(rows.any() for rows in unknown.values())


def test_what_a_rule_does_not_know_is_counted_only_where_the_row_had_come_so_far(tmp_path):
    rows = [
        row("a", black_share=0.9, object_motion=None),
        row("b", object_motion=None),
        row("c", object_motion=None, reason="too_short"),
        row("d", object_motion=None),
        row("e", object_motion=None, camera_motion=None),
    ]
    decisions, funnel = decided(tmp_path, rows, USUAL, opted_out=["d"])
    assert reasons_of(decisions) == ["black", None, "too_short", "opted_out", None]
    assert step_of(funnel, "still")["unknown"] == 2
    assert step_of(funnel, "camera_dominated")["unknown"] == 2
    assert step_of(funnel, "black")["unknown"] == 0


def test_an_absent_measure_is_unknown_everywhere(tmp_path):
    rows = [row("a"), row("b")]
    filters = dataclasses.replace(OFF, min_aesthetic=4)
    for on_missing, reason in (("keep", None), ("drop", "unaesthetic")):
        own = dataclasses.replace(filters, on_missing=on_missing)
        decisions, funnel = decided(tmp_path, rows, own, absent=["aesthetic"])
        assert reasons_of(decisions) == [reason, reason]
        assert step_of(funnel, "unaesthetic")["unknown"] == 2


def test_a_filter_over_an_absent_measure_is_refused():
    there = [*UNITS, "stated_confidence"]
    for _, threshold, value, column, _, _ in SINGLE:
        filters = dataclasses.replace(OFF, on_missing="refuse", **{threshold: value})
        refuse_absent(filters, there, {})
        left = [name for name in there if name != column]
        with pytest.raises(InputError, match=rf"^filters\.{threshold} .* {column}, ") as caught:
            refuse_absent(filters, left, {column: "no weights are given"})
        assert caught.value.exit_code == 2
        assert "no weights are given" in str(caught.value)
        assert "filters.on_missing=keep" in str(caught.value)
        refuse_absent(dataclasses.replace(filters, on_missing="keep"), left, {})
        refuse_absent(dataclasses.replace(filters, on_missing="drop"), left, {})
        refuse_absent(dataclasses.replace(OFF, on_missing="refuse"), [], {})
    filters = dataclasses.replace(OFF, on_missing="refuse", max_phash_distance=6)
    with pytest.raises(InputError, match=r"filters\.max_phash_distance needs the measure phash"):
        refuse_absent(filters, [name for name in there if name != "phash"], {})


def test_settings_that_are_none():
    with pytest.raises(InputError, match=r"split_by is 'film'; choose one of video, clip, shot"):
        dataclasses.replace(OFF, split_by="film")
    with pytest.raises(InputError, match=r"on_missing is 'ask'; choose one of refuse, keep, drop"):
        dataclasses.replace(OFF, on_missing="ask")
    for share in (-0.1, 1.1):
        with pytest.raises(InputError, match=r"test_share is .*, not 0 to 1"):
            dataclasses.replace(OFF, test_share=share)


def test_every_threshold_is_in_the_configuration():
    path = next(iter(conf.__path__)) + "/filters/footage.yaml"
    with open(path, encoding="utf-8") as file:
        settings = yaml.safe_load(file)
    assert set(settings) == {field.name for field in dataclasses.fields(Filters)}
    assert set(threshold_names()) == set(settings) - {"on_missing", "test_share", "split_by"}
    assert {rule.threshold for rule in RULES} <= set(threshold_names())
    usual = Filters(**settings)
    assert active_rules(usual) == [
        rule for rule in RULES if settings[rule.threshold] not in (None, False)
    ]
    assert needed_measures(usual) <= {*UNITS, "stated_confidence"}
    assert active_rules(OFF) == []
    assert needed_measures(OFF) == set()
    other = with_threshold(usual, "min_sharpness", 9)
    assert (other.min_sharpness, usual.min_sharpness) == (9, 6)
    assert dataclasses.replace(other, min_sharpness=6) == usual
