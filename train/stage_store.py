"""Finished stages, kept by all that decides them: what several runs share is trained once.

    <store>/trainings.jsonl      a line whenever a run begins, or goes on, to train a stage
            <key>/unfinished/    the stage's folder while it is trained; whoever holds <key> goes on
                  stage/         the finished one, renamed from it, with digests in store.json

The key of a stage is the digest of what decides its weights:

    its name, which names its draws; the seed
    its model, and its block of the recipe but `checkpoint_every`
    contents and weights of the data sets, in their order
    what it starts from: digests of the files; of the stage before, its key
    the precision as chosen, and whether a CPU or a GPU computes
    all other settings of `train` but those in `resume_ignores`: `captions`, `balance`, and so on
    `VERSION` below

Where things lie is not in it, nor how a stage is made to fit its machine, which changes rounding
alone; so do versions of libraries.

What it is validated on and how often does not change the weights, so it is no part of the key. It
is written beside them: a run that validates otherwise takes weights and metrics, leaves those
validations out, and looks at the end of the stage with its own.
"""

import json
import os
import shutil
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf

from dynamicrafter import files
from dynamicrafter.errors import InputError
from train.data import Clips, open_held_out
from train.handover import PREVIOUS, locate
from train.journal import METRICS, VALIDATION, read_rows
from train.stage import RESULT, stage_model
from train.validator import SAMPLES

VERSION = 1  # raise it where the same settings come to train something else
STORED, TRAININGS, UNFINISHED, STAGE = "store.json", "trainings.jsonl", "unfinished", "stage"
# Settings of `train` that do not reach the key as they are, beside `resume_ignores`.
TOLD_OTHERWISE = (
    "run_dir", "data", "validation", "validate", "model", "recipe", "precision", "device",
    "resume_ignores", "on_change", "encoded", "stage_store",
)  # fmt: skip
OF_A_STAGE = ("model", "start", "checkpoint_every")  # the same, of its block of the recipe


def stage_key(
    config: DictConfig,
    name: str,
    previous: str | None,
    clips: Clips,
    computed: Mapping[str, str],
) -> str:
    """The key of a stage: see the head of this file.

    Args:
        config: the composed train config.
        name: of the stage.
        previous: key of the stage before, if there is one.
        clips: what is trained on.
        computed: what rounding depends on: the precision and the kind of device, as chosen.
    """
    ignored = {*config.resume_ignores, *TOLD_OTHERWISE}
    plain = OmegaConf.to_container(config, resolve=True)
    stage = {k: v for k, v in plain["recipe"][name].items() if k not in OF_A_STAGE}
    start = [
        [_content(source["from"], name), source.get("groups")]
        for source in plain["recipe"][name]["start"]
    ]
    return files.sha256_json(
        {
            "version": VERSION,
            "name": name,
            "model": stage_model(config, name),
            "stage": stage,
            "previous": previous,
            "start": start,
            "data": [[one.frames.reader.digest, one.weight] for one in clips.sets],
            "computed": dict(computed),
            "settings": {key: value for key, value in plain.items() if key not in ignored},
        }
    )


def _content(source: str, stage: str) -> str:
    """What stands for an entry of `start`: the stage before is told by its key."""
    return source if source == PREVIOUS else files.file_digest(locate(source, stage))


def validated_as(config: DictConfig) -> str | None:
    """Digest of what a run validates on, and how; None if it does not."""
    if not config.validation:
        return None
    settings = OmegaConf.to_container(config.validate, resolve=True)
    settings.pop("batch", None)  # as it fits
    held_out = sorted(open_held_out(config).digests.values())
    return files.sha256_json({"data": held_out, "settings": settings})


class StageStore:
    """The finished stages in a folder; whoever works on one holds it (`train/holding.py`)."""

    def __init__(self, folder: Path):
        self.folder = folder

    def has(self, key: str) -> bool:
        """Whether the stage is finished."""
        return (self.folder / key / STAGE).is_dir()

    def begin(self, key: str, name: str, run: Path, place: Path) -> Path:
        """The folder to train in, with whatever was done there before; the training is recorded.

        A stage that `place`, the run's folder for it, holds half done is gone on with. While it is
        trained, `place` is a link to where that happens.
        """
        work = self.folder / key / UNFINISHED
        if place.is_symlink():
            place.unlink()
        if place.exists() and not work.exists():
            shutil.move(place, work)
        clear(place)
        work.mkdir(parents=True, exist_ok=True)
        files.sweep_temporaries(work)
        place.parent.mkdir(parents=True, exist_ok=True)
        place.symlink_to(work.resolve(), target_is_directory=True)
        steps = [row["step"] for row in read_rows(work / METRICS)]
        begun = {"key": key, "stage": name, "run": str(run), "seen_steps": max(steps, default=0)}
        self._record({**begun, "at": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())})
        return work

    def publish(self, key: str, facts: Mapping[str, Any]) -> None:
        """Declare the stage that was trained in the work folder finished.

        `facts`: what to keep beside the digests.
        """
        work = self.folder / key / UNFINISHED
        files.sweep_temporaries(work)
        paths = sorted(path for path in work.rglob("*") if path.is_file() and path.name != STORED)
        digests = {str(path.relative_to(work)): files.file_digest(path) for path in paths}
        files.write_json(work / STORED, {**facts, "key": key, "files": digests})
        os.rename(work, self.folder / key / STAGE)

    def take(self, key: str, place: Path, validated: str | None, *, from_store: bool) -> None:
        """Put a finished stage into a run's folder, `place`.

        Files that never change are the same on the disk. A stage that was validated otherwise comes
        without its validations and without its result: it is whole once that is written.

        Args:
            key: of the stage.
            place: where to; what half of it is there goes.
            validated: how the run validates, see `validated_as`.
            from_store: whether another run trained it; told in its `stage.json`.

        Raises:
            InputError: the stored stage is damaged.
        """
        stage = self.folder / key / STAGE
        stored = files.read_json(stage / STORED)
        left_out = () if stored["validated"] == validated else (RESULT, VALIDATION, SAMPLES)
        clear(place)
        with files.atomic_folder(place) as partial:
            for relative, digest in stored["files"].items():
                if Path(relative).parts[0] not in left_out:
                    self._check(stage, relative, digest)
                    _link(files.inside(stage, relative), files.inside(partial, relative))
            if not left_out:
                result = files.read_json(partial / RESULT)
                files.write_json(partial / RESULT, {**result, "from_store": from_store})

    def facts(self, key: str) -> dict[str, Any]:
        """What `publish` was told of a finished stage."""
        return files.read_json(self.folder / key / STAGE / STORED)

    def _check(self, stage: Path, relative: str, digest: str) -> None:
        path = files.inside(stage, relative)
        if not path.is_file() or files.file_digest(path) != digest:
            raise InputError(
                f"{path} is damaged: it is not what was stored; remove {stage.parent} and run the "
                "same command again, which trains the stage again"
            )

    def _record(self, line: Mapping[str, Any]) -> None:
        with (self.folder / TRAININGS).open("a", encoding="utf-8") as file:
            file.write(json.dumps(line) + "\n")  # short enough to be written at once


def trainings(store: Path) -> list[dict[str, Any]]:
    """Every training of a stage that began or went on in a store, in order.

    `key`, `stage`, `run`, `at`, and `seen_steps`, which is 0 for one that began anew.
    """
    return read_rows(store / TRAININGS)


def clear(place: Path) -> None:
    """Remove what a run's folder holds of a stage that is not whole."""
    if place.is_symlink():
        place.unlink()
    elif place.exists():
        shutil.rmtree(place)


def _link(source: Path, target: Path) -> None:
    """The same file on the disk where it never changes and the file system can, else a copy."""
    target.parent.mkdir(parents=True, exist_ok=True)
    if source.suffix in (".json", ".jsonl"):
        shutil.copyfile(source, target)
        return
    try:
        os.link(source, target)
    except OSError:  # another file system, or one without links
        shutil.copyfile(source, target)
