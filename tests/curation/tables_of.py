"""A `measures.parquet` as `gather` writes it, of rows that are made up."""

import json

import pyarrow as pa

from curation.measures import MEASURES
from curation.passes.gather import FACTS, IDENTITY, TABLE, as_number
from curation.passes.measure import column_types
from curation.tables import read_rows, write_rows

GOOD = {
    "object_motion": 0.02,
    "camera_motion": 0.01,
    "motion_direction": 0.0,
    "motion_coherence": 0.9,
    "motion_curve": [0.02, 0.02],
    "camera_curve": [0.01, 0.01],
    "black_share": 0.0,
    "frozen_share": 0.0,
    "sharpness": 100.0,
    "letterbox_share": 0.0,
    "text_share": 0.0,
    "static_text_share": 0.0,
    "watermark": False,
    "cgi_caption": False,
    "cgi_probability": 0.1,
    "clip_alignment": 0.3,
    "aesthetic": 5.0,
}


def schema(*absent):
    """Of the table where the measures `absent` were not taken."""
    taken = [measure for measure in MEASURES if measure.name not in absent]
    measured = [field for measure in taken for field in column_types(measure)]
    return pa.schema([*IDENTITY, *FACTS, *measured])


def row(key, **changes):
    """A row that every filter lets pass; a look of its own needs `phash`."""
    extra = changes.pop("extra", {})
    facts = {
        "key": key,
        "clip_id": key,
        "video_id": changes.get("clip_id", key),
        "source": "mine",
        "root": "/nowhere",
        "path": f"{key}.mp4",
        "caption": "none",
        "extra": json.dumps(extra, sort_keys=True),
        "stated_confidence": as_number(extra.get("dynamic_confidence")),
        "sha256": "ab" * 32,
        "start_s": 0.0,
        "end_s": 4.0,
        "whole": True,
        "frames": 96,
        "fps": 24.0,
        "width": 320,
        "height": 180,
        "duration_s": 4.0,
    }
    return {**facts, **GOOD, **changes}


def lost(key, reason, **changes):
    """The row of a clip that gave no shot."""
    nothing = dict.fromkeys([*GOOD, "sha256", "start_s", "end_s", "frames", "fps", "duration_s"])
    return row(key, **{**nothing, "reason": reason, "message": "why", "whole": False, **changes})


def write_measures(folder, rows, *absent):
    """Write `rows` as the table of a run folder."""
    folder.mkdir(parents=True, exist_ok=True)
    own = schema(*absent)
    known = [{name: value for name, value in item.items() if name in own.names} for item in rows]
    write_rows(folder / TABLE, known, own)


def read_decisions(folder):
    """Rows of `decisions.parquet`."""
    return read_rows(folder / "decisions.parquet")
