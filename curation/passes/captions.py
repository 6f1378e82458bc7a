"""What was said of all clips, in one table, and who is left out for want of a good caption.

captions.parquet    a row a clip that was captioned, in the order of `measures.parquet`
quarantine.jsonl    the clips of which nothing good was said, a line each
"""

import json
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from curation.captions.vlm import VlmSettings
from curation.passes.caption import SAID_COLUMNS, AnySettings, outcomes_of
from curation.passes.decide import kept_rows
from curation.passes.encode import EncodeSettings, clip_digest, find_failed
from curation.passes.gather import PIECES, TABLE
from curation.tables import Row, TableWriter, iterate_rows, read_note
from dynamicrafter.errors import FailedShareError
from dynamicrafter.files import atomic_path

CAPTIONS, QUARANTINED = "captions.parquet", "quarantine.jsonl"
UNANSWERED = "unanswered"
REASON = "caption_{}"
"""How the reason of a caption that is missing stands among those of all clips."""

SCHEMA = pa.schema(
    [
        ("row", pa.int64()),  # in measures.parquet
        ("key", pa.string()),
        ("original", pa.string()),  # the stock caption
        *SAID_COLUMNS,
    ]
)


class CaptionTable:
    """Writes `captions.parquet` and `quarantine.jsonl`, both whole or not at all, and counts."""

    def __init__(self, table: Path, quarantine: Path):
        """The paths are not final: the caller renames them once `close` is done."""
        self._writer = TableWriter(table, SCHEMA)
        self._lines = quarantine.open("w", encoding="utf-8")
        self.asked: int = 0
        self.unanswered: int = 0

    def add(self, row: int, key: str, original: str, said: Row | None) -> str | None:
        """Add a clip; returns why it has no good caption, else None.

        Args:
            row: its number.
            key: its name in the shards.
            original: the stock caption.
            said: columns of `SAID_COLUMNS`; None where nobody answered.
        """
        self.asked += 1
        if said is None:
            self.unanswered += 1
            return REASON.format(UNANSWERED)
        self._writer.add([{"row": row, "key": key, "original": original, **said}])
        if said["reason"] is None:
            return None
        reason = REASON.format(said["reason"])
        line = {"key": key, "original": original, "reason": reason}
        line |= {name: said.get(name) for name in ("last_wording", "verdict", "offending")}
        self._lines.write(json.dumps(line, sort_keys=True) + "\n")
        return reason

    def close(self) -> None:
        """Write what is left."""
        counts = {"asked": str(self.asked), UNANSWERED: str(self.unanswered)}
        self._writer.close(counts)
        self._lines.close()


def gather_captions(
    settings: AnySettings, encode: EncodeSettings, folder: Path
) -> dict[int, list[str]]:
    """Write the table of a run; returns the rows that shall be left out, with reasons.

    All clips that stay must have been asked about; those that could not be encoded are passed over.

    Args:
        settings: of the captioner.
        encode: of the clips.
        folder: the run folder.
    """
    found = outcomes_of(settings, encode.digest, folder)
    drops = isinstance(settings, VlmSettings) and settings.on_failure == "drop"
    withdrawn: dict[int, list[str]] = {}
    with (
        atomic_path(folder / CAPTIONS) as temporary,
        atomic_path(folder / QUARANTINED) as quarantine,
    ):
        table = CaptionTable(temporary, quarantine)
        for number, row, piece in _kept(folder):
            if piece is not None:
                said_of_piece, lost = found.find(piece), find_failed(piece, encode, folder)
            if clip_digest(row) in lost:
                continue
            said = said_of_piece.get(found.name(row))
            reason = table.add(number, row["key"], row["caption"], said)
            if reason is not None and (drops or said is None):
                withdrawn[number] = [reason, reason]
        table.close()
    return withdrawn


def refuse_unanswered(limit: float, table: Path) -> None:
    """Stop before anything is packed if too many clips got no answer.

    Raises:
        FailedShareError: they are more than `limit` of those that were asked about.
    """
    asked, unanswered = (int(read_note(table, name)) for name in ("asked", UNANSWERED))
    if unanswered > limit * asked:
        raise FailedShareError(
            f"{unanswered} of {asked} clips got no answer, more than "
            f"captioner.max_unanswered_share={limit:g}; look at the server, then run the same "
            "command again: it asks about these alone"
        )


def count_unanswered(table: Path) -> int:
    """How many clips got no answer."""
    return int(read_note(table, UNANSWERED))


def read_captions(first: int, last: int, table: Path) -> dict[int, Row]:
    """Row in `measures.parquet` → what was said, for the rows from `first` to `last`."""
    between = [("row", ">=", first), ("row", "<=", last)]
    rows = pq.read_table(table, filters=between).to_pylist()
    return {row.pop("row"): row for row in rows}


def count_captions(table: Path) -> dict[str, Any]:
    """{"source": {who said it: clips}, "asked_again", "stripped", "quarantined"} of a table."""
    sources: Counter[str] = Counter()
    counts: Counter[str] = Counter(asked_again=0, stripped=0, quarantined=0)
    for row in iterate_rows(table):
        sources[row["source"]] += 1
        counts["quarantined"] += row["reason"] is not None
        counts["asked_again"] += row["asked_again"]
        counts["stripped"] += row["stripped"]
    return {"source": dict(sorted(sources.items())), **counts}


def _kept(folder: Path) -> Iterator[tuple[int, Row, str | None]]:
    """(number, row of `measures.parquet`, piece if it is another than before) of what stays."""
    pieces = iterate_rows(folder / PIECES)
    piece: Row = {"first": 0, "rows": 0}
    rows = iterate_rows(folder / TABLE)
    number = -1
    for index, _ in kept_rows(folder):
        while number < index:
            row, number = next(rows), number + 1
        is_new = False
        while index >= piece["first"] + piece["rows"]:
            piece, is_new = next(pieces), True
        yield index, row, piece["piece"] if is_new else None
