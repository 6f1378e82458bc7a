"""Weights from one stage to the next: which tensors come from where, and a report of each.

A stage builds its own model and fills it from its `start` list, in order; later sources overwrite.
A source is weights by name (see `locate`) or `previous` (the stage before), all of it or some
parameter groups.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

from torch import Tensor, nn

from dynamicrafter import files
from dynamicrafter.command import say
from dynamicrafter.diffusion.schedule import ScheduleConfig
from dynamicrafter.errors import InputError
from dynamicrafter.model.animation import AnimationModel
from dynamicrafter.model.names import GROUPS, parameter_group
from dynamicrafter.model.pretrained import (
    COMPARED_BUFFERS,
    CONFIG,
    RELEASED,
    WEIGHTS,
    find,
    model_config,
    released_name,
)
from dynamicrafter.model.weights import load_weights, read_state_dict

PREVIOUS = "previous"
REPORT = "handover.json"

Value = TypeVar("Value")


def locate(source: str, stage: str | None = None) -> Path:
    """The weight file that an entry of `start` names: a file, a model folder, a released model.

    `stage`: whose entry it is, for the message.

    Raises:
        InputError: there is no such thing.
        MachineError: a released model cannot be fetched.
    """
    path = Path(source)
    if path.is_file():
        return path
    if path.is_dir() or source in RELEASED:
        return find(source).weights
    who = f"stage {stage}" if stage else "a stage"
    raise InputError(
        f"{who} starts from {source}: no such file or model folder, and no released model "
        f"({', '.join(RELEASED)})"
    )


def hand_over(
    model: AnimationModel, sources: Sequence[Mapping[str, Any]], previous: Path | None
) -> list[dict[str, Any]]:
    """Fill `model` from `sources`; what no source holds keeps its initialisation.

    Args:
        model: the stage's model, freshly initialised.
        sources: entries `{from: previous | weights, groups: [...]}`; no groups means all.
        previous: weight file of the stage before, or None for the first stage.

    Returns:
        One report per source, all of it names of tensors: `loaded`; `reshaped`, those of the loaded
        that were made to fit; `new`, what neither this source nor one before it held; `left_out`,
        what the source holds and the model has no place for. Also `from`, `sha256`, `groups`, and
        `other_schedule`: what the source is, if it was trained with another noise schedule than
        that of `model`; else None.

    Raises:
        InputError: a source is missing, or holds none of the groups asked for.
    """
    groups = {parameter_group(name) for name in model.state_dict()}
    filled: set[str] = set()
    reports = []
    for source in sources:
        path = _path(source["from"], previous)
        tensors = read_state_dict(path)
        state = of_groups(tensors, source.get("groups"))
        if not any(parameter_group(name) in groups for name in state):
            wanted = ", ".join(sorted(source.get("groups") or groups))
            raise InputError(f"{path} holds no tensor of {wanted}")
        report = load_weights(model, state, may_miss=groups)
        filled.update(report.loaded)
        reports.append(
            {
                "from": path.name,
                "sha256": files.sha256_file(path),
                "groups": sorted({parameter_group(name) for name in report.loaded}),
                "loaded": list(report.loaded),
                "reshaped": list(report.reshaped),
                "new": [name for name in report.missing if name not in filled],
                "left_out": list(report.unexpected),
                "other_schedule": _other_schedule(path, tensors, model),
            }
        )
    return reports


def of_groups(tensors: Mapping[str, Value], groups: Sequence[str] | None) -> dict[str, Value]:
    """The tensors of some parameter groups, by name; None means all."""
    return {n: t for n, t in tensors.items() if groups is None or parameter_group(n) in groups}


def save_reports(folder: Path, reports: Sequence[Mapping[str, Any]]) -> None:
    """Write the reports of a hand-over into `folder`, and tell each in one line."""
    files.write_json(folder / REPORT, list(reports))
    for report in reports:
        say(report_line(report))


def report_line(report: Mapping[str, Any]) -> str:
    """One line of a report: how much was loaded and reshaped, and which groups are new."""
    new = Counter(parameter_group(name) for name in report["new"])
    words = ", ".join(f"{group} ({count})" for group, count in sorted(new.items())) or "nothing"
    line = (
        f"from {report['from']}: {len(report['loaded'])} tensors loaded, "
        f"{len(report['reshaped'])} of them reshaped, {len(report['left_out'])} not used; "
        f"still new: {words}"
    )
    if report["other_schedule"]:
        line += (
            f"; NOTE: {report['other_schedule']} was trained with another noise schedule than this "
            "model has; to fine-tune it as it is, choose the model config that it was trained with"
        )
    return line


def choose_trainable(model: nn.Module, groups: Sequence[str]) -> dict[str, int]:
    """Let exactly the parameters of `groups` be trained; returns parameter counts.

    A group that this model happens not to have (a learned gate, say) trains nothing.

    Raises:
        InputError: there is no such group in any model, or nothing would be trained.
    """
    if unknown := set(groups) - GROUPS:
        raise InputError(
            f"there is no parameter group {', '.join(sorted(unknown))}; "
            f"the groups are {', '.join(sorted(GROUPS))}"
        )
    counts = {"trainable_parameters": 0, "frozen_parameters": 0}
    for name, parameter in model.named_parameters():
        parameter.requires_grad = parameter_group(name) in groups
        kind = "trainable_parameters" if parameter.requires_grad else "frozen_parameters"
        counts[kind] += parameter.numel()
    if not counts["trainable_parameters"]:
        raise InputError(f"the model has no parameter in {', '.join(groups)}: nothing to train")
    return counts


def _path(name: str, previous: Path | None) -> Path:
    if name != PREVIOUS:
        return locate(name)
    if previous is None:
        raise InputError("the first stage has no previous one; start it from files or from nothing")
    return previous


def _other_schedule(path: Path, tensors: Mapping[str, Tensor], model: AnimationModel) -> str | None:
    """What the weights are, if that has another noise schedule than `model`; else None.

    Known of a model folder and of a released checkpoint, which carries its schedule.
    """
    name, schedule = None, None
    if path.name == WEIGHTS and path.with_name(CONFIG).is_file():
        name, schedule = str(path.parent), find(path.parent).config.get("schedule", {})
    elif COMPARED_BUFFERS[0] in tensors and (name := released_name(tensors)):
        schedule = model_config(name)["schedule"]
    if schedule is None or ScheduleConfig(**schedule) == model.schedule.config:
        return None
    return name
