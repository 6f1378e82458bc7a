"""The command `train` inside the process of the tests: its exit code and its lines, no start-up."""

from pathlib import Path

from hydra import compose, initialize_config_module

from dynamicrafter.command import exit_code, run_in_folder
from tests.train.small_runs import arguments, stage

STEPS = 6
SMALLER = ("recipe.joint.batch=2", "recipe.joint.checkpoint_every=2", "loader_workers=0")


def train_here(shards: Path, folder: Path, *more: str) -> int:
    """Train `STEPS` steps with a checkpoint after every second; an unknown error is raised."""
    return run_here(arguments(shards, folder, STEPS, *SMALLER, *more))


def run_here(command: list[str]) -> int:
    """`train` with these arguments, its own name first; an unknown error is raised."""
    with initialize_config_module("conf", version_base="1.3"):
        config = compose("train", command[1:])
    return exit_code(lambda: run_in_folder(config, "train.recipe"))


def assert_one_line(told: str, *words: str) -> None:
    """What a command told ends with a line of its own that holds all `words`."""
    *_, last = told.splitlines()
    assert last.startswith("dynamicrafter: "), told
    assert not [word for word in words if word not in last], last
    assert "Traceback" not in told


def checkpoints_of(folder: Path) -> list[str]:
    """Names of everything in the checkpoint folder of the stage."""
    return sorted(path.name for path in (stage(folder) / "checkpoints").glob("*"))


def names(*steps: int) -> list[str]:
    """Names of the checkpoints of these steps."""
    return [f"step-{step:08d}" for step in steps]
