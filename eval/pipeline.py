"""`dynamicrafter eval`: generated videos against real ones, under a named protocol.

Reads the generated videos, the real side and, for real against real, other real videos; writes
`results.json`, `.md`, `.csv`, values by video, and `evaluation.html`. A metric whose network cannot
be had keeps its row, without a value and with the reason.
"""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import safetensors.numpy
from omegaconf import DictConfig, OmegaConf

from dynamicrafter import files
from dynamicrafter.errors import FailedShareError, InputError
from dynamicrafter.tracking import open_run
from eval import results, samples
from eval.extract import Features
from eval.inspection import Inspector
from eval.measures import Measured, distances, measured
from eval.methods import Method, first_of, open_method, other_sampling
from eval.networks import Absent, distance_network, networks_of
from eval.page import evaluation_page
from eval.pairs import keep_pairs
from eval.protocols import Protocol, protocol, shipped
from eval.samples import Compared, Sample
from eval.values import write_values
from eval.windows import Window


def inputs(config: DictConfig) -> dict[str, str]:
    """Digests of the videos and of the weights, which may also be absent."""
    chosen = protocol(OmegaConf.to_container(config.protocol, resolve=True))
    seen = networks_of(config)
    whole = {"distances": distance_network(chosen, config), **vars(seen)}
    return {
        "reference": samples.reference_digest(config.reference),
        "second_reference": samples.reference_digest(config.second_reference),
        "generated": open_method(config.generated, config.method).digest,
        **{
            name: "absent" if isinstance(one, Absent) else one.fingerprint
            for name, one in whole.items()
        },
    }


def run(config: DictConfig, folder: Path) -> dict[str, Any]:
    """Evaluate and write the results into `folder`; return what the summary shows.

    `config`: conf/eval.yaml.

    Raises:
        InputError: inputs that are missing, do not belong together or do not suit the protocol.
        FailedShareError: videos are missing or broken, and `allow_incomplete` is not set.
    """
    chosen = protocol(OmegaConf.to_container(config.protocol, resolve=True))
    beside = _protocols_beside(config.also, chosen)
    method = open_method(config.generated, config.method)
    compared = samples.compared(config.reference, method, chosen, config.root, _inspector(config))
    _check_whole(compared, method, chosen, config)
    others, other_dropped = _others(config, compared, chosen)
    store = Features(Path(config.features), config.batch, config.workers, config.device)
    networks = networks_of(config)
    found = measured(compared, others, chosen, networks, config, store)
    sides = [_side(compared, others, other, config, store) for other in beside]
    pairs = keep_pairs(
        compared.samples, found.per_video, config.pairs, method, folder, store.folder
    )
    whole = results.Results(
        chosen.settings(),
        found.rows,
        pairs,
        compared.dropped + other_dropped,
        method.name,
        _inputs_digest(config, compared),
        [*compared.remarks, *_remarks(method, chosen)],
        _groups(compared.samples, found),
        found.curves,
        sides,
    )
    _write_values(folder, compared.samples, found)
    results.write(folder, whole)
    shown = [pair for pair in pairs if pair.may_be_passed_on or config.allow_media]
    page = evaluation_page(whole, folder, shown, int(config.megabytes * 1e6))
    files.write_text(folder / "evaluation.html", page)
    _track(config, folder, chosen, whole, shown)
    return {
        "protocol": chosen.name,
        "method": method.name,
        "videos": len(compared.samples),
        "dropped": len(whole.dropped),
        "values": {row.metric: row.value for row in found.rows},
        "page": str(folder / "evaluation.html"),
    }


def _inspector(config: DictConfig) -> Inspector:
    return Inspector(config.inspect_workers, Path(config.features))


def _protocols_beside(also: Sequence[str] | str, chosen: Protocol) -> list[Protocol]:
    """The other protocols that the settings name; `all` are those of the same window length."""
    known = shipped()
    if also == "all":
        names = [one for one in known if known[one].frames == chosen.frames and one != "demo"]
    else:
        names = [also] if isinstance(also, str) else list(also)
    if unknown := [name for name in names if name not in known]:
        raise InputError(f"also: there is no protocol {unknown[0]}; there are {', '.join(known)}")
    beside = [known[name] for name in names if name != chosen.name]
    if unlike := [one.name for one in beside if one.frames != chosen.frames]:
        raise InputError(f"also: {unlike[0]} is about videos of another length; evaluate it apart")
    return beside


def _check_whole(compared: Compared, method: Method, chosen: Protocol, config: DictConfig) -> None:
    """Refuse sets that are too small, and incomplete ones unless they are allowed."""
    needed = 2 if chosen.count is None or config.allow_incomplete else chosen.count
    count = len(compared.samples)
    missing = [one for one in compared.dropped if one.setting == "generated"]
    if missing and not config.allow_incomplete:
        named = first_of([f"{one.key} ({one.reason})" for one in missing])
        raise FailedShareError(
            f"{len(missing)} generated videos of {method.folder} are missing or cannot be used: "
            f"{named}; make them, or pass allow_incomplete=true, which the result will say"
        )
    if count < max(needed, 2):
        place = config.reference or method.folder
        raise InputError(
            f"protocol {chosen.name} needs {max(needed, 2)} clips of {chosen.span} frames, {count} "
            f"of {len(method.videos)} in {place} have as many; name more with generated=FOLDER, or "
            "choose another protocol (protocol=demo takes any number)"
        )


def _others(
    config: DictConfig, compared: Compared, chosen: Protocol
) -> tuple[list[Window], list[results.Dropped]]:
    """Other real videos, as many as are compared, none of them among those."""
    if config.second_reference is None or not compared.real:
        return [], []
    count = len(compared.real)
    found, dropped = samples.other_windows(
        config.second_reference, count, chosen, _inspector(config)
    )
    shared = {window.key for window in found} & {window.key for window in compared.real}
    if shared:
        raise InputError(
            f"the clip {min(shared)} is in {config.reference} and in {config.second_reference}; "
            "real against real needs two sets without a common clip"
        )
    needed = max(chosen.count or 0, 2)
    if len(found) < needed and not config.allow_incomplete:
        seen = len(found) + len(dropped)
        raise InputError(
            f"protocol {chosen.name} needs {needed} clips of {chosen.span} frames, {len(found)} "
            f"of {seen} in {config.second_reference} have as many; name more with "
            "second_reference=FOLDER, or null for none"
        )
    return found, dropped


def _side(
    compared: Compared,
    others: Sequence[Window],
    other: Protocol,
    config: DictConfig,
    store: Features,
) -> results.Side:
    """The same videos as another protocol sees them: its size, stride, network and covariance."""

    def as_it_sees(window: Window, stride: int) -> Window:
        fps = window.fps * window.stride / stride
        return replace(window, resolution=other.resolution, stride=stride, fps=fps)

    seen = replace(
        compared,
        samples=[
            replace(one, generated=as_it_sees(one.generated, one.generated.stride))
            for one in compared.samples
        ],
        real=[as_it_sees(window, min(other.stride, window.stride)) for window in compared.real],
    )
    others = [as_it_sees(window, min(other.stride, window.stride)) for window in others]
    return results.Side(other.settings(), distances(seen, others, other, config, store))


def _remarks(method: Method, chosen: Protocol) -> list[str]:
    otherwise = other_sampling(method, chosen)
    remarks = []
    if method.foreign and chosen.sampling is not None:
        remarks.append(f"How {method.name} was sampled is not known; {chosen.name} says how.")
    if otherwise:
        remarks.append(f"Not sampled as {chosen.name} says: {'; '.join(otherwise)}.")
    if method.settings is not None and chosen.checkpoint is not None:
        model = str(method.settings.get("model", "unknown"))[:12]
        remarks.append(
            f"{chosen.name} is about {chosen.checkpoint}; these videos are of the model {model}."
        )
    return remarks


def _inputs_digest(config: DictConfig, compared: Compared) -> str:
    """Of the real side and of the inputs: results with the same one can be compared in pairs."""
    keys = [sample.key for sample in compared.samples]
    return files.sha256_json([samples.reference_digest(config.reference), keys])


def _groups(compared: Sequence[Sample], found: Measured) -> list[results.Group]:
    """Means by class, category or action, where there is more than one."""
    members = defaultdict(list)
    for index, sample in enumerate(compared):
        members[sample.group].append(index)
    if len(members) < 2:
        return []
    return [
        results.Group(
            name,
            len(indices),
            {metric: float(values[indices].mean()) for metric, values in found.per_video.items()},
        )
        for name, indices in sorted(members.items())
    ]


def _write_values(folder: Path, compared: Sequence[Sample], found: Measured) -> None:
    """The values by video, and the features of the distances."""
    keys, groups = [sample.key for sample in compared], [sample.group for sample in compared]
    write_values(folder, keys, groups, found.per_video)
    features = {name: np.ascontiguousarray(array) for name, array in found.features.items()}
    files.write_bytes(folder / results.FEATURES, safetensors.numpy.save(features))


def _track(
    config: DictConfig,
    folder: Path,
    chosen: Protocol,
    found: results.Results,
    pairs: Sequence[results.Pair],
) -> None:
    plain = OmegaConf.to_container(config, resolve=True)
    values = {
        f"{chosen.name}/{row.metric}": row.value for row in found.rows if row.value is not None
    }
    columns = ("protocol", "metric", "value", "low", "high", "samples", "network", "reliable",
               "reason")  # fmt: skip
    table = [
        [name, row.label, row.value, *(row.interval or (None, None)), results.counts(row),
         row.network, row.reliable, row.reason]
        for name, rows in [
            (chosen.name, found.rows), *((side.protocol["name"], side.rows) for side in found.sides)
        ]
        for row in rows
    ]  # fmt: skip
    with open_run(config.tracking, folder, "eval", plain) as tracked:
        tracked.log(0, values)
        tracked.table("metrics", columns, table)
        for pair in pairs[:4]:
            tracked.video(f"generated/{pair.key}", folder / pair.generated, pair.prompt)
            if pair.real is not None:
                tracked.video(f"real/{pair.key}", folder / pair.real, pair.prompt)
        tracked.summary({**values, "protocol": asdict(chosen), "protocol_digest": chosen.digest})
