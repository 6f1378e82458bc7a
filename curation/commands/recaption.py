"""`dynamicrafter curate recaption`: new motion captions for shards that exist.

    captions/, captions.parquet, quarantine.jsonl    as `curate` leaves them; a row a sample
    pack/<split>-<shard>.json and .csv               a shard that is written
    dataset/<split>/, dcp.csv                        the result
    manifest.json, summary.json                      its digests; counts and seconds

A sample keeps its video byte for byte, and what was said before under `previous` in its JSON.
"""

import functools
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from curation.captions.caption import caption_of
from curation.captions.media import sends_media
from curation.captions.models import closing_models, known_identity
from curation.captions.shards import new_info, shot_of_sample
from curation.captions.vlm import Captioner, Shot, VlmSettings, plan_captioner
from curation.engines import EngineSettings, Seat, open_engine
from curation.passes.caption import Outcomes, ask_missing, identity_for, tell
from curation.passes.captions import (
    CAPTIONS,
    QUARANTINED,
    CaptionTable,
    count_captions,
    count_unanswered,
    read_captions,
    refuse_unanswered,
)
from curation.passes.dcp_table import concatenate, dcp_row_of, write_dcp_csv
from curation.passes.run import Passes
from curation.pipeline import UNANSWERED, leads, unanswered_runs
from curation.publish.infos import parse_info, shard_folders
from curation.publish.logged import log_captions
from curation.recipe import as_settings, plain, read_captioner
from curation.tables import Row, digest_rows
from dynamicrafter.command import command
from dynamicrafter.errors import InputError
from dynamicrafter.files import atomic_path, read_json, sha256_file, sha256_json, write_json
from dynamicrafter.media.isolation import Isolated
from dynamicrafter.runs import RUN
from dynamicrafter.shards import Sample, ShardReader, may_be_passed_on, write_manifest, write_shard
from dynamicrafter.shards.writer import index_path_of

VERSION = 1
"""Raised when the same samples and captions shall give other shards."""

__all__ = ["inputs", "leads", "main", "run"]

main = command("recaption", "curation.commands.recaption")


@dataclass(frozen=True)
class ShardJob:
    """A shard of the dataset, and the numbers of its samples among all."""

    dataset: Path  # the shard folder
    number: int
    file: str
    sha256: str
    first: int
    count: int

    @property
    def split(self) -> str:
        """Name of the shard folder."""
        return self.dataset.name

    @property
    def piece(self) -> str:
        """Under which its outcomes are filed: by content."""
        return self.sha256[:16]


def inputs(config: Any) -> dict[str, str]:
    """Digests of what the result depends on besides the config."""
    folders = shard_folders(Path(config.dataset), list(config.splits))
    return {
        "dataset": digest_rows([[one.name, ShardReader(one).digest] for one in folders]),
        "captioner": _captioner(config).digest,
        "unanswered": str(unanswered_runs(Path(config.run_dir))),
    }


def run(config: Any, folder: Path) -> dict[str, Any]:
    """Caption the samples of `config.dataset` anew, into `folder`, and return the summary.

    Raises:
        InputError: the shards or a setting cannot be used, or pictures may not leave this machine.
        FailedShareError: too many clips got no answer; nothing is packed.
    """
    captioner = _captioner(config)
    folders = shard_folders(Path(config.dataset), list(config.splits))
    if any(one.resolve() == (folder / "dataset" / one.name).resolve() for one in folders):
        raise InputError(f"run_dir={folder} holds the dataset itself; choose another run_dir")
    jobs = list(_jobs(folders))
    total = sum(job.count for job in jobs)
    begun = read_json(folder / RUN)
    seat = Seat(config.workers, config.unit_timeout_s, folder, begun["digest"][:16])
    refuse = sends_media(captioner.settings) and not config.allow_media
    with open_engine(as_settings(EngineSettings, config.engine), seat) as engine:
        passes = Passes(engine, folder, config.unit_timeout_s)
        ask = functools.partial(caption_shard, captioner=captioner, refuse=refuse, folder=folder)
        with closing_models():
            captioned = passes.each("caption", ask, jobs, total, "clips")
        tell(captioned)
        passes.lead("captions", lambda: _gather(jobs, captioner, folder))
        refuse_unanswered(captioner.settings.max_unanswered_share, folder / CAPTIONS)
        write = functools.partial(
            pack_shard, digest=captioner.digest, keeps=_keeps(captioner), folder=folder
        )
        passes.each("pack", write, jobs, total, "clips")
        summary: dict[str, Any] = {}
        passes.lead("finish", lambda: summary.update(_finish(jobs, folders, folder)))
    if not summary:  # another process leads
        return {}
    now = {name: count for name, count in captioned.items() if name != "clips"}
    summary |= {"captioned_now": now, "seconds": passes.seconds}
    write_json(folder / "summary.json", summary)
    log_captions(plain(config), folder, summary)
    return summary


def caption_shard(
    job: ShardJob, isolated: Isolated, *, captioner: Captioner, refuse: bool, folder: Path
) -> Counter[str]:
    """Ask about the samples of a shard that have no outcome yet.

    Args:
        job: the shard.
        isolated: for decoding.
        captioner: who words the questions.
        refuse: do not send pictures of sources that do not say that they may be passed on.
        folder: the run folder.
    """
    reader = ShardReader(job.dataset)
    identity = identity_for(captioner, folder)
    found = _outcomes(captioner, identity, folder)
    there = found.find(job.piece)
    missing = {}
    for key, number, info in _infos(job, reader):
        shot = shot_of_sample(info, reader.entry(number))
        name = found.name((key, shot))
        if name in there:
            continue
        if refuse and not may_be_passed_on(info):
            raise InputError(
                f"captioner.client.servers lie on other machines, and sample {key} does not say "
                "that its media may be passed on; if the servers are yours, pass allow_media=true"
            )
        missing[name] = replace(shot, video=functools.partial(_video, reader, number))
    counts = ask_missing({job.piece: missing}, captioner, identity, found, isolated)
    return Counter(clips=job.count) + counts


def pack_shard(
    job: ShardJob, isolated: Isolated, *, digest: str, keeps: bool, folder: Path
) -> dict[str, Any]:
    """Write a shard with its new captions, unless it is there as it would be written.

    Args:
        job: the shard.
        isolated: not needed; nothing is decoded.
        digest: of the captioner, noted in every sample.
        keeps: whether samples without a good caption stay, with the wording `none`.
        folder: the run folder.
    """
    said = read_captions(job.first, job.first + job.count - 1, folder / CAPTIONS)
    own = digest_rows(VERSION, job.sha256, digest, keeps, sorted(said.items()))
    entry_path, target = _entry_path(job, folder), folder / "dataset" / job.split / job.file
    counts = {"clips": job.count}
    if _is_packed(entry_path, target, own):
        return counts
    staying = {number: row for number, row in said.items() if keeps or row["reason"] is None}
    dcp: list[Row] = []
    entry = write_shard(target, _samples(job, staying, digest, dcp)) if staying else None
    if entry is None:
        target.unlink(missing_ok=True)
        index_path_of(target).unlink(missing_ok=True)
    write_dcp_csv(entry_path.with_suffix(".csv"), dcp)
    write_json(entry_path, {"digest": own, "entry": entry})
    return counts


def _captioner(config: Any) -> Captioner:
    settings = read_captioner(config.captioner)
    if not isinstance(settings, VlmSettings):
        raise InputError(
            f"captioner={settings.name} looks at measures, which `curate` has; recaption takes "
            "vlm, vlm_text or vlm_engine"
        )
    return plan_captioner(settings, "")


def _keeps(captioner: Captioner) -> bool:
    return captioner.settings.on_failure == "keep"


def _jobs(folders: list[Path]) -> Iterator[ShardJob]:
    first = 0
    for folder in folders:
        for number, shard in enumerate(ShardReader(folder).manifest["shards"]):
            own = (shard["file"], shard["sha256"], first, shard["samples"])
            yield ShardJob(folder, number, *own)
            first += shard["samples"]


def _infos(job: ShardJob, reader: ShardReader) -> Iterator[tuple[str, int, dict[str, Any]]]:
    """(key, number in the reader, JSON) of each sample of a shard."""
    start = reader.start_of(job.number)
    for place, key in enumerate(reader.index(job.number).keys.to_pylist()):
        data = reader.info_bytes(start + place)
        yield key, start + place, parse_info(data, key, job.dataset / job.file)


def _video(reader: ShardReader, number: int) -> bytes:
    return reader[number].video


def _outcomes(captioner: Captioner, identity: str | None, folder: Path) -> Outcomes:
    def name(clip: tuple[str, Shot]) -> str:
        key, shot = clip
        return digest_rows(key, shot.looked_at(captioner))

    return Outcomes(digest_rows(captioner.digest, identity), name, folder)


def _gather(jobs: list[ShardJob], captioner: Captioner, folder: Path) -> None:
    found = _outcomes(captioner, known_identity(captioner.settings, folder), folder)
    with (
        atomic_path(folder / CAPTIONS) as temporary,
        atomic_path(folder / QUARANTINED) as quarantine,
    ):
        table = CaptionTable(temporary, quarantine)
        readers = {job.dataset: ShardReader(job.dataset) for job in jobs}
        for job in jobs:
            reader, there = readers[job.dataset], found.find(job.piece)
            start = reader.start_of(job.number)
            for key, number, info in _infos(job, reader):
                shot = shot_of_sample(info, reader.entry(number))
                said = there.get(found.name((key, shot)))
                table.add(job.first + number - start, key, shot.caption, said)
        table.close()


def _samples(job: ShardJob, said: dict[int, Row], digest: str, dcp: list[Row]) -> Iterator[Sample]:
    reader = ShardReader(job.dataset)
    start = reader.start_of(job.number)
    for row, columns in sorted(said.items()):
        number = start + row - job.first
        sample, caption = reader[number], caption_of(columns)
        info = new_info(sample, reader.entry(number), caption, digest)
        dcp.append(dcp_row_of(sample.key, info))
        yield Sample(sample.key, sample.video, caption.dynamic_wording, info)


def _entry_path(job: ShardJob, folder: Path) -> Path:
    return folder / "pack" / f"{job.split}-{Path(job.file).stem}.json"


def _is_packed(entry_path: Path, target: Path, digest: str) -> bool:
    try:
        known = read_json(entry_path)
        size = known["entry"]["bytes"] if known["entry"] else None
        is_there = target.stat().st_size == size if target.exists() else size is None
        index_is_there = size is None or index_path_of(target).exists()
        csv = entry_path.with_suffix(".csv").exists()
        return known["digest"] == digest and is_there and index_is_there and csv
    except (InputError, OSError, KeyError, TypeError):
        return False


def _finish(jobs: list[ShardJob], folders: list[Path], folder: Path) -> dict[str, Any]:
    """Declare the dataset whole; the part of the summary that is the result."""
    dataset = {}
    for one in folders:
        entries = [
            read_json(_entry_path(job, folder))["entry"] for job in jobs if job.dataset == one
        ]
        shards = [entry for entry in entries if entry]
        target = folder / "dataset" / one.name
        config_digest = digest_rows("recaption", VERSION, ShardReader(one).digest)
        manifest = write_manifest(target, shards, config_digest)
        dataset[one.name] = {
            "samples": manifest["samples"],
            "shards": len(shards),
            "bytes": sum(shard["bytes"] for shard in shards),
            "root_digest": manifest["root_digest"],
        }
    concatenate(folder / "dcp.csv", [_entry_path(job, folder).with_suffix(".csv") for job in jobs])
    digests = {name: own["root_digest"] for name, own in dataset.items()}
    digests["dcp.csv"] = sha256_file(folder / "dcp.csv")
    write_json(folder / "manifest.json", {"digests": digests, "root_digest": sha256_json(digests)})
    unanswered = count_unanswered(folder / CAPTIONS)
    if unanswered:  # then the same command has something to do
        write_json(folder / UNANSWERED, {"runs": unanswered_runs(folder) + 1})
    return {
        "captions": {**count_captions(folder / CAPTIONS), "unanswered": unanswered},
        "dataset": dataset,
        "root_digest": sha256_json(digests),
    }


if __name__ == "__main__":
    main()
