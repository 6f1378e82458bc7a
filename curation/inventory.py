"""What the files of a source are: facts and content digest of each, kept for the next run."""

import math
from pathlib import Path
from typing import Any

from curation.engine import Failure, run_jobs
from curation.measure import Span
from curation.sources import Clip
from dynamicrafter.errors import InputError, MediaError
from dynamicrafter.files import read_json, sha256_file, write_json
from dynamicrafter.media.decode import check_size
from dynamicrafter.media.probe import probe

INVENTORY = "inventory.json"
LONGEST_S = 7 * 24 * 3600.0  # a week; a container that states more is damaged, or made to harm


def stamp(path: Path) -> list[int] | None:
    """Size and time of change of a file, which tell whether to look into it again; None: absent."""
    try:
        status = path.stat()
    except OSError:
        return None
    return [status.st_size, status.st_mtime_ns]


def inspect(path: Path) -> dict[str, Any]:
    """Facts of one file, or the reason why it cannot be used (MediaError)."""
    facts = probe(path)
    check_size(facts.width, facts.height)
    if not facts.duration_s <= LONGEST_S:
        raise MediaError("bad_duration", f"{path} states a duration of {facts.duration_s:g} s")
    return {
        "sha256": sha256_file(path),
        "fps": float(facts.fps),
        "frames": facts.frames,
        "duration_s": facts.duration_s,
        "codec": facts.codec,
        "width": facts.width,
        "height": facts.height,
    }


def take_inventory(
    clips: list[Clip], folder: Path, *, workers: int, timeout_s: float
) -> dict[str, dict[str, Any]]:
    """Path → its facts or {"reason", "message"}, and its `stamp`.

    Only files that changed are opened, and those that were too slow or made a worker crash.
    """
    from dynamicrafter.progress import progress

    try:
        known = read_json(folder / INVENTORY)
    except InputError:  # the first run in this folder
        known = {}
    paths = sorted({clip.path for clip in clips})
    stamps = {path: stamp(path) for path in paths}
    found = {
        str(path): facts
        for path in paths
        if (facts := known.get(str(path))) and _is_valid(facts, stamps[path])
    }
    pending = [path for path in paths if str(path) not in found]
    with progress("inspect", total=len(paths), unit="files", start=len(found)) as advance:
        try:
            for path, facts in run_jobs(inspect, pending, workers=workers, timeout_s=timeout_s):
                if isinstance(facts, Failure):
                    facts = {"reason": facts.reason, "message": facts.message}
                found[str(path)] = {**facts, "stamp": stamps[path]}
                advance(1)
        finally:  # an interrupted inspection keeps what it has
            write_json(folder / INVENTORY, found)
    return found


def _is_valid(facts: dict[str, Any], present: list[int] | None) -> bool:
    if facts["stamp"] != present:
        return False
    return "reason" not in facts or not Failure(facts["reason"], facts["message"]).transient


def plan_spans(clip: Clip, facts: dict[str, Any], span_s: float) -> list[Span]:
    """Divide a clip into spans; the last one is open, since stated durations are often short."""
    end_s = math.inf if clip.end_s is None else clip.end_s
    count = max(1, math.ceil((min(end_s, facts["duration_s"]) - clip.start_s) / span_s))
    borders = [clip.start_s + i * span_s for i in range(count)] + [end_s]
    return [
        Span(
            clip_id=clip.clip_id,
            path=str(clip.path),
            sha256=facts["sha256"],
            fps=facts["fps"],
            clip_start_s=clip.start_s,
            clip_end_s=end_s,
            start_s=borders[i],
            end_s=borders[i + 1],
        )
        for i in range(count)
    ]
