"""Motion captions that a clip's source brings along."""

import json
from typing import Any

from curation.captions.caption import Caption
from curation.clip import UNKNOWN


def stated(record: dict[str, Any]) -> Caption | None:
    """What the source states in the DCP columns, or None where it says nothing of motion.

    Args:
        record: a row of `measures.parquet`.
    """
    extra = json.loads(record["extra"])
    wording = extra.get("dynamic_wording", UNKNOWN)
    if wording == UNKNOWN:
        return None
    return Caption(
        dynamic_wording=wording,
        dynamic_confidence=_whole_number(extra.get("dynamic_confidence")),
        dynamic_source_category=extra.get("dynamic_source_category", UNKNOWN),
        annotated=wording,
        source="stated",
    )


def _whole_number(text: str | None) -> int | str:
    try:
        return min(max(round(float(text or "")), 0), 100)
    except (ValueError, OverflowError):
        return UNKNOWN
