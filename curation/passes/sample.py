"""What a sample says of itself: the DCP columns and the JSON beside the video."""

import json
from dataclasses import asdict
from typing import Any

from curation.captions.caption import Caption
from curation.clip import UNKNOWN
from curation.measures import MEASURES, UNITS
from curation.tables import Row

_KEPT_APART = ("dynamic_wording", "dynamic_confidence", "dynamic_source_category")


def dcp_row(row: Row, said: Caption) -> Row:
    """The eight DCP columns of a row of `measures.parquet`.

    A clip that was not cut keeps the id, folder and duration that its source gave it, so that the
    table fits the videos it came from; a shot of a longer one is a video of its own, under its key.
    """
    extra = json.loads(row["extra"])
    seconds = round(row["end_s"] - row["start_s"])
    duration = f"PT{seconds // 3600:02d}H{seconds // 60 % 60:02d}M{seconds % 60:02d}S"
    whole = row["whole"] and "videoid" in extra
    return {
        "videoid": extra["videoid"] if whole else row["key"],
        "contentUrl": extra.get("contentUrl", UNKNOWN),
        "duration": extra.get("duration", duration) if whole else duration,
        "page_dir": extra.get("page_dir", UNKNOWN),
        "name": row["caption"],
        "dynamic_confidence": said.dynamic_confidence,
        "dynamic_wording": said.dynamic_wording,
        "dynamic_source_category": said.dynamic_source_category,
    }


def sample_info(
    row: Row,
    said: Caption,
    *,
    size: tuple[int, int],
    may_be_passed_on: bool,
    digests: dict[str, str],
) -> dict[str, Any]:
    """The sample's JSON: captions, DCP columns, measures with units, facts, source, digests.

    Args:
        row: of `measures.parquet`.
        said: by the captioner.
        size: (width, height) of the encoded video, pixels.
        may_be_passed_on: whether the source lets its media leave this machine.
        digests: of the steps that made the sample.
    """
    extra = json.loads(row["extra"])
    given = {name: value for name, value in extra.items() if name not in _KEPT_APART}
    columns = [name for measure in MEASURES for name in measure.columns if name in row]
    return {
        **dcp_row(row, said),
        "caption": asdict(said),
        "clip_id": row["clip_id"],
        "video_id": row["video_id"],
        "start_s": row["start_s"],
        "end_s": row["end_s"],
        "fps": row["fps"],
        "frames": row["frames"],
        "width": size[0],
        "height": size[1],
        "source": {
            **given,
            "name": row["source"],
            "media_may_be_passed_on": may_be_passed_on,
            "codec": row["codec"],
            "width": row["width"],
            "height": row["height"],
        },
        "measures": {name: {"value": row[name], "unit": UNITS[name]} for name in columns},
        "digests": {**digests, "source": row["sha256"]},
    }
