"""`dynamicrafter eval`: generated videos against real clips, under a named protocol.

Reads the held-out shards, other real shards and the run folder of `animate`; writes `results.json`,
`results.md` and, for the report, the first pairs of videos. A metric whose network cannot be had
keeps its row, without a value and with the loader's reason.
"""

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf

from dynamicrafter.command import choose_device
from dynamicrafter.errors import InputError
from dynamicrafter.files import inside, write_bytes
from dynamicrafter.media.encode import encode_mp4
from dynamicrafter.media.probe import probe
from dynamicrafter.shards import ShardReader, may_be_passed_on
from dynamicrafter.tracking import Run, open_run
from eval import measures, results, sources
from eval.extract import Store
from eval.protocols import Protocol, protocol
from eval.windows import Window, by_hash, generated_windows, real_windows


def inputs(config: DictConfig) -> dict[str, str]:
    """Digests of the videos and of the weights, which may also be absent."""
    return {
        "reference": ShardReader(config.reference).digest,
        "second_reference": ShardReader(config.second_reference).digest,
        "generated": sources.digest(sources.run_folder(config.generated, "animate", "generated")),
        "i3d": measures.i3d_digest(),
        "clip": measures.clip_digest(config.clip),
        "dreamsim": measures.ensemble_digest(config.dreamsim),
    }


def run(config: DictConfig, folder: Path) -> dict[str, Any]:
    """Evaluate and write the results into `folder`; return what the summary shows.

    `config`: conf/eval.yaml.

    Raises:
        InputError: inputs that are missing, do not belong together or do not suit the protocol.
    """
    chosen = protocol(OmegaConf.to_container(config.protocol, resolve=True))
    animate = sources.run_folder(config.generated, "animate", "generated")
    items = sources.document(animate / "items.json", ["settings", "items"])["items"]
    held_out, others = ShardReader(config.reference), ShardReader(config.second_reference)
    _refuse_common_clips(held_out, others)
    real, short = _windows(held_out, _keys(items, held_out), chosen.count, chosen, "generated")
    real.sort(key=lambda window: window.key)
    generated = generated_windows(animate, items, real, chosen)
    other, other_short = _windows(
        others, by_hash(others.keys), len(real), chosen, "second_reference"
    )
    dropped = _dropped("reference", short, chosen)
    dropped += _dropped("second_reference", other_short, chosen)
    prompts = {item["key"]: item["prompt"] for item in items}
    networks = measures.Networks(
        config.clip, config.clip_name, config.dreamsim, choose_device(config.device)
    )
    store = Store(Path(config.features), config.batch)
    rows = [
        *measures.distances(real, generated, other, chosen, networks, store),
        measures.conformity(real, generated, networks, store),
        measures.text_likeness(generated, [prompts[w.key] for w in real], networks, store),
        *measures.motion(real, generated, store),
    ]
    pairs = _keep_pairs(animate, items, real[: config.pairs], held_out, folder)
    results.write(folder, results.Results(chosen.settings(), rows, pairs, dropped))
    plain = OmegaConf.to_container(config, resolve=True)
    with open_run(config.tracking, folder, "eval", plain) as tracked:
        shown = [pair for pair in pairs if pair.may_be_passed_on or config.allow_media]
        _track(tracked, chosen, rows, shown, folder)
    return {
        "protocol": chosen.name,
        "videos": len(real),
        "dropped": len(dropped),
        "values": {row.metric: row.value for row in rows},
    }


def _keys(items: Sequence[dict[str, Any]], held_out: ShardReader) -> list[str]:
    """The keys of the generated videos, in the order in which clips are chosen."""
    keys = {item["key"] for item in items}
    strange = sorted(keys - set(held_out.keys))
    if strange:
        raise InputError(
            f"the generated video {strange[0]} starts from no clip of {held_out.folder} "
            f"({len(strange)} such); evaluate against the clips that were animated"
        )
    return by_hash(sorted(keys))


def _refuse_common_clips(held_out: ShardReader, others: ShardReader) -> None:
    shared = set(held_out.keys) & set(others.keys)
    if shared:
        raise InputError(
            f"the clip {min(shared)} is in {held_out.folder} and in {others.folder}; "
            "real against real needs two sets without a common clip"
        )


def _windows(
    reader: ShardReader, keys: Sequence[str], count: int | None, chosen: Protocol, setting: str
) -> tuple[list[Window], list[str]]:
    """The first `count` windows of the clips `keys`, and the keys that were too short for one.

    Raises:
        InputError: fewer than the protocol needs; `setting` is what has to name more clips.
    """
    windows, short = real_windows(reader, keys, chosen, count)
    needed = max(chosen.count or 0, 2)
    if len(windows) < needed:
        raise InputError(
            f"protocol {chosen.name} needs {needed} clips of {chosen.span} frames, {len(windows)} "
            f"of {len(keys)} in {reader.folder} have as many; name more with {setting}=FOLDER, "
            "or choose another protocol (protocol=demo takes any number)"
        )
    return windows, short


def _dropped(setting: str, keys: Sequence[str], chosen: Protocol) -> list[results.Dropped]:
    reason = f"shorter than the {chosen.span} frames of a window"
    return [results.Dropped(key, setting, reason) for key in keys]


def _keep_pairs(
    animate: Path,
    items: Sequence[dict[str, Any]],
    real: Sequence[Window],
    reader: ShardReader,
    folder: Path,
) -> list[results.Pair]:
    """Copy generated videos and write the real windows beside them, at the same frame rate."""
    by_key = {item["key"]: item for item in items}
    pairs = []
    for window in real:
        source = inside(animate, by_key[window.key]["video"])
        names = {kind: f"{kind}/{window.key}.mp4" for kind in ("real", "generated")}
        write_bytes(folder / names["generated"], source.read_bytes())
        write_bytes(folder / names["real"], encode_mp4(window.read(), probe(source).fps))
        free = may_be_passed_on(reader[reader.keys.index(window.key)].info)
        prompt = by_key[window.key]["prompt"]
        pairs.append(results.Pair(window.key, prompt, **names, may_be_passed_on=free))
    return pairs


def _track(
    tracked: Run,
    chosen: Protocol,
    rows: Sequence[results.Row],
    pairs: Sequence[results.Pair],
    folder: Path,
) -> None:
    values = {f"{chosen.name}/{row.metric}": row.value for row in rows if row.value is not None}
    tracked.log(0, values)
    columns = ("metric", "value", "low", "high", "samples", "network", "reliable", "reason")
    table = [
        [row.label, row.value, *(row.interval or (None, None)), results.counts(row), row.network,
         row.reliable, row.reason]
        for row in rows
    ]  # fmt: skip
    tracked.table("metrics", columns, table)
    for pair in pairs[:4]:
        tracked.video(f"generated/{pair.key}", folder / pair.generated, pair.prompt)
        tracked.video(f"real/{pair.key}", folder / pair.real, pair.prompt)
    tracked.summary({**values, "protocol": asdict(chosen), "protocol_digest": chosen.digest})
