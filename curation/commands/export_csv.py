"""`dynamicrafter curate export-csv`: the clips of any shard folder as a DCP table."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from curation.passes.dcp_table import dcp_row_of, write_dcp_csv
from curation.publish.infos import iterate_infos, shard_folders
from dynamicrafter.command import compose, say
from dynamicrafter.errors import InputError


def main() -> None:
    """Write the table that conf/export_csv.yaml describes."""
    compose("export_csv", export)


def export(config: Any) -> int:
    """Write `config.output` from the shards of `config.dataset`; return the number of rows.

    Raises:
        InputError: there are no such shards, or a setting cannot be used.
    """
    limit = config.min_confidence
    if limit is not None and not (isinstance(limit, int | float) and 0 <= limit <= 100):
        raise InputError(f"min_confidence={limit} is not from 0 to 100")
    folders = shard_folders(Path(config.dataset), list(config.splits))
    output = Path(config.output)
    if output.is_dir():
        raise InputError(f"output={output} is a folder; name a file")
    seen = 0

    def rows() -> Iterator[dict[str, Any]]:
        nonlocal seen
        for folder in folders:
            for key, info in iterate_infos(folder):
                seen += 1
                confidence = confidence_of(info)
                if limit is None or (confidence is not None and confidence >= limit):
                    yield dcp_row_of(key, info)

    written = write_dcp_csv(output, rows())
    say(f"{output}: {written} of {seen} clips, from {', '.join(map(str, folders))}")
    return written


def confidence_of(info: dict[str, Any]) -> float | None:
    """The dynamic confidence of a sample, or None where it is unknown."""
    value = info.get("dynamic_confidence")
    try:
        return None if isinstance(value, bool) else float(value)
    except (TypeError, ValueError, OverflowError):
        return None
