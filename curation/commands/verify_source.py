"""`dynamicrafter curate verify-source`: is every row of a source a video that is there and whole?

    listing/, verified-<version>/    the rows, and what their files are; kept when it runs again
    verify.parquet                   a verdict for each row
    verify.csv                       the rows whose verdict is not `ok`

Real copies of large sets hold error pages that are named .mp4 and files that end early; the time to
learn of them is before anything is measured.
"""

import csv
import functools
from collections import Counter
from pathlib import Path
from typing import Any, TextIO

import pyarrow as pa

from curation.clip import UNKNOWN, Clip
from curation.commands.verify_file import VERSION, check_file
from curation.engines import EngineSettings, Seat, open_engine
from curation.passes import listing
from curation.passes.inspect import is_settled
from curation.passes.listing import source_inputs
from curation.recipe import plain
from curation.sources import read_clips
from curation.tables import Row, TableWriter, digest_rows, read_rows, write_rows
from dynamicrafter.command import compose, run_in_folder, say
from dynamicrafter.errors import FailedShareError, MediaError
from dynamicrafter.files import atomic_path, read_json
from dynamicrafter.media.isolation import CRASHED, TIMEOUT, Isolated
from dynamicrafter.progress import progress
from dynamicrafter.runs import DONE
from dynamicrafter.text_table import table_lines

OK, OTHER_LENGTH = "ok", "other_length"
TABLE, REPORT = "verify.parquet", "verify.csv"

MEANINGS = {
    OK: "a whole video",
    "missing": "there is no such file",
    "not_video": "a page, a text, an archive, nothing",
    "no_video_stream": "sound alone",
    "unreadable": "damaged",
    "truncated": "ends early",
    OTHER_LENGTH: "not as long as the table says",
    "bad_path": "leaves its folder",
    TIMEOUT: "took longer than unit_timeout_s, twice",
    CRASHED: "a decoder died of it, twice",
}

_TEXT, _REAL = pa.string(), pa.float64()
_FACTS = pa.schema(
    [("verdict", _TEXT), ("message", _TEXT), ("bytes", pa.int64()), ("duration_s", _REAL)]
)
SCHEMA = pa.schema(
    [
        ("clip_id", _TEXT),
        ("path", _TEXT),
        ("verdict", _TEXT),
        ("message", _TEXT),
        ("bytes", pa.int64()),  # of the file, or of the member of a tar
        ("duration_s", _REAL),  # of the video, by its packets
        ("stated_s", _REAL),  # as the table states it
    ]
)


def main() -> None:
    """Entry point of the verb."""
    compose("verify_source", _verify)


def _verify(config: Any) -> None:
    run_in_folder(config, "curation.commands.verify_source")
    folder = Path(config.run_dir)
    say_verdicts(read_json(folder / DONE)["summary"]["verdicts"], folder)


def inputs(config: Any) -> dict[str, str]:
    """Digests of the source's tables and of the sizes and times of change of its files."""
    return source_inputs(plain(config.source), check_files=True)


def run(config: Any, folder: Path) -> dict[str, Any]:
    """Verify the source of `config` and return how many rows there are of each verdict.

    Raises:
        InputError: the source as a whole cannot be used.
        FailedShareError: a larger share than `max_failed_share` is not ok; the tables are written.
    """
    source = plain(config.source)
    given = read_json(folder / "run.json")["inputs"]
    listed = digest_rows(given, source, config.part_rows)
    if not listing.is_frozen(listed, folder):
        listing.freeze(read_clips(source), config.part_rows, True, listed, folder)
    work = functools.partial(
        verify_part, deep=config.deep, timeout_s=config.unit_timeout_s, folder=folder
    )
    seat = Seat(config.workers, config.unit_timeout_s, folder, listed)
    total = listing.count_clips(folder)
    with (
        open_engine(EngineSettings("local"), seat) as engine,
        progress("verify", total=total, unit="clips") as advance,
    ):
        for counts in engine.run(work, listing.parts(folder)):
            advance(counts["clips"])
    verdicts = _write(config.deep, config.tolerance_s, folder)
    bad = total - verdicts[OK]
    if bad > config.max_failed_share * total:
        say_verdicts(verdicts, folder)
        raise FailedShareError(
            f"{bad} of {total} clips are not ok, more than max_failed_share="
            f"{config.max_failed_share:g}; they are in {folder / REPORT}"
        )
    return {"clips": total, "verdicts": dict(verdicts)}


def verify_part(
    part: str, isolated: Isolated, *, deep: bool, timeout_s: float, folder: Path
) -> dict[str, Any]:
    """Look at the files of a part, unless that is done; what was too slow is tried again."""
    path = facts_path(part, deep, folder)
    clips = [clip for clip, _ in listing.read_part(part, folder)]
    if not is_settled(path, timeout_s, "verdict"):
        last, facts = None, {}
        rows = []
        for clip in clips:
            file = (clip.root, clip.path, clip.member)
            if clip.reason:
                last, facts = None, {"verdict": clip.reason, "message": clip.message}
            elif file != last:  # clips of one video follow each other
                last, facts = file, _isolated_facts(clip, isolated, deep)
            rows.append(facts)
        write_rows(path, rows, _FACTS, {"timeout_s": repr(timeout_s)})
    return {"clips": len(clips)}


def _isolated_facts(clip: Clip, isolated: Isolated, deep: bool) -> Row:
    try:
        return isolated(check_file, clip, deep)
    except MediaError as error:
        return {"verdict": error.reason, "message": str(error)}


def facts_path(part: str, deep: bool, folder: Path) -> Path:
    """Where it stands what the files of a part are."""
    return folder / f"verified-{VERSION}{'-deep' if deep else ''}" / f"{part}.parquet"


def judge(clip: Clip, facts: Row, tolerance_s: float) -> tuple[str, str | None]:
    """(verdict, message) of a row, from what its file is and what the table states."""
    if facts["verdict"]:
        return facts["verdict"], facts["message"]
    lasts = facts["duration_s"]
    if clip.stated_s is not None and abs(clip.stated_s - lasts) > tolerance_s:
        return OTHER_LENGTH, f"lasts {lasts:.2f} s, the table states {clip.stated_s:.2f} s"
    if clip.start_s >= lasts:
        return OTHER_LENGTH, f"lasts {lasts:.2f} s, the clip begins at {clip.start_s:.2f} s"
    if clip.end_s is not None and clip.end_s > lasts + tolerance_s:
        return OTHER_LENGTH, f"lasts {lasts:.2f} s, the clip ends at {clip.end_s:.2f} s"
    return OK, None


def _write(deep: bool, tolerance_s: float, folder: Path) -> Counter[str]:
    """Write both tables; count the verdicts."""
    verdicts: Counter[str] = Counter()
    with (
        atomic_path(folder / TABLE) as temporary,
        atomic_path(folder / REPORT) as temporary_report,
        temporary_report.open("w", encoding="utf-8", newline="", errors="backslashreplace") as file,
    ):
        writer = TableWriter(temporary, SCHEMA)
        report = _report(file)
        for part in listing.parts(folder):
            facts = read_rows(facts_path(part, deep, folder))
            clips = listing.read_part(part, folder)
            for (clip, _), known in zip(clips, facts, strict=True):
                verdict, message = judge(clip, known, tolerance_s)
                row = {
                    "clip_id": clip.clip_id,
                    "path": clip.path,
                    "verdict": verdict,
                    "message": message,
                    "bytes": known["bytes"],
                    "duration_s": known["duration_s"],
                    "stated_s": clip.stated_s,
                }
                verdicts[verdict] += 1
                writer.add([row])
                if verdict != OK:
                    report.writerow({name: csv_cell(value) for name, value in row.items()})
        writer.close()
    return verdicts


def _report(file: TextIO) -> "csv.DictWriter[str]":
    report = csv.DictWriter(file, SCHEMA.names, lineterminator="\n")
    report.writeheader()
    return report


def csv_cell(value: Any) -> str:
    """A value as a cell: never empty, and nothing that a spreadsheet would compute."""
    if isinstance(value, float):
        return f"{value:.3f}"
    text = "" if value is None else str(value)
    if not text.strip():
        return UNKNOWN
    return f"'{text}" if text.lstrip()[:1] in tuple("=+-@") or text[0] in "\t\r" else text


def say_verdicts(verdicts: dict[str, int], folder: Path) -> None:
    """Tell how many rows there are of each verdict, the frequent ones first."""
    total = sum(verdicts.values())
    rows = [("verdict", "clips", "share", "")]
    for verdict, count in sorted(
        verdicts.items(), key=lambda item: (item[0] != OK, -item[1], item[0])
    ):
        share = f"{100 * count / total:.2f} %"
        rows.append((verdict, str(count), share, MEANINGS.get(verdict, "a bad row of the table")))
    for line in table_lines(rows, "lrrl"):
        say(line)
    if total > verdicts.get(OK, 0):
        say(f"what is not ok, with reasons: {folder / REPORT}")
