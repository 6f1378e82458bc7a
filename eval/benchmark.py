"""`dynamicrafter eval benchmark`: a model on a benchmark, from the videos on disk to the page.

Three plain commands, one after the other: select, animate, evaluate. The sampler is set as the
protocol says; what it leaves free comes from `extra.animate`.
"""

from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf

from dynamicrafter import files
from dynamicrafter.chain import run_phases
from dynamicrafter.command import compose, say
from dynamicrafter.errors import InputError
from eval.protocols import protocol, shipped


def main() -> None:
    """Compose and run the phases."""
    compose("eval_benchmark", _benchmark)


def _benchmark(config: DictConfig) -> None:
    folder = Path(config.run_dir)
    with files.folder_lock(folder):
        seconds = run_phases(phases(config), {"animate": config.gpus})
    say(" · ".join(f"{name} {spent:.0f} s" for name, spent in seconds.items()))
    say(str((folder / "eval" / "evaluation.html").resolve()))


def phases(config: DictConfig) -> dict[str, list[str]]:
    """The commands with their arguments.

    `config`: conf/eval_benchmark.yaml.

    Raises:
        InputError: settings of the protocol under its own name; only those of `conf/protocol` can
            be handed on by name.
    """
    chosen = protocol(OmegaConf.to_container(config.protocol, resolve=True))
    if chosen.name not in shipped():
        raise InputError(f"{chosen.name} is no protocol of conf/protocol; run the phases by hand")
    folder, name = config.run_dir, config.benchmark.name
    sampling = [f"sampling.{name}={value}" for name, value in (chosen.sampling or {}).items()]
    settings = OmegaConf.to_container(config.benchmark, resolve=True)
    videos = [f"benchmark.{one}={_text(value)}" for one, value in settings.items()]
    listed = {
        "select": [
            "eval", "select", f"benchmark={name}", *videos, f"protocol={chosen.name}",
            f"run_dir={folder}/select",
        ],
        "animate": [
            "animate", f"pretrained={config.pretrained}", f"image={folder}/select/items.csv",
            "long_prompts=cut", *sampling, f"batch={config.batch}", f"run_dir={folder}/animate",
        ],
        "eval": [
            "eval", f"protocol={chosen.name}", f"reference={folder}/select",
            "second_reference=null", f"generated={folder}/animate", f"method={config.method}",
            f"run_dir={folder}/eval",
        ],
    }  # fmt: skip
    return {phase: [*given, *config.extra[phase]] for phase, given in listed.items()}


def _text(value: Any) -> str:
    """A value as an override says it."""
    if isinstance(value, dict):
        return "{" + ", ".join(f"{key}: {_text(inner)}" for key, inner in value.items()) + "}"
    return "null" if value is None else str(value)
