"""How well a confidence foretells what comes true: figures, chart and table for a page."""

import io
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
from markupsafe import Markup

from curation.commands.caption_charts import diagram
from dynamicrafter import pages
from dynamicrafter.files import write_text
from dynamicrafter.statistics import calibration_error, isotonic, reliability

CALIBRATION = "calibration.csv"


def calibration(
    confidences: Sequence[float], came_true: Sequence[bool], bins: int
) -> dict[str, Any]:
    """Reliability bins, expected calibration error and the isotonic map of confidences 0 … 100."""
    stated = np.asarray(confidences, np.float64) / 100
    found = reliability(stated, came_true, bins)
    mapped = isotonic(stated, came_true)(np.arange(101) / 100)
    return {
        "clips": len(stated),
        "bins": [asdict(one) for one in found],
        "error": calibration_error(found),
        "calibrated": [round(float(share), 4) for share in mapped],
    }


def write_calibration(folder: Path, found: dict[str, Any]) -> None:
    """`calibration.csv`: for each confidence 0 … 100 the share in which it came true."""
    text = io.StringIO()
    text.write("dynamic_confidence,calibrated\n")
    for confidence, share in enumerate(found["calibrated"]):
        text.write(f"{confidence},{share:.4f}\n")
    write_text(folder / CALIBRATION, text.getvalue())


def chart(found: dict[str, Any], title: str, y_label: str) -> Markup:
    """The reliability diagram of `calibration`."""
    return diagram(found["bins"], title, y_label)


def bins_table(found: dict[str, Any], caption: str, share_title: str) -> Markup:
    """The bins of a diagram as a table."""
    columns = [pages.Column("Confidence")]
    columns += [
        pages.Column("Clips", number=True),
        pages.Column("Stated, mean", number=True, digits=1),
        pages.Column(share_title, number=True, digits=1),
        pages.Column("95 % from", number=True, digits=1),
        pages.Column("to", number=True, digits=1),
    ]
    rows = []
    for one in found["bins"]:
        share = one["share"]
        name = f"{100 * one['low']:.0f} to {100 * one['high']:.0f}"
        shares = [100 * share[part] for part in ("value", "low", "high")]
        cells = [pages.Cell(one["low"], name), one["n"], 100 * one["stated"], *shares]
        rows.append(pages.Row(cells))
    return pages.table(columns, rows, caption)
