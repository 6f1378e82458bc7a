"""The benchmarks that there are, each with its reader."""

from collections.abc import Callable, Mapping
from typing import Any

from omegaconf import DictConfig, OmegaConf

from dynamicrafter.errors import InputError
from eval.benchmarks import folder, motion_control, msrvtt, ucf101
from eval.benchmarks.catalogue import Catalogue

READERS: dict[str, Callable[[Mapping[str, Any]], Catalogue]] = {
    "ucf101": ucf101.read,
    "msrvtt": msrvtt.read,
    "motion_control": motion_control.read,
    "folder": folder.read,
}


def read_benchmark(config: DictConfig) -> Catalogue:
    """The benchmark that a config's `benchmark` part describes.

    Raises:
        InputError: there is no such benchmark, or its reader cannot use what it finds.
    """
    if config.name not in READERS:
        raise InputError(f"benchmark.name={config.name}; choose {', '.join(READERS)}")
    return READERS[config.name](OmegaConf.to_container(config, resolve=True, throw_on_missing=True))
