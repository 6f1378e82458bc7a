"""What a stage writes down: rows of its steps and of its validations, and the same to W&B.

    metrics.jsonl      one row a step: loss, learning rate, gradient norms, seconds
    validation.jsonl   one row a validation: every loss of it, scalars, sample videos

The files are the truth: a stage that goes on from a checkpoint forgets the rows after it, and W&B
is told all rows again from the beginning. So its history is as continuous as the files are. An
online run that has them already passes them over.
"""

import json
from pathlib import Path
from typing import Any

from dynamicrafter import files, tracking
from train.stopwatch import PHASES

METRICS, VALIDATION = "metrics.jsonl", "validation.jsonl"
UNTRACKED = ("step", "samples_seen", "clips", "replaced")


class Journal:
    """The files of one stage, and its part of the W&B run.

    Every rank has one; without a tracker nothing is written.
    """

    def __init__(self, folder: Path, name: str, tracker: tracking.Run | None, first_step: int):
        """Write below `folder` as stage `name`, whose step s is W&B's step first_step + s."""
        self._folder, self._name = folder, name
        self._tracker, self._first_step = tracker, first_step

    def begin_at(self, step: int) -> float:
        """Forget what lies beyond `step`, tell W&B the rest; returns the seconds spent so far."""
        rows = [row for row in read_rows(self._folder / METRICS) if row["step"] <= step]
        judged = [row for row in read_rows(self._folder / VALIDATION) if row["step"] <= step]
        if self._tracker is not None:
            _write_rows(self._folder / METRICS, rows)
            _write_rows(self._folder / VALIDATION, judged)
            ordered = [(row["step"], 0, row) for row in rows]
            ordered += [(row["step"], 1, row) for row in judged]
            for _, kind, row in sorted(ordered, key=lambda item: item[:2]):
                (self._track_validation if kind else self._track_step)(row)
        return rows[-1]["seconds"] if rows else 0.0

    def has_validation(self, step: int) -> bool:
        """Whether a validation of `step` is written down."""
        return any(row["step"] == step for row in read_rows(self._folder / VALIDATION))

    def step(self, row: dict[str, Any]) -> None:
        """Write down a step."""
        if self._tracker is not None:
            self._append(METRICS, row)
            self._track_step(row)

    def validation(self, row: dict[str, Any]) -> None:
        """Write down a validation: `step`, `scalars`, `rows`, `videos` (key, path, caption)."""
        if self._tracker is not None:
            self._append(VALIDATION, row)
            self._track_validation(row)

    def checkpoint(self, step: int, state: dict[str, Any]) -> None:
        """Tell W&B what the newest checkpoint is and what it stands on."""
        if self._tracker is not None:
            self._tracker.summary({f"{self._name}/checkpoint": {**state, "step": step}})

    def _append(self, name: str, row: dict[str, Any]) -> None:
        with (self._folder / name).open("a", encoding="utf-8") as file:
            file.write(json.dumps(row) + "\n")

    def _track_step(self, row: dict[str, Any]) -> None:
        values = {k: v for k, v in row.items() if k not in UNTRACKED}
        self._log(row["step"], values)

    def _track_validation(self, row: dict[str, Any]) -> None:
        self._log(row["step"], row["scalars"])
        for video in row["videos"]:
            path = self._folder / video["path"]
            if video["may_be_logged"] and path.exists():
                name = f"{self._name}/samples/{video['key']}"
                step = self._first_step + row["step"]
                self._tracker.video(name, path, video["caption"], step)

    def _log(self, step: int, values: dict[str, float]) -> None:
        named = {f"{self._name}/{key}": value for key, value in values.items()}
        self._tracker.log(self._first_step + step, named)


def read_rows(path: Path) -> list[dict[str, Any]]:
    """The rows of a .jsonl file; a last line that was cut off is left out."""
    if not path.exists():
        return []
    text = path.read_text(encoding="utf-8")
    return [json.loads(line) for line in text.splitlines(keepends=True) if line.endswith("\n")]


def loss_summary(folder: Path) -> dict[str, Any]:
    """Mean loss of the first and the last tenth of a stage's steps, and its seconds."""
    rows = read_rows(folder / METRICS)
    tenth = max(len(rows) // 10, 1)
    losses = [row["loss"] for row in rows]
    return {
        "steps": len(rows),
        "first_loss": sum(losses[:tenth]) / tenth,
        "last_loss": sum(losses[-tenth:]) / tenth,
        "seconds": rows[-1]["seconds"],
        "phases": _phase_shares(rows),
        "replaced_clips": sorted({key for row in rows for key in row.get("replaced", [])}),
    }


def _phase_shares(rows: list[dict[str, Any]]) -> dict[str, float]:
    """Where the steps went: the share of each phase in their time, the largest first."""
    spent = {phase: sum(row.get(f"seconds/{phase}", 0.0) for row in rows) for phase in PHASES}
    whole = sum(spent.values()) or 1.0
    ordered = sorted(spent, key=spent.__getitem__, reverse=True)
    return {phase: round(spent[phase] / whole, 4) for phase in ordered if spent[phase]}


def _write_rows(path: Path, rows: list[dict[str, Any]]) -> None:
    files.write_text(path, "".join(json.dumps(row) + "\n" for row in rows))
