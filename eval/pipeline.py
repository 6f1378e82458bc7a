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

from dynamicrafter.errors import InputError
from dynamicrafter.files import inside, write_bytes
from dynamicrafter.media.encode import encode_mp4
from dynamicrafter.media.probe import probe
from dynamicrafter.shards import ShardReader
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
        "clip": measures.weights_digest(config.clip),
        "dreamsim": measures.weights_digest(config.dreamsim),
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
    real, short = real_windows(held_out, _keys(items, held_out, chosen), chosen)
    if len(real) < 2:
        raise InputError(
            f"{len(real)} of the clips in {config.reference} have {chosen.span} frames and a "
            f"generated video; protocol {chosen.name} needs 2 at least"
        )
    generated = generated_windows(animate, items, real, chosen)
    other = _other_set(held_out, others, len(real), chosen)
    prompts = {item["key"]: item["prompt"] for item in items}
    networks = measures.Networks(
        config.clip, config.clip_name, config.dreamsim, measures.device(config.device)
    )
    store = Store(Path(config.features), config.batch)
    rows = [
        *measures.distances(real, generated, other, chosen, networks, store),
        measures.conformity(real, generated, networks, store),
        measures.text_likeness(generated, [prompts[w.key] for w in real], networks, store),
        *measures.motion(real, generated, store),
    ]
    pairs = _keep_pairs(animate, items, real[: config.pairs], folder)
    results.write(folder, chosen.settings(), rows, pairs)
    plain = OmegaConf.to_container(config, resolve=True)
    with open_run(config.tracking, folder, "eval", plain) as tracked:
        _track(tracked, chosen, rows, pairs, folder)
    return {
        "protocol": chosen.name,
        "videos": len(real),
        "too_short": short,
        "values": {row.metric: row.value for row in rows},
    }


def _keys(items: Sequence[dict[str, Any]], held_out: ShardReader, chosen: Protocol) -> list[str]:
    """The keys to compare, sorted: all of them, or as many as the protocol asks for."""
    keys = [item["key"] for item in items]
    strange = sorted(set(keys) - set(held_out.keys))
    if strange:
        raise InputError(
            f"the generated video {strange[0]} starts from no clip of {held_out.folder} "
            f"({len(strange)} such); evaluate against the clips that were animated"
        )
    if chosen.count is not None and len(keys) < chosen.count:
        raise InputError(
            f"protocol {chosen.name} asks for {chosen.count} videos, there are {len(keys)}; "
            "animate more, or choose another protocol (protocol=demo takes any number)"
        )
    return sorted(by_hash(keys)[: chosen.count])


def _other_set(
    held_out: ShardReader, others: ShardReader, count: int, chosen: Protocol
) -> list[Window]:
    """As many windows of other real clips, chosen by a hash of their keys."""
    shared = set(held_out.keys) & set(others.keys)
    if shared:
        raise InputError(
            f"the clip {min(shared)} is in {held_out.folder} and in {others.folder}; "
            "real against real needs two sets without a common clip"
        )
    windows, _ = real_windows(others, by_hash(others.keys), chosen)
    if len(windows) < 2:
        raise InputError(
            f"{len(windows)} clips in {others.folder} have {chosen.span} frames; real against "
            "real needs 2 at least: name another set with second_reference=FOLDER"
        )
    return windows[:count]


def _keep_pairs(
    animate: Path, items: Sequence[dict[str, Any]], real: Sequence[Window], folder: Path
) -> list[results.Pair]:
    """Copy generated videos and write the real windows beside them, at the same frame rate."""
    by_key = {item["key"]: item for item in items}
    pairs = []
    for window in real:
        source = inside(animate, by_key[window.key]["video"])
        names = {kind: f"{kind}/{window.key}.mp4" for kind in ("real", "generated")}
        write_bytes(folder / names["generated"], source.read_bytes())
        write_bytes(folder / names["real"], encode_mp4(window.read(), probe(source).fps))
        pairs.append(results.Pair(window.key, by_key[window.key]["prompt"], **names))
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
