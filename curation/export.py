"""The kept clips as a table in the form of the public DCP release."""

import csv
import io
from pathlib import Path
from typing import Any

from dynamicrafter.files import write_text

COLUMNS = (
    "videoid",
    "contentUrl",
    "duration",
    "page_dir",
    "name",
    "dynamic_confidence",
    "dynamic_wording",
    "dynamic_source_category",
)


def write_dcp_csv(path: Path, rows: list[dict[str, Any]]) -> None:
    """Write exactly the eight columns; an empty cell, which loaders would drop, is an error."""
    text = io.StringIO(newline="")
    table = csv.DictWriter(text, COLUMNS, lineterminator="\n")
    table.writeheader()
    for row in rows:
        if empty := [name for name in COLUMNS if str(row[name]).strip() == ""]:
            raise ValueError(f"{row['videoid']}: empty {', '.join(empty)}; unknown is `none`")
        table.writerow(row)
    write_text(path, text.getvalue())
