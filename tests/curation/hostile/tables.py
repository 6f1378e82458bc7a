"""All hostile sources: importing the builders registers them."""

from tests.curation.hostile import bombs, csv_tables, other_tables, tars
from tests.curation.hostile.sources import EXPECTED, HEAVY, HOSTILE

__all__ = ["EXPECTED", "HEAVY", "HOSTILE", "bombs", "csv_tables", "other_tables", "tars"]
