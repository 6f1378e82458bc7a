"""`dynamicrafter eval select`: the samples of a benchmark under a protocol, with their images.

In the run folder:
    selection.csv     one line a sample, see selection.py; any run takes it back (selection=FILE)
    items.csv         the same for `animate`
    images/           condition images: the first frames of the windows
    integrity.json    what was checked and found, also as .md
    records/          what is known of each video that was tried
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf

from dynamicrafter.command import say
from dynamicrafter.errors import InputError
from eval.benchmarks.catalogue import Entry
from eval.benchmarks.choice import Queue, fill, queues, samples_of
from eval.benchmarks.cutting import Job, Rule, cut_all, share_image
from eval.benchmarks.given import given_inputs, take_over
from eval.benchmarks.integrity import Report, doubled, header, without_damaged
from eval.benchmarks.readers import read_benchmark
from eval.benchmarks.selection import Chosen, write_items, write_selection
from eval.protocols import Protocol, protocol


def inputs(config: DictConfig) -> dict[str, str]:
    """Digests of what was read, and of names, sizes and times of the files."""
    if config.selection is not None:
        return given_inputs(config)
    return {"benchmark": read_benchmark(config.benchmark).digest}


def run(config: DictConfig, folder: Path) -> dict[str, Any]:
    """Select into `folder`; return what the summary shows.

    `config`: conf/eval_select.yaml.

    Raises:
        InputError: settings or a selection that cannot be used; an incomplete benchmark or too few
            videos, unless they are allowed.
    """
    rule = Rule(protocol(OmegaConf.to_container(config.protocol, resolve=True)), config.short)
    if config.selection is None:
        rows, report = _choose(config, rule, folder)
    else:
        rows, report = take_over(config, rule, folder)
    _remove_other_images(folder, {row.key for row in rows})
    write_selection(folder / "selection.csv", rows)
    write_items(folder / "items.csv", rows)
    report.write(folder)
    say(f"{len(rows)} samples: {(folder / 'selection.csv').resolve()}")
    return {
        "benchmark": config.benchmark.name,
        "protocol": rule.protocol.name,
        **report.outcome,
        "complete": not report.lacks,
        "allow_incomplete": config.allow_incomplete,
    }


def _choose(config: DictConfig, rule: Rule, folder: Path) -> tuple[list[Chosen], Report]:
    catalogue = read_benchmark(config.benchmark)
    entries, damaged = catalogue.entries, []
    if catalogue.has_videos:
        entries, damaged = without_damaged(catalogue)
    findings = {"corrupt": damaged, "doubled": doubled(catalogue.root, entries)}
    report = Report(
        header(config, rule.protocol, catalogue.root),
        catalogue.counts,
        {**catalogue.findings, **findings, "too_short": [], "wrong_count": []},
    )
    report.refuse_incomplete(folder)
    lines = queues(catalogue, entries, rule.protocol)
    _check_enough(lines, lambda line: len(line.entries), config, rule.protocol)
    records: dict[str, dict[str, Any]] = {}

    def are_good(block: list[Entry]) -> list[bool]:
        jobs = [Job(one.key, catalogue.root / one.file, catalogue.has_videos) for one in block]
        found = cut_all(jobs, rule, folder, config.workers, config.timeout_s)
        for entry, record in zip(block, found, strict=True):
            records[entry.key] = record
            _put_on_report(report, entry, record)
        return ["reason" not in record for record in found]

    fill(lines, are_good)
    report.outcome = {"videos": sum(len(line.good) for line in lines), "tried": len(records)}
    report.refuse_incomplete(folder)
    _check_enough(lines, lambda line: len(line.good), config, rule.protocol)
    chosen = {one.key for line in lines for one in line.good}
    rows = []
    for entry in entries:
        if entry.key in chosen:
            rows += _rows(entry, records[entry.key], catalogue.has_videos, rule.protocol, folder)
    report.outcome |= {"samples": len(rows), "dropped": len(report.dropped)}
    return rows, report


def _put_on_report(report: Report, entry: Entry, record: Mapping[str, Any]) -> None:
    if "reason" in record:
        reason, detail = record["reason"], record["detail"]
        kind, why = ("too_short", detail) if reason == "too_short" else ("corrupt", reason)
        report.findings[kind].append(f"{entry.file}: {why}")
        report.dropped.append({"video": entry.file, "reason": reason, "detail": detail})
    if record.get("frames") != record.get("stated_frames"):
        frames, stated = record["frames"], record["stated_frames"]
        report.findings["wrong_count"].append(f"{entry.file}: {frames}, not {stated}")


def _check_enough(
    lines: Sequence[Queue], there_are: Callable[[Queue], int], config: DictConfig, chosen: Protocol
) -> None:
    """Refuse too few videos, unless they are allowed, and more than a protocol of all of them."""
    if chosen.choice == "all" and chosen.count is not None:
        lines = [replace(line, need=chosen.count) for line in lines]
        if there_are(lines[0]) > chosen.count:
            raise InputError(
                f"protocol {chosen.name} is about all of {chosen.count} videos, and there are "
                f"{there_are(lines[0])}; choose a protocol with choice=hash"
            )
    few = [line for line in lines if line.need is not None and there_are(line) < line.need]
    if few and not config.allow_incomplete:
        one = few[0]
        more = f", and too few of {len(few) - 1} other groups" if len(few) > 1 else ""
        raise InputError(
            f"protocol {chosen.name} takes {one.need} {one.name}, {there_are(one)} can be used"
            f"{more}; none is taken twice: choose a protocol that takes fewer, short=reduce_stride "
            "for short videos, or pass allow_incomplete=true, which the selection will say"
        )


def _rows(
    entry: Entry, record: Mapping[str, Any], has_video: bool, chosen: Protocol, folder: Path
) -> list[Chosen]:
    rows = [
        Chosen(
            key=key,
            video=entry.file if has_video else "",
            start_frame=record.get("start"),
            stride=record.get("stride", chosen.stride),
            frames=chosen.frames,
            fps=record.get("fps"),
            caption=words.caption,
            prompt=words.prompt,
            group=entry.group,
            sha256=record["sha256"],
        )
        for key, words in samples_of(entry, chosen)
    ]
    for row in rows:
        share_image(folder, entry.key, row.key)
    return rows


def _remove_other_images(folder: Path, keys: set[str]) -> None:
    """Take away what an earlier run with other settings left here."""
    for path in (folder / "images").glob("*.png"):
        if path.stem not in keys:
            path.unlink()
