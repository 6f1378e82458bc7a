"""Decisions over tables whose rows are made up."""

import dataclasses

from curation.passes.decide import decide
from curation.passes.filters import (
    Filters,
)
from dynamicrafter.files import read_json
from tests.curation.tables_of import read_decisions, write_measures

OFF = Filters(
    max_black_share=None,
    max_frozen_share=None,
    min_object_motion=None,
    max_camera_motion=None,
    camera_dominance=2,
    min_sharpness=None,
    max_letterbox_share=None,
    max_text_share=None,
    max_static_text_share=None,
    drop_watermarked=False,
    drop_cgi=False,
    max_cgi_probability=None,
    min_clip_alignment=None,
    min_aesthetic=None,
    min_dynamic_confidence=None,
    max_phash_distance=None,
    on_missing="keep",
    test_share=0.2,
    split_by="video",
)
USUAL = dataclasses.replace(
    OFF, max_black_share=0.5, min_object_motion=0.003, max_camera_motion=0.25, max_phash_distance=6
)


def decided(folder, rows, filters=OFF, opted_out=(), absent=()):
    """(decisions row for row, funnel)."""
    write_measures(folder, rows, *absent)
    funnel = decide(filters, frozenset(opted_out), folder)
    assert read_json(folder / "funnel.json") == funnel
    assert not list(folder.glob(".*"))
    decisions = read_decisions(folder)
    assert [item["key"] for item in decisions] == [item["key"] for item in rows]
    assert all(item["kept"] is (item["reason"] is None) for item in decisions)
    return decisions, funnel


def reasons_of(decisions):
    return [item["reason"] for item in decisions]


def look(*hashes):
    return "".join(f"{value:016x}" for value in hashes)


def step_of(funnel, name):
    return next(step for step in funnel["steps"] if step["name"] == name)
