"""The chain: a source → measured, decided, packed shards.

    listing/, inspect-1/, shots/, measures/    a file a part or piece, under a digest of its causes
    measures.parquet, decisions.parquet        all of it, a row a shot
    funnel.json, encoded/, pack/               what was dropped; videos; the plan of the shards
    dataset/train, dataset/test, dcp.csv       the result, with DATASHEET.md and croissant.json
    manifest.json, summary.json                its digests; counts and seconds

Every part is redone only if what it depends on has changed.
"""

import hashlib
from pathlib import Path
from typing import Any, TypeVar

from curation.engines import EngineSettings, Seat, open_engine
from curation.engines.slurm import rank_and_count
from curation.measures import MEASURES
from curation.passes import pack
from curation.passes.caption import CaptionSettings
from curation.passes.dcp_table import concatenate
from curation.passes.decide import DECISIONS, FUNNEL, STATED_CONFIDENCE
from curation.passes.encode import EncodeSettings
from curation.passes.filters import OPTED_OUT, Filters, refuse_absent
from curation.passes.gather import TABLE
from curation.passes.listing import stamp
from curation.passes.measure import MeasureSettings, Task, plan_task
from curation.passes.opted_out import OPT_OUT, read_ids, without_opted_out
from curation.passes.pack import Packing
from curation.passes.run import Passes
from curation.publish.croissant import write_croissant
from curation.publish.datasheet import write_datasheet
from curation.publish.logged import log_run
from curation.sources import read_clips, source_digest
from curation.tables import count_rows, digest_rows, iterate_batches, read_note
from dynamicrafter.command import say
from dynamicrafter.errors import FailedShareError
from dynamicrafter.files import read_json, sha256_file, sha256_json, write_json
from dynamicrafter.runs import RUN

Settings = TypeVar("Settings")

LISTED_BY_TABLE = ("table", "skycaptioner", "assets")
"""Kinds of sources whose own digest does not cover the files that they list."""


def inputs(config: Any) -> dict[str, str]:
    """Digests of what the result depends on besides the config."""
    source = plain(config.source)
    tasks, absent = plan_measures(config)
    found = {
        "source": source_digest(source),
        "measures": digest_rows([task.digest for task in tasks], sorted(absent)),
        "opt_out": digest_rows(sorted(_opted_out(config, Path(config.run_dir)))),
    }
    if config.list.check_files and source["kind"] in LISTED_BY_TABLE:
        files = hashlib.sha256()
        for clip in read_clips(source):
            files.update(f"{clip.path!r} {stamp(clip)}\n".encode())
        found["files"] = files.hexdigest()
    return found


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
    measure_settings = as_settings(MeasureSettings, config.measure)
    encode_settings = as_settings(EncodeSettings, config.encode)
    filters = as_settings(Filters, config.filters)
    captioner = as_settings(CaptionSettings, config.captioner)
    engine_settings = as_settings(EngineSettings, config.engine)
    source = plain(config.source)
    tasks, absent = plan_measures(config)
    refuse_absent(filters, [*_columns(tasks), STATED_CONFIDENCE], _reasons(absent))
    for name, reason in absent.items():
        say(f"measure {name} is absent: {reason}")

    begun = read_json(folder / RUN)
    given = begun["inputs"]  # what `inputs` found
    seat = Seat(config.workers, config.unit_timeout_s, folder, begun["digest"][:16])
    with open_engine(engine_settings, seat) as engine:
        passes = Passes(engine, folder, config.unit_timeout_s)
        listed = listing_digest(given, plain(config))
        opted_out = _opted_out(config, folder)
        clips = (without_opted_out(clip, opted_out) for clip in read_clips(source))
        passes.freeze(clips, config.list.part_rows, config.list.check_files, listed)
        passes.inspect()
        measured = passes.measure(measure_settings, tasks)
        passes.decide(measure_settings, tasks, absent, filters, opted_out)
        refuse_failed_share(config.max_failed_share, folder)
        encoded = passes.encode(encode_settings)
        jobs = passes.plan(encode_settings, int(config.pack.shard_megabytes * 2**20))
        packing = Packing(
            captioner=captioner,
            encode=encode_settings,
            digests={
                "measure": digest_rows([task.digest for task in tasks]),
                "encode": encode_settings.digest,
                "decide": digest_rows(plain(config.filters)),
                "captioner": digest_rows(plain(config.captioner)),
            },
            may_be_passed_on={source["name"]: source["media_may_be_passed_on"]},
        )
        passes.pack(jobs, packing)
        summary: dict[str, Any] = {}
        passes.finish(lambda: summary.update(_finish(jobs, packing, config, folder)))
    if not summary:  # another process leads
        return {}
    summary |= {
        "spans": {"all": measured["spans"], "measured_now": measured["measured"]},
        "encoded_now": encoded["encoded"],
        "absent": absent,
        "seconds": passes.seconds,
    }
    write_json(folder / "summary.json", summary)
    log_run(plain(config), folder, summary, source["media_may_be_passed_on"] or config.allow_media)
    return summary


def listing_digest(inputs: dict[str, str], config: dict[str, Any]) -> str:
    """Digest of what the listing depends on."""
    return digest_rows(*sorted(inputs.items()), config["list"], config["source"])


def plan_measures(config: Any) -> tuple[tuple[Task, ...], dict[str, str]]:
    """The measures to compute, and name → reason of those that are wanted and cannot be."""
    general = as_settings(MeasureSettings, config.measure)
    tasks, absent = [], {}
    for measure in MEASURES:
        section = plain(config.measures[measure.name])
        if not section.pop("use"):
            continue
        settings = as_settings(measure.settings, section) if measure.settings else None
        if reason := measure.absent(settings):
            absent[measure.name] = reason
        else:
            tasks.append(plan_task(measure, settings, general))
    return tuple(tasks), absent


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
    jobs: dict[str, list[pack.PackJob]], packing: Packing, config: Any, folder: Path
) -> dict[str, Any]:
    """Declare the dataset whole, write its papers; the part of the summary that is the result."""
    dataset = {}
    for split in pack.SPLITS:
        of_split = digest_rows(packing.digest, plain(config.pack), split)
        dataset[split] = pack.finish_split(split, jobs[split], of_split, folder)
    parts = [
        pack.entry_of(job, folder).with_suffix(".csv")
        for split in pack.SPLITS
        for job in jobs[split]
    ]
    concatenate(folder / "dcp.csv", parts)
    funnel = read_json(folder / FUNNEL)
    digests = {
        **{split: dataset[split]["root_digest"] for split in pack.SPLITS},
        **{name: sha256_file(folder / name) for name in (DECISIONS, FUNNEL, "dcp.csv")},
        TABLE: read_note(folder / TABLE, "content"),
    }
    write_json(folder / "manifest.json", {"digests": digests, "root_digest": sha256_json(digests)})
    summary = {
        "rows": count_rows(folder / TABLE),
        "kept": funnel["kept"],
        "reasons": funnel["reasons"],
        "dataset": dataset,
        "root_digest": sha256_json(digests),
        "media_may_be_passed_on": bool(config.source.media_may_be_passed_on),
    }
    write_datasheet(folder, plain(config), summary)
    write_croissant(folder, plain(config), summary)
    return summary


def _opted_out(config: Any, folder: Path) -> frozenset[str]:
    own = folder / OPT_OUT
    return read_ids(config.opt_out) | (read_ids(own) if own.exists() else frozenset())


def _columns(tasks: tuple[Task, ...]) -> list[str]:
    return [name for task in tasks for name in task.measure.columns]


def _reasons(absent: dict[str, str]) -> dict[str, str]:
    """Column → why its measure is absent."""
    return {
        column: reason
        for measure in MEASURES
        if (reason := absent.get(measure.name))
        for column in measure.columns
    }


def as_settings(kind: type[Settings], section: Any) -> Settings:
    """A section of the config as its dataclass; wrong names and types are errors of OmegaConf."""
    from omegaconf import OmegaConf

    return OmegaConf.to_object(OmegaConf.merge(OmegaConf.structured(kind), section))


def plain(section: Any) -> dict[str, Any]:
    """A section of the config as plain values."""
    from omegaconf import OmegaConf

    return OmegaConf.to_container(section, resolve=True, throw_on_missing=True)
