"""Weights from one stage to the next: which tensors come from where, and a report of each.

A stage builds its own model and fills it from its `start` list, in order; later sources overwrite.
A source is a file or `previous` (the stage before), all of it or some parameter groups.
"""

from pathlib import Path
from typing import Any

from torch import nn

from dynamicrafter import files
from dynamicrafter.errors import InputError
from dynamicrafter.model.names import GROUPS, parameter_group
from dynamicrafter.model.weights import load_weights, read_state_dict

PREVIOUS = "previous"


def hand_over(
    model: nn.Module, sources: list[dict[str, Any]], previous: Path | None
) -> list[dict[str, Any]]:
    """Fill `model` from `sources`; what no source holds keeps its initialisation.

    Args:
        model: the stage's model, freshly initialised.
        sources: entries `{from: previous | file, groups: [...]}`; no groups means all.
        previous: weight file of the stage before, or None for the first stage.

    Returns:
        One report per source: path, sha256, names of loaded, reshaped, left-out and new tensors.

    Raises:
        InputError: a source is missing, or holds none of the groups asked for.
    """
    groups = {parameter_group(name) for name in model.state_dict()}
    reports = []
    for source in sources:
        path = _path(source["from"], previous)
        wanted = set(source.get("groups") or groups)
        state = {
            name: tensor
            for name, tensor in read_state_dict(path).items()
            if parameter_group(name) in wanted
        }
        if not state:
            raise InputError(f"{path} holds no tensor of {', '.join(sorted(wanted))}")
        report = load_weights(model, state, may_miss=groups)
        reports.append(
            {
                "from": path.name,
                "sha256": files.sha256_file(path),
                "groups": sorted(wanted & groups),
                "loaded": len(report.loaded),
                "reshaped": list(report.reshaped),
                "new": list(report.missing),
                "left_out": list(report.unexpected),
            }
        )
    return reports


def choose_trainable(model: nn.Module, groups: list[str]) -> dict[str, int]:
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
        return Path(name)
    if previous is None:
        raise InputError("the first stage has no previous one; start it from files or from nothing")
    return previous
