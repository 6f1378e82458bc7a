"""The W&B run of a run folder: opened once, continued by the same command, offline by default.

    with open_run(config.tracking, folder, "train", settings) as run:
        run.log(step, {"context/loss": 0.3})

The run's id lies in the folder, so that a resumed command continues the same W&B run. Everything
that is logged passes through `redaction`; W&B's own capture of code, command line, packages and
machine is off, since it would not.

W&B serves the work and never holds it up. Where it cannot be reached the run is recorded offline;
what is logged online is sent by a thread of its own; a call that fails is told once; and the end
waits for the upload no longer than the settings say. What is not uploaded stays in the folder.
"""

import contextlib
import io
import os
import queue
import threading
import uuid
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from dynamicrafter import files
from dynamicrafter.command import say
from dynamicrafter.errors import InputError, MachineError
from dynamicrafter.redaction import redact

ID_FILE = "tracking.json"
START_TIMEOUT_S, FINISH_TIMEOUT_S = 10.0, 30.0
MOST_WAITING = 10_000  # calls that wait to be sent; what comes on top is left out

Call = Callable[[], object]


def run_id(folder: Path) -> str:
    """The W&B id of a run folder, made at first use."""
    path = folder / ID_FILE
    if not path.exists():
        files.write_json(path, {"id": uuid.uuid4().hex[:12]})
    return files.read_json(path)["id"]


class Run:
    """What the rooms log: scalars by step, histograms, videos, images, tables and a summary."""

    def __init__(self, run: Any, calls: "_Calls | _NoCalls"):
        """Wrap an open W&B run; `calls` makes the calls to it."""
        self._run = run
        self._calls = calls
        self._first_step = run.step  # of what an online run that is continued does not have yet

    @property
    def id(self) -> str:
        """The W&B id of this run."""
        return self._run.id

    def log(self, step: int, values: dict[str, float]) -> None:
        """Log scalars at a global step (steps must not fall)."""
        if step < self._first_step:
            return
        clean = redact(values)
        self._calls.make(lambda: self._run.log(clean, step=step))

    def table(self, name: str, columns: Sequence[str], rows: Sequence[Sequence[Any]]) -> None:
        """Log a table; cells are text or numbers, None where there is no value."""
        clean = [redact(list(row)) for row in rows]
        self._media(name, lambda wandb: wandb.Table(columns=list(columns), data=clean))

    def histogram(self, name: str, counts: Sequence[int], edges: Sequence[float]) -> None:
        """Log a histogram; there is one more edge than counts, of which at most 512."""
        parts = (list(counts), list(edges))
        self._media(name, lambda wandb: wandb.Histogram(np_histogram=parts))

    def video(self, name: str, path: str | Path, caption: str, step: int | None = None) -> None:
        """Log an mp4 file, which need not outlive the call; `step` as for `log`."""
        if step is not None and step < self._first_step:
            return
        data, words = io.BytesIO(Path(path).read_bytes()), redact(caption)
        self._media(name, lambda wandb: wandb.Video(data, caption=words, format="mp4"), step)

    def image(self, name: str, path: str | Path, caption: str) -> None:
        """Log a PNG or JPEG file."""
        words = redact(caption)
        self._media(name, lambda wandb: wandb.Image(str(path), caption=words))

    def summary(self, values: dict[str, Any]) -> None:
        """Set summary values of the run."""
        clean = redact(values)
        self._calls.make(lambda: self._run.summary.update(clean))

    def _media(self, name: str, make: Callable[[Any], Any], step: int | None = None) -> None:
        """Log what `make` makes of the package."""

        def call() -> None:
            import wandb

            self._run.log({name: make(wandb)}, step=step)

        self._calls.make(call)


class _NoRun:
    """Stands for the run where nothing is logged; W&B is not even imported then."""

    step = 0

    def __init__(self, name: str):
        self.id = name


class _NoCalls:
    """Makes no calls."""

    def make(self, call: Call) -> None:
        """Make none."""


class _Calls:
    """Makes the calls to W&B one after the other; one that fails is told once and stops nothing."""

    def __init__(self, in_background: bool):
        self._told = False
        self._hurry = threading.Event()  # what still waits is left out
        self._waiting: queue.Queue[Call | None] = queue.Queue(MOST_WAITING)
        self._thread = threading.Thread(target=self._work, daemon=True) if in_background else None
        if self._thread:
            self._thread.start()

    def make(self, call: Call) -> None:
        """Make a call, now or soon."""
        if self._thread is None:
            self._attempt(call)
            return
        try:
            self._waiting.put_nowait(call)
        except queue.Full:
            self._tell("it does not keep up; the rest of what is logged is left out")

    def close(self, limit_s: float) -> None:
        """Wait so long until all calls are made, then as long again for the one being made."""
        if self._thread is None:
            return
        with contextlib.suppress(queue.Full):
            self._waiting.put_nowait(None)
        self._thread.join(limit_s)
        if self._thread.is_alive():
            self._tell(f"it did not take everything within {limit_s:g} s")
            self._hurry.set()
            self._thread.join(limit_s)

    def _work(self) -> None:
        while not self._hurry.is_set() and (call := self._waiting.get()) is not None:
            self._attempt(call)

    def _attempt(self, call: Call) -> None:
        try:
            call()
        except Exception as error:  # noqa: BLE001 - whatever W&B raises, the work goes on
            self._tell(f"{type(error).__name__}: {error}")

    def _tell(self, trouble: str) -> None:
        if not self._told:
            say(f"W&B: {_one_line(trouble)}; the work goes on")
        self._told = True


@contextlib.contextmanager
def open_run(
    settings: Any,
    folder: Path,
    job_type: str,
    config: dict[str, Any],
    *,
    from_the_start: bool = False,
) -> Iterator[Run]:
    """Open or continue the W&B run of `folder`.

    Args:
        settings: the `tracking` part of a config: mode (online, offline, disabled), project,
            entity, group; for online also, if need be, start_timeout_s and finish_timeout_s, the
            seconds that beginning and end may take, and required: whether the command stops where
            W&B cannot be reached instead of recording offline.
        folder: the run folder; W&B's files lie in `<folder>/wandb`.
        job_type: the verb.
        config: the resolved config, shown beside the run.
        from_the_start: the caller logs the whole history anew, also where it continues a run: what
            earlier recordings of it hold is set aside (offline), or passed over (online).

    Raises:
        InputError: `mode=online` without a key in the environment, or with what is no key.
        MachineError: W&B cannot be reached, and it is required.
    """
    if settings.mode == "disabled":
        yield Run(_NoRun(run_id(folder)), _NoCalls())
        return
    # Reports of W&B's own errors would go to its server unredacted, and hold up the end.
    os.environ.setdefault("WANDB_ERROR_REPORTING", "false")
    os.environ.setdefault("WANDB_SILENT", "true")
    import wandb

    folder.mkdir(parents=True, exist_ok=True)
    given = {
        "project": settings.project,
        "entity": settings.entity,
        "group": settings.group,
        "job_type": job_type,
        "name": settings.get("name") or folder.name,
        "id": run_id(folder),
        "dir": folder,
        "config": redact(config),
    }
    # The end has three waits: for what is logged to be sent, for a call that hangs, for the upload.
    third_s = float(settings.get("finish_timeout_s", FINISH_TIMEOUT_S)) / 3
    if from_the_start:
        _set_aside(folder, given["id"])
    run = _init(settings, given, third_s)
    calls = _Calls(in_background=not run.offline and not run.disabled)
    crashed = True
    try:
        yield Run(run, calls)
        crashed = False
    finally:
        calls.close(third_s)
        try:
            run.finish(exit_code=int(crashed))
        except Exception as error:  # noqa: BLE001 - the work is done, whatever W&B says
            say(
                f"W&B: not everything is uploaded ({_one_line(error)}); the rest lies in "
                f"{folder / 'wandb'}: `wandb sync` uploads it"
            )
        with contextlib.suppress(Exception):
            wandb.teardown()  # finish alone may return before an offline run's file is on the disk


def _set_aside(folder: Path, name: str) -> None:
    """Move offline recordings of the run `name` out of the way of `wandb sync`."""
    for recording in (folder / "wandb").glob(f"offline-run-*-{name}"):
        aside = folder / "wandb" / "superseded"
        aside.mkdir(exist_ok=True)
        recording.rename(aside / recording.name)


def _init(settings: Any, given: dict[str, Any], upload_s: float) -> Any:
    """A W&B run in the mode that the settings ask for, or in the next one that works."""
    import wandb

    if settings.mode == "online":
        start_s = float(settings.get("start_timeout_s", START_TIMEOUT_S))
        limits = {
            "init_timeout": start_s,
            "finish_timeout": upload_s,
            "finish_timeout_raises": True,
        }
        try:
            return wandb.init(mode="online", resume="allow", settings=_quiet(limits), **given)
        except (wandb.errors.UsageError, wandb.errors.AuthenticationError) as error:
            raise InputError(f"W&B: {error}; set WANDB_API_KEY or pass tracking=offline") from None
        except Exception as error:  # noqa: BLE001 - a server may cause any
            trouble = _one_line(error)
        with contextlib.suppress(Exception):
            wandb.teardown()
        if settings.get("required", False):
            raise MachineError(f"W&B cannot be reached ({trouble}); pass tracking=offline")
        say(
            f"W&B cannot be reached ({trouble}); the run is recorded offline in "
            f"{given['dir'] / 'wandb'}: `wandb sync` uploads it later"
        )
    mode = "offline" if settings.mode == "online" else settings.mode
    try:
        return wandb.init(mode=mode, settings=_quiet({}), **given)
    except wandb.errors.UsageError as error:
        raise InputError(f"W&B: {error}") from None
    except Exception as error:  # noqa: BLE001 - its service may fail to start
        say(f"W&B does not work here ({_one_line(error)}); nothing is logged")
        return wandb.init(mode="disabled")


def _quiet(limits: dict[str, Any]) -> Any:
    """W&B's settings; of `limits` those that this version of W&B knows."""
    import wandb

    known = {name: value for name, value in limits.items() if hasattr(wandb.Settings(), name)}
    return wandb.Settings(
        console="off",
        disable_code=True,
        disable_git=True,
        save_code=False,
        x_disable_meta=True,
        x_disable_machine_info=True,
        x_disable_stats=True,
        x_save_requirements=False,
        **known,
    )


def _one_line(trouble: object) -> str:
    return " ".join(str(trouble).split())[:200]
