"""The chain: a source → measured, decided, packed shards.

    listing/, inspect-1/, shots/, measures/    a file a part or piece, under a digest of its causes
    measures.parquet, decisions.parquet        all of it, a row a shot
    funnel.json, encoded/, pack/               what was dropped; videos; the plan of the shards
    captions/, captions.parquet                what is said of each clip, and what was refused
    dataset/train, dataset/test, dcp.csv       the result, with DATASHEET.md and croissant.json
    manifest.json, summary.json                its digests; counts and seconds

Every part is redone only if what it depends on has changed.
"""

from pathlib import Path
from typing import Any

from curation.captions.media import refuse_to_send
from curation.captions.vlm import VlmSettings
from curation.engines import EngineSettings, Seat, open_engine
from curation.engines.slurm import rank_and_count
from curation.passes import pack
from curation.passes.captions import (
    CAPTIONS,
    count_captions,
    count_unanswered,
    refuse_unanswered,
)
from curation.passes.dcp_table import concatenate
from curation.passes.decide import DECISIONS, FUNNEL
from curation.passes.filters import OPTED_OUT, SPLITS
from curation.passes.gather import TABLE
from curation.passes.listing import source_inputs
from curation.passes.opted_out import OPT_OUT, read_ids, without_opted_out
from curation.passes.run import Passes
from curation.publish.croissant import write_croissant
from curation.publish.datasheet import write_datasheet
from curation.publish.logged import log_run
from curation.recipe import Recipe, as_settings, plain, read_recipe
from curation.sources import read_clips
from curation.tables import count_rows, digest_rows, iterate_batches, read_note
from dynamicrafter.errors import FailedShareError
from dynamicrafter.files import read_json, sha256_file, sha256_json, write_json
from dynamicrafter.runs import RUN

OF_THE_CAPTIONS = ("captioner", "unanswered")
"""Inputs that no pass before the captions looks at."""

UNANSWERED = "captions/unanswered.json"
"""In a run folder: how many of its runs left clips without an answer."""


def inputs(config: Any) -> dict[str, str]:
    """Digests of what the result depends on besides the config."""
    recipe = read_recipe(config)
    return {
        **source_inputs(plain(config.source), config.list.check_files),
        "measures": recipe.measures_digest,
        "captioner": recipe.captioner_digest,
        "unanswered": str(unanswered_runs(Path(config.run_dir))),
        "opt_out": digest_rows(sorted(_opted_out(config, Path(config.run_dir)))),
    }


def leads(config: Any) -> bool:
    """Whether this process holds the run folder: of the ranks of a Slurm array the first."""
    return config.engine.name != "slurm" or rank_and_count()[0] == 0


def run(config: Any, folder: Path) -> dict[str, Any]:
    """Curate the source of `config` into `folder` and return the summary.

    Raises:
        InputError: the source or a setting cannot be used.
        FailedShareError: more clips than `max_failed_share` allows could not be read; what was
            measured stays, nothing is packed.
    """
    recipe = read_recipe(config)
    recipe.check_absent()

    source = plain(config.source)
    refuse_to_send(recipe.captioner, recipe.may_be_passed_on, config.allow_media)
    begun = read_json(folder / RUN)
    seat = Seat(config.workers, config.unit_timeout_s, folder, begun["digest"][:16])
    with open_engine(as_settings(EngineSettings, config.engine), seat) as engine:
        passes = Passes(engine, folder, config.unit_timeout_s)
        opted_out = _opted_out(config, folder)
        clips = (without_opted_out(clip, opted_out) for clip in read_clips(source))
        listed = listing_digest(begun["inputs"], plain(config))
        passes.freeze(clips, recipe.part_rows, recipe.check_files, listed)
        passes.inspect()
        measured = passes.measure(recipe.measure, recipe.tasks)
        passes.decide(recipe.measure, recipe.tasks, recipe.absent, recipe.filters, opted_out)
        refuse_failed_share(config.max_failed_share, folder)
        encoded = passes.encode(recipe.encode)
        captioned = passes.caption(recipe.captioner, recipe.encode)
        if isinstance(recipe.captioner, VlmSettings):
            refuse_unanswered(recipe.captioner.max_unanswered_share, folder / CAPTIONS)
        jobs = passes.plan(recipe.encode, recipe.shard_bytes)
        passes.pack(jobs, recipe.packing)
        summary: dict[str, Any] = {}
        passes.finish(lambda: summary.update(_finish(jobs, recipe, config, folder)))
    if not summary:  # another process leads
        return {}
    summary |= {
        "spans": {"all": measured["spans"], "measured_now": measured["measured"]},
        "encoded_now": encoded["encoded"],
        "captioned_now": {name: count for name, count in captioned.items() if name != "clips"},
        "absent": recipe.absent,
        "seconds": passes.seconds,
    }
    write_json(folder / "summary.json", summary)
    log_run(plain(config), folder, summary, source["media_may_be_passed_on"] or config.allow_media)
    return summary


def listing_digest(inputs: dict[str, str], config: dict[str, Any]) -> str:
    """Digest of what the listing depends on."""
    own = {name: digest for name, digest in inputs.items() if name not in OF_THE_CAPTIONS}
    return digest_rows(*sorted(own.items()), config["list"], config["source"])


def refuse_failed_share(limit: float, folder: Path) -> None:
    """Stop if too many clips could not be read.

    Raises:
        FailedShareError: they are more than `limit` of all.
    """
    failed = total = 0
    last, broken = None, False
    for batch in iterate_batches(folder / TABLE, columns=["clip_id", "frames", "reason"]):
        columns = [column.to_pylist() for column in batch.columns]
        for clip, frames, reason in zip(*columns, strict=True):
            if clip != last:  # the shots of a clip follow each other
                total, last, broken = total + 1, clip, False
            if frames is None and reason != OPTED_OUT and not broken:
                failed, broken = failed + 1, True
    if failed > limit * total:
        raise FailedShareError(
            f"{failed} of {total} clips could not be read, more than max_failed_share={limit:g}; "
            f"the reasons are in {folder / DECISIONS}"
        )


def _finish(
    jobs: dict[str, list[pack.PackJob]], recipe: Recipe, config: Any, folder: Path
) -> dict[str, Any]:
    """Declare the dataset whole, write its papers; the part of the summary that is the result."""
    dataset = {}
    for split in SPLITS:
        of_split = digest_rows(recipe.packing.digest, recipe.shard_bytes, split)
        dataset[split] = pack.finish_split(split, jobs[split], of_split, folder)
    parts = [
        pack.entry_of(job, folder).with_suffix(".csv") for split in SPLITS for job in jobs[split]
    ]
    concatenate(folder / "dcp.csv", parts)
    funnel = read_json(folder / FUNNEL)
    digests = {
        **{split: dataset[split]["root_digest"] for split in SPLITS},
        **{name: sha256_file(folder / name) for name in (DECISIONS, FUNNEL, "dcp.csv")},
        TABLE: read_note(folder / TABLE, "content"),
    }
    write_json(folder / "manifest.json", {"digests": digests, "root_digest": sha256_json(digests)})
    summary = {
        "rows": count_rows(folder / TABLE),
        "kept": funnel["kept"],
        "reasons": funnel["reasons"],
        "captions": count_captions(folder / CAPTIONS),
        "dataset": dataset,
        "root_digest": sha256_json(digests),
        "media_may_be_passed_on": bool(config.source.media_may_be_passed_on),
    }
    if count_unanswered(folder / CAPTIONS):  # then the same command has something to do
        write_json(folder / UNANSWERED, {"runs": unanswered_runs(folder) + 1})
    write_datasheet(folder, plain(config), summary)
    write_croissant(folder, plain(config), summary)
    return summary


def unanswered_runs(folder: Path) -> int:
    """How many runs of a folder left clips without an answer, which the next one asks about."""
    path = folder / UNANSWERED
    return read_json(path)["runs"] if path.exists() else 0


def _opted_out(config: Any, folder: Path) -> frozenset[str]:
    own = folder / OPT_OUT
    return read_ids(config.opt_out) | (read_ids(own) if own.exists() else frozenset())
