"""The passes, one after the other, over whatever engine: each is a pure function over small jobs.

list → inspect → measure → gather → decide → encode → caption → plan → pack → finish

What is a function of one job runs on every process of the engine; the rest only on the one that
leads, while the others wait for it. A pass that finds its results there computes nothing,
so a run that was stopped anywhere goes on where it was.
"""

import functools
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from curation.captions.models import closing_models
from curation.clip import Clip
from curation.engines import Engine, Work
from curation.passes import listing, pack
from curation.passes.caption import AnySettings, caption_jobs, caption_pieces, tell
from curation.passes.captions import gather_captions
from curation.passes.decide import decide, kept_rows, withdraw
from curation.passes.encode import EncodeJob, EncodeSettings, encode_piece
from curation.passes.filters import SPLITS, Filters
from curation.passes.gather import PIECES, gather, iterate_pieces
from curation.passes.inspect import inspect_part
from curation.passes.measure import MeasureSettings, Task, measure_piece
from curation.passes.pack import Packing, PackJob
from curation.tables import iterate_rows
from dynamicrafter.progress import progress


@dataclass
class Passes:
    """A run: its engine, its folder, and how long what took."""

    engine: Engine
    folder: Path
    timeout_s: float
    seconds: dict[str, float] = field(default_factory=dict)

    def freeze(self, clips: Iterable[Clip], part_rows: int, check_files: bool, digest: str) -> None:
        """Freeze the rows of the source."""

        def work() -> None:
            if not listing.is_frozen(digest, self.folder):
                listing.freeze(clips, part_rows, check_files, digest, self.folder)

        self.lead("list", work)

    def inspect(self) -> None:
        """Find out what the files are."""
        work = functools.partial(inspect_part, timeout_s=self.timeout_s, folder=self.folder)
        total = listing.count_clips(self.folder)
        self.each("inspect", work, listing.parts(self.folder), total, "clips")

    def measure(self, settings: MeasureSettings, tasks: tuple[Task, ...]) -> Counter[str]:
        """Cut into shots and measure."""
        work = functools.partial(
            measure_piece,
            settings=settings,
            tasks=tasks,
            timeout_s=self.timeout_s,
            folder=self.folder,
        )
        total = sum(len(piece.spans) for piece in iterate_pieces(settings, self.folder))
        pieces = iterate_pieces(settings, self.folder)
        return self.each("measure", work, pieces, total, "spans")

    def decide(
        self,
        settings: MeasureSettings,
        tasks: tuple[Task, ...],
        absent: dict[str, str],
        filters: Filters,
        opted_out: frozenset[str],
    ) -> None:
        """Gather all measures and apply the thresholds."""

        def work() -> None:
            gather(settings, tasks, absent, self.folder)
            decide(filters, opted_out, self.folder)

        self.lead("decide", work)

    def encode(self, settings: EncodeSettings) -> Counter[str]:
        """Encode what stays."""
        work = functools.partial(encode_piece, settings=settings, folder=self.folder)
        total = sum(1 for _ in kept_rows(self.folder))
        return self.each("encode", work, self._encode_jobs(), total, "clips")

    def caption(self, settings: AnySettings, encode: EncodeSettings) -> Counter[str]:
        """Say what moves in what stays; what gets no good caption is left out."""
        work = functools.partial(
            caption_pieces, settings=settings, encode=encode, folder=self.folder
        )
        total = sum(1 for _ in kept_rows(self.folder))
        with closing_models():
            counts = self.each("caption", work, caption_jobs(self._encode_jobs()), total, "clips")
        tell(counts)

        def gather() -> None:
            withdrawn = gather_captions(settings, encode, self.folder)
            if withdrawn:
                withdraw(withdrawn, self.folder)

        self.lead("captions", gather)
        return counts

    def plan(self, settings: EncodeSettings, shard_bytes: int) -> dict[str, list[PackJob]]:
        """Freeze which clip lies in which shard."""

        def work() -> None:
            failed = pack.make_plan(settings, self.folder)
            if failed:
                withdraw(failed, self.folder)

        self.lead("plan", work)
        return {split: pack.plan_shards(split, shard_bytes, self.folder) for split in SPLITS}

    def pack(self, jobs: dict[str, list[PackJob]], packing: Packing) -> None:
        """Write the shards."""
        work = functools.partial(pack.pack_shard, packing=packing, folder=self.folder)
        everything = [job for split in SPLITS for job in jobs[split]]
        total = sum(job.stop - job.first for job in everything)
        self.each("pack", work, everything, total, "samples")

    def finish(self, work: Callable[[], None]) -> None:
        """Declare the result whole."""
        self.lead("finish", work)

    def each(
        self, name: str, work: Work, jobs: Iterable[Any], total: int, unit: str
    ) -> Counter[str]:
        """Run a work on every job; returns the sums of their counts."""
        began = time.monotonic()
        sums: Counter[str] = Counter()
        with progress(name, total=total, unit=unit) as advance:
            for counts in self.engine.run(work, jobs):
                sums.update(counts)
                advance(counts[unit])
        self.engine.meet(name)
        self.seconds[name] = round(time.monotonic() - began, 2)
        return sums

    def lead(self, name: str, work: Callable[[], None]) -> None:
        """Let one process do a work, and note how long it took."""
        began = time.monotonic()
        self.engine.lead(name, work)
        self.seconds[name] = round(time.monotonic() - began, 2)

    def _encode_jobs(self) -> Iterator[EncodeJob]:
        rows = kept_rows(self.folder)
        index = next(rows, None)
        for piece in iterate_rows(self.folder / PIECES):
            kept = []
            while index is not None and index[0] < piece["first"] + piece["rows"]:
                kept.append(index[0] - piece["first"])
                index = next(rows, None)
            if kept:
                yield EncodeJob(piece["piece"], piece["first"], tuple(kept))
