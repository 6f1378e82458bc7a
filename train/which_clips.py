"""`dynamicrafter train which-clips`: what a step of a run sees, or will see.

It is computed from (seed, step), so it can be asked of any step, taken or not, after a spike of the
loss as before a run. Nothing is decoded. Where a clip could not be read, the run saw a stand-in:
`replaced` in the stage's metrics.jsonl names such clips.
"""

import json
import sys
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf

from dynamicrafter.command import compose, exit_code
from dynamicrafter.errors import InputError
from dynamicrafter.files import read_json
from dynamicrafter.runs import RUN
from dynamicrafter.text_table import table_lines
from train.data import Clips, Place, open_clips, stage_windows
from train.data.windows import caption_of
from train.settings import stage_steps

COLUMNS = ("number", "key", "data", "category", "frames", "stride", "fps")


def main() -> None:
    """Entry point of the verb."""
    compose("which_clips", show)


def show(config: DictConfig) -> None:
    """Print the clips of a step, as a table or as lines of JSON.

    Args:
        config: conf/which_clips.yaml.

    Raises:
        InputError: no run, no such stage, or the stage has no such step.
    """
    rows = clips_of_step(Path(config.run_dir), config.stage, config.step, config.captions)
    lines = [json.dumps(row, ensure_ascii=False) for row in rows] if config.json else _table(rows)
    sys.stdout.write("".join(f"{line}\n" for line in lines))


def clips_of_step(folder: Path, stage: str, step: int, captions: bool) -> list[dict[str, Any]]:
    """What each sample of a step sees.

    Args:
        folder: of the run.
        stage: its name in the recipe.
        step: 1 is the stage's first, as in its metrics.jsonl.
        captions: also read the captions, which lie beside the videos.

    Returns:
        a row a sample: `number`, `key`, `data` (the data set), `category`, `frames` (first and
        last that are read), `clip_frames`, `stride`, `fps` (of the window), and `caption`.

    Raises:
        InputError: see `show`; the data is not what the run saw.
    """
    if not (folder / RUN).is_file():
        raise InputError(f"{folder} has no {RUN}: it is no run folder of train")
    run = read_json(folder / RUN)
    config = OmegaConf.create(run["config"])
    stages = list(OmegaConf.select(config, "recipe.stages") or [])
    if not stages:
        raise InputError(f"{folder} is no run of train: its config has no recipe")
    if stage not in stages:
        raise InputError(f"stage={stage}: the stages of {folder} are {', '.join(stages)}")
    steps, batch = stage_steps(config, stage), config.recipe[stage].batch
    if not isinstance(step, int) or not 1 <= step <= steps:
        raise InputError(f"step={step}: stage {stage} of {folder} has steps 1 to {steps}")
    clips = open_clips(config)
    _refuse_other_data(clips, run["inputs"])
    windows = stage_windows(clips, config, stage)
    numbers = range((step - 1) * batch, step * batch)
    texts = windows.window.captions if captions else None
    return [_row(windows.locate(number), texts) for number in numbers]


def _refuse_other_data(clips: Clips, inputs: dict[str, str]) -> None:
    for name, digest in clips.digests.items():
        if inputs.get(name) != digest:
            raise InputError(f"{name} has changed since the run: its clips cannot be told any more")


def _row(place: Place, captions: str | None) -> dict[str, Any]:
    row = {
        "number": place.number,
        "key": place.key,
        "data": place.data.name,
        "category": place.category,
        "frames": [int(place.indices[0]), int(place.indices[-1])],
        "clip_frames": place.clip_frames,
        "stride": place.stride,
        "fps": round(place.fps, 3),
    }
    return {**row, "caption": caption_of(place.sample(), captions)} if captions else row


def _table(rows: list[dict[str, Any]]) -> list[str]:
    names = [*COLUMNS, *(["caption"] if "caption" in rows[0] else [])]
    cells = [names]
    for row in rows:
        first, last = row["frames"]
        shown = {**row, "frames": f"{first}-{last} of {row['clip_frames']}"}
        cells.append([" ".join(str(shown[name]).split()) for name in names])
    return table_lines(cells, "l" * len(names), indent="")


if __name__ == "__main__":
    sys.exit(exit_code(main))
