"""The W&B run of a run folder: opened once, continued by the same command, offline by default.

    with open_run(config.tracking, folder, "train", settings) as run:
        run.log(step, {"context/loss": 0.3})

The run's id lies in the folder, so that a resumed command continues the same W&B run. Everything
that is logged passes through `redaction`; W&B's own capture of code, command line, packages and
machine is off, since it would not.
"""

import contextlib
import os
import uuid
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from dynamicrafter import files
from dynamicrafter.errors import InputError, MachineError
from dynamicrafter.redaction import redact

ID_FILE = "tracking.json"


def run_id(folder: Path) -> str:
    """The W&B id of a run folder, made at first use."""
    path = folder / ID_FILE
    if not path.exists():
        files.write_json(path, {"id": uuid.uuid4().hex[:12]})
    return files.read_json(path)["id"]


class Run:
    """What the rooms log: scalars by step, videos, images, tables and a summary."""

    def __init__(self, run: Any):
        """Wrap an open W&B run."""
        self._run = run

    @property
    def id(self) -> str:
        """The W&B id of this run."""
        return self._run.id

    def log(self, step: int, values: dict[str, float]) -> None:
        """Log scalars at a global step (steps must not fall)."""
        self._run.log(redact(values), step=step)

    def table(self, name: str, columns: Sequence[str], rows: Sequence[Sequence[Any]]) -> None:
        """Log a table; cells are text or numbers, None where there is no value."""
        import wandb

        data = [redact(list(row)) for row in rows]
        self._run.log({name: wandb.Table(columns=list(columns), data=data)})

    def video(self, name: str, path: str | Path, caption: str) -> None:
        """Log an mp4 file."""
        import wandb

        self._run.log({name: wandb.Video(str(path), caption=redact(caption), format="mp4")})

    def image(self, name: str, path: str | Path, caption: str) -> None:
        """Log a PNG or JPEG file."""
        import wandb

        self._run.log({name: wandb.Image(str(path), caption=redact(caption))})

    def summary(self, values: dict[str, Any]) -> None:
        """Set summary values of the run."""
        self._run.summary.update(redact(values))


@contextlib.contextmanager
def open_run(settings: Any, folder: Path, job_type: str, config: dict[str, Any]) -> Iterator[Run]:
    """Open or continue the W&B run of `folder`.

    Args:
        settings: the `tracking` part of a config: mode (online, offline, disabled), project,
            entity, group.
        folder: the run folder; W&B's files lie in `<folder>/wandb`.
        job_type: the verb.
        config: the resolved config, shown beside the run.

    Raises:
        InputError: `mode=online` without a key in the environment.
        MachineError: W&B cannot be reached.
    """
    os.environ.setdefault("WANDB_SILENT", "true")
    import wandb

    online = settings.mode == "online"
    quiet = wandb.Settings(
        console="off",
        disable_code=True,
        disable_git=True,
        save_code=False,
        x_disable_meta=True,
        x_disable_machine_info=True,
        x_disable_stats=True,
        x_save_requirements=False,
    )
    folder.mkdir(parents=True, exist_ok=True)
    try:
        run = wandb.init(
            project=settings.project,
            entity=settings.entity,
            group=settings.group,
            job_type=job_type,
            name=folder.name,
            id=run_id(folder),
            resume="allow" if online else None,
            mode=settings.mode,
            dir=folder,
            config=redact(config),
            settings=quiet,
        )
    except wandb.errors.UsageError as error:
        raise InputError(f"W&B: {error}; set WANDB_API_KEY or pass tracking=offline") from None
    except wandb.errors.CommError as error:
        raise MachineError(f"W&B cannot be reached ({error}); pass tracking=offline") from None
    crashed = True
    try:
        yield Run(run)
        crashed = False
    finally:
        run.finish(exit_code=int(crashed))
        wandb.teardown()  # finish alone may return before an offline run's file is on the disk
