"""What is measured of a shot: pure functions of its frames, every figure with its unit."""

from curation.measures import (
    action,
    aesthetic,
    alignment,
    cgi,
    exposure,
    letterbox,
    motion,
    phash,
    sharpness,
    text,
)
from curation.measures.contract import Measure

MEASURES: tuple[Measure, ...] = (
    motion.MEASURE,
    exposure.MEASURE,
    sharpness.MEASURE,
    letterbox.MEASURE,
    phash.MEASURE,
    cgi.MEASURE,
    text.MEASURE,
    alignment.MEASURE,
    aesthetic.MEASURE,
    action.MEASURE,
)
"""All measures, in the order of their columns."""

UNITS = {name: column.unit for one in MEASURES for name, column in one.columns.items()}
"""Columns of the measures and their units."""
